"""A model larger than memory: accelerate's disk offload, tcf's sweep, and tcf with the whole model in memory.

    python benchmarks/offload.py --texts items.tsv --geometry 1.3b --group 2GiB --read-mb-s 50 --expect-ratio 10

The checkpoint has an OPT geometry and random weights. Every contender runs in a separate process, with the checkpoint
dropped from the page cache before; all but the last run in a control group with limited memory, page cache included,
and optionally with a limit on reading the disk, which is tested first. This needs root.

- accelerate: transformers' `device_map` from `infer_auto_device_map`, padded batches of 32 in the order of the texts,
  and at its best batch size. Its rate is measured on some of the titles (`--part`, or one batch if that is more).
- sweep: `tcf extract --schedule sweep`, all titles.
- resident: `tcf extract --schedule resident`, all titles, without a group.

Rates exclude loading and imports. Weights read are counted as bytes of tensors: in accelerate's loader of offloaded
weights (weights that stay in memory are not counted), and in tcf's reader. Bytes read from disk are the kernel's count
for the process, over the same time as the rate. The exit status is 1 if an expectation is not met.
"""

import argparse
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import torch
from catalogues import read_texts, write_items
from checkpoints import Checkpoint, check_space, write_checkpoint
from contenders import Bench, Outcome
from geometries import GEOMETRIES
from groups import as_size, check_read_limit, cold_read_rate, control_group
from processes import end_orderly, expect, mib, table
from tcf_commands import Planned, compared

_CONTENDERS = ("accelerate", "sweep", "resident")


def main() -> None:
    """Measure and print."""
    end_orderly()
    options = _options()
    [geometry] = [geometry for geometry in GEOMETRIES if geometry.name == options.geometry]
    own = {name: getattr(options, name) for name in ("blocks", "width", "heads")}
    geometry = replace(geometry, **{name: value for name, value in own.items() if value is not None})
    texts = read_texts(options.texts, options.items)
    with tempfile.TemporaryDirectory(prefix="tcf-benchmark-", dir=options.folder) as scratch:
        folder = Path(scratch)
        checkpoint = Checkpoint(folder / "model", geometry, getattr(torch, options.dtype))
        check_space(folder, checkpoint.nbytes())
        write_checkpoint(checkpoint)
        bench = Bench(
            checkpoint,
            texts,
            write_items(folder / "dataset", texts),
            folder,
            options.group,
            options.read_mb_s and int(options.read_mb_s * 1e6),
            options.max_memory or int(0.85 * options.group),
        )
        _print_machine(bench)
        sys.exit(0 if _compare(bench, options) else 1)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=Path, required=True, help="File with a text after a tab on each line.")
    parser.add_argument("--items", type=int, default=1024, help="Number of texts, drawn at random.")
    names = [geometry.name for geometry in GEOMETRIES]
    parser.add_argument("--geometry", default="1.3b", choices=names)
    for name in ("blocks", "width", "heads"):
        parser.add_argument(f"--{name}", type=int, help="Instead of the geometry's.")
    parser.add_argument("--dtype", default="bfloat16", choices=["float32", "bfloat16"])
    parser.add_argument("--group", type=as_size, default=2 * 2**30, help="Memory limit of the group, such as 4GiB.")
    parser.add_argument("--max-memory", type=as_size, help="Memory limit of tcf; default: 85 %% of the group's.")
    parser.add_argument("--read-mb-s", type=float, help="Limit on reading the disk; default: none.")
    parser.add_argument("--part", type=int, default=128, help="Number of titles for accelerate.")
    parser.add_argument("--batches", default="64,128,256,512", help="Batch sizes for accelerate, besides 32.")
    parser.add_argument(
        "--contenders",
        default=",".join(_CONTENDERS),
        help="Some of these; accelerate needs sweep.",
    )
    parser.add_argument("--repeats", type=int, default=1, help="Number of runs of tcf; medians are printed.")
    parser.add_argument("--folder", type=Path, help="On the disk to use; default: the system's temporary folder.")
    parser.add_argument("--expect-ratio", type=float, help="Minimum speed of sweep relative to accelerate at batch 32.")
    parser.add_argument("--expect-resident", type=float, help="Minimum speed of sweep relative to resident.")
    parser.add_argument("--expect-read", type=float, help="Maximum weights read per macro-batch, in checkpoints.")
    parser.add_argument("--expect-time", type=float, help="Maximum factor between planned and measured time of sweep.")
    return parser.parse_args()


