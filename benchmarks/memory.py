"""Peak memory of `tcf extract` as the number of items grows, with a tiny model and generated titles.

    python benchmarks/memory.py

Each size runs in a separate process. The peak of the resident set, which includes pages of files and libraries, is the
operating system's; the peak of anonymous and shared memory, which no file backs, is sampled a hundred times per second.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from catalogues import write_items
from geometries import Geometry, save_model
from processes import Ended, mib, table, watch

_TINY = Geometry("tiny", 1, 2, 64)


def main() -> None:
    """Measure and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="10000,100000,1000000")
    sizes = [int(size) for size in parser.parse_args().sizes.split(",")]
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        save_model(_TINY, folder / "model", torch.float32, torch.device("cpu"))
        for size in sizes:
            write_items(folder / f"dataset{size}", _titles(size))
            ended = _extract(folder, size)
            cache = sum(file.stat().st_size for file in (folder / f"cache{size}").rglob("*") if file.is_file())
            rows.append([f"{size:,}", mib(ended.resident), mib(ended.peak), f"{size / ended.seconds:.0f}", mib(cache)])
            print(f"{size} items: {ended.seconds:.0f} s", file=sys.stderr)
    print(table(["items", "resident set, MiB", "anonymous + shared, MiB", "items/s", "cache, MiB"], rows))


def _extract(folder: Path, size: int) -> Ended:
    """Run the command in a separate process."""
    command = [sys.executable, "-m", "tcf.cli", "extract", "--data", str(folder / f"dataset{size}")]
    command += ["--model", str(folder / "model"), "--out", str(folder / f"cache{size}"), "--tokens-per-batch", "2048"]
    return watch(command, log=folder / f"log{size}").expect()


def _titles(n: int) -> list[str]:
    """Synthetic titles, nearly all of them distinct."""
    draw = np.random.default_rng(0)
    words = np.array(
        [f"{a}{b}" for a in ("kor", "mi", "ta", "sel", "un", "ra") for b in ("do", "pen", "la", "vish", "t")]
    )
    counts = draw.integers(2, 9, n)
    picked = words[draw.integers(0, len(words), int(counts.sum()))]
    return [" ".join(part) for part in np.split(picked, np.cumsum(counts)[:-1])]


if __name__ == "__main__":
    main()
