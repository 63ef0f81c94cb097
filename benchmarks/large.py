"""Two extractions too large for the usual benchmarks, compared with the predictions of `tcf plan`.

    python benchmarks/large.py 175b --texts items.tsv --folder DIR
    python benchmarks/large.py 13b --texts items.tsv --folder DIR

175b: a sweep over two blocks with the true widths of OPT-175B, for 64 titles. The peak of anonymous and shared memory
must be within 15 % of the planned peak.

13b: a sweep over all 40 blocks of OPT-13B's shape in a memory control group of 8 GiB, page cache included; this needs
root. The process is killed when it reaches block 20, and run again: it must resume from a checkpoint and finish, with
all 256 vectors present and finite. The weights that the second run reads show where it resumed.

The checkpoint (random weights, bfloat16; 8.5 and 26 GB) is written to `--folder`, reused if it is complete, and kept.
Disk space is checked first. The exit status is 1 if a check fails.
"""

import argparse
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from catalogues import read_texts, write_items
from checkpoints import Checkpoint, check_space, write_checkpoint
from geometries import GEOMETRIES
from groups import as_size
from killed_runs import kill_and_resume
from processes import end_orderly, expect, table, watch
from tcf_commands import Commands, compared

_WITHIN = 0.15  # relative deviation from the planned peak
_SPARE = 2**30  # bytes of disk space for everything except weights


def main() -> None:
    """Measure and print."""
    end_orderly()
    options = _options()
    options.folder.mkdir(parents=True, exist_ok=True)
    checkpoint = _checkpoint(options)
    check_space(options.folder, _SPARE + (0 if checkpoint.is_there else checkpoint.nbytes()))
    write_checkpoint(checkpoint)
    with tempfile.TemporaryDirectory(prefix="work-", dir=options.folder) as scratch:
        commands = _commands(checkpoint, read_texts(options.texts, options.items), Path(scratch), options)
        if options.part == "175b":
            fine = _once(commands)
        else:
            fine = kill_and_resume(checkpoint, commands, options.group, options.kill_at)
        fine = _vectors_are_sound(commands, options.items, checkpoint.geometry.width) and fine
    sys.exit(0 if fine else 1)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["175b", "13b"])
    parser.add_argument("--texts", type=Path, required=True, help="File with a text after a tab on each line.")
    parser.add_argument("--folder", type=Path, required=True, help="Folder on a disk with space for the checkpoint.")
    parser.add_argument("--items", type=int, help="Number of titles, drawn at random; default: 64 or 256.")
    parser.add_argument("--blocks", type=int, help="Number of blocks; default: 2 or 40.")
    for name in ("width", "heads"):
        parser.add_argument(f"--{name}", type=int, help="Instead of the model's, for a trial run.")
    parser.add_argument("--max-memory", type=as_size, help="Memory of tcf; default for 13b: 85 %% of the group's.")
    parser.add_argument("--group", type=as_size, default=8 * 2**30, help="13b: memory limit of the group.")
    parser.add_argument("--checkpoint-layers", type=int, default=8, help="13b: blocks between two checkpoints.")
    parser.add_argument("--kill-at", type=int, default=20, help="13b: block at which the process is killed.")
    options = parser.parse_args()
    if options.part == "13b":
        options.max_memory = options.max_memory or int(0.85 * options.group)
    options.items = options.items or (64 if options.part == "175b" else 256)
    options.blocks = options.blocks or (2 if options.part == "175b" else 40)
    return options


def _checkpoint(options: argparse.Namespace) -> Checkpoint:
    [geometry] = [geometry for geometry in GEOMETRIES if geometry.name == options.part]
    width, heads = options.width or geometry.width, options.heads or geometry.heads
    geometry = replace(geometry, blocks=options.blocks, width=width, heads=heads)
    return Checkpoint(options.folder / f"opt-{options.part}", geometry, torch.bfloat16)


def _commands(checkpoint: Checkpoint, texts: list[str], scratch: Path, options: argparse.Namespace) -> Commands:
    geometry = checkpoint.geometry
    print(
        f"{geometry.blocks} blocks of width {geometry.width}, bfloat16, {checkpoint.nbytes() / 1e9:.1f} GB; "
        f"{len(texts)} titles; {torch.get_num_threads()} threads, {torch.backends.cpu.get_cpu_capability()}",
        flush=True,
    )
    settings = ["--schedule", "sweep", "--dtype", "bfloat16"]
    settings += [] if options.max_memory is None else ["--max-memory", f"cpu={options.max_memory}"]
    settings += ["--checkpoint-layers", str(options.checkpoint_layers)] if options.part == "13b" else []
    return Commands(checkpoint.folder, write_items(scratch / "dataset", texts), scratch, tuple(settings))


def _once(commands: Commands) -> bool:
    """Run the extraction once; returns whether the peak is near the planned one."""
    planned = commands.plan()
    ended, measured = commands.extract()
    columns, *rows = compared(planned, ended.expect(), measured)
    print(f"\n{table(columns, rows)}\n")
    off = ended.peak / planned.peak - 1
    return expect(abs(off) <= _WITHIN, f"a peak within {_WITHIN:.0%} of the planned one", f"{off:+.1%}")


def _vectors_are_sound(commands: Commands, n: int, width: int) -> bool:
    """Whether the cache passes `tcf cache verify` and has a finite vector for every title, not all of them equal."""
    watch([sys.executable, "-m", "tcf.cli", "cache", "verify", str(commands.cache)], log=commands.log).expect()
    vectors = commands.vectors
    spread = float(vectors.std(axis=0).mean())
    found = f"{vectors.shape}, finite {np.isfinite(vectors).all()}, spread over titles {spread:.3g}"
    print(f"vectors: {found}")
    sound = vectors.shape == (n, width) and bool(np.isfinite(vectors).all()) and spread > 0
    return expect(sound, f"{n} finite vectors of {width} numbers", found)


if __name__ == "__main__":
    main()