def _print_machine(bench: Bench) -> None:
    """Print the machine and the model, with the rate of reading the disk in the group."""
    file = max(bench.checkpoint.folder.glob("*.safetensors"), key=lambda file: file.stat().st_size)
    with control_group(bench.group, bench.folder) as group:
        rate = f"the disk reads {cold_read_rate(file, group, bench.log) / 1e6:.0f} MB/s"
    if bench.read_limit is not None:
        with control_group(bench.group, bench.folder, read_limit=bench.read_limit) as group:
            limited = cold_read_rate(file, group, bench.log, read_limit=bench.read_limit)
        check_read_limit(limited, bench.read_limit)
        rate += f", in the group {limited / 1e6:.0f} of the {bench.read_limit / 1e6:.0f} allowed"
    geometry = bench.checkpoint.geometry
    size = f"checkpoint {bench.checkpoint.nbytes() / 1e9:.2f} GB"
    machine = f"{torch.get_num_threads()} threads, {torch.backends.cpu.get_cpu_capability()}"
    memory = f"group of {mib(bench.group)} MiB, tcf limited to {mib(bench.max_memory)} MiB"
    print(f"{geometry.blocks} blocks of width {geometry.width}, {bench.dtype}, {size}; {len(bench.texts)} titles")
    print(f"{machine}; {memory}; {rate}", flush=True)


def _compare(bench: Bench, options: argparse.Namespace) -> bool:
    """Measure all contenders; returns whether all expectations are met."""
    wanted = options.contenders.split(",")
    planned = bench.plan()
    outcomes = {name: bench.extract(name, options.repeats) for name in _CONTENDERS[1:] if name in wanted}
    if "accelerate" in wanted:
        sizes = [32, *(int(size) for size in options.batches.split(",") if size)]
        tried = {size: bench.accelerate(size, max(size, options.part)) for size in sizes}
        rates = {size: outcome.rate for size, outcome in tried.items() if outcome is not None}
        if 32 not in rates:
            sys.exit("accelerate: killed at batch 32 because memory ran out; give the group more")
        print("accelerate, items/s by batch: " + ", ".join(f"{size}: {rate:.2f}" for size, rate in rates.items()))
        best = max(rates, key=lambda size: rates[size])
        outcomes |= {f"accelerate, batch {size}": found for size in (32, best) if (found := tried[size]) is not None}
    _print_outcomes(outcomes)
    return all([_ratios(outcomes, options), _reading(bench, outcomes, planned, options)])


def _print_outcomes(outcomes: dict[str, Outcome]) -> None:
    columns = ["", "items/s", "seconds", "items", "weights read per item, MB", "read from disk per item, MB"]
    columns += ["peak anonymous + shared, MiB", "group's peak, MiB", "read from disk by the group in total, GB"]
    rows = []
    for name, found in outcomes.items():
        weights = "-" if found.weight_bytes is None else f"{found.weight_bytes / found.items / 1e6:.2f}"
        read = "-" if found.group_read is None else f"{found.group_read / 1e9:.2f}"
        row = [name, f"{found.rate:.2f}", f"{found.seconds:.1f}", str(found.items), weights]
        row += [f"{found.disk_bytes / found.items / 1e6:.2f}", mib(found.ended.peak), mib(found.group_peak), read]
        rows.append(row)
    print(f"\n{table(columns, rows)}\n")


def _ratios(outcomes: dict[str, Outcome], options: argparse.Namespace) -> bool:
    """Print the speed of the sweep relative to the others; returns whether expectations are met."""
    sweep, met = outcomes.get("sweep"), True
    if sweep is None:
        return met
    for name, other in outcomes.items():
        if name == "sweep":
            continue
        ratio = sweep.rate / other.rate
        print(f"sweep is {ratio:.2f} times as fast as {name}")
        target = options.expect_resident if name == "resident" else options.expect_ratio
        if target is not None and name in ("resident", "accelerate, batch 32"):
            met &= expect(ratio >= target, f"at least {target} times as fast as {name}", f"{ratio:.2f}")
    return met


def _reading(bench: Bench, outcomes: dict[str, Outcome], planned: Planned, options: argparse.Namespace) -> bool:
    """Print the sweep compared with its plan; returns whether expectations are met."""
    sweep, met = outcomes.get("sweep"), True
    if sweep is None or sweep.measured is None or sweep.weight_bytes is None:
        return met
    columns, *rows = compared(planned, sweep.ended, sweep.measured)
    print(f"\n{table(columns, rows)}\n")
    read = sweep.weight_bytes / (bench.checkpoint.nbytes() * planned.macro_batches)
    print(f"weights read: {read:.3f} times the checkpoint per macro-batch ({planned.macro_batches} planned)")
    if options.expect_read is not None:
        met &= expect(read <= options.expect_read, f"at most {options.expect_read} checkpoints read", f"{read:.3f}")
    if options.expect_time is not None:
        took = sweep.measured.load_seconds + sweep.measured.seconds
        factor = max(took / planned.seconds, planned.seconds / took)
        target = f"the planned time within a factor {options.expect_time}"
        met &= expect(factor <= options.expect_time, target, f"{factor:.2f}")
    return met


if __name__ == "__main__":
    main()
