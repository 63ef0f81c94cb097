"""The cost of verifying: starts of `train` on a cache of a million vectors, and a plain read of the same files.

A start is all that a training does before its first step: it opens the dataset and the cache, and reads every vector
into its table. Each is measured in a process of its own, in turn; before each, the pages of the files are dropped from
memory unless `--warm` is given.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa

from tcf.data.cache.text_maps import write_text_map
from tcf.data.cache.writer import create_cache, write_shard
from tcf.data.dataset import write_dataset
from tcf.data.histories import Histories
from tcf.data.keys import text_keys
from tcf.data.split import leave_one_out

HISTORY = 10
START = """
import sys, time
from pathlib import Path
import torch
from tcf.train.inputs import Inputs
began = time.perf_counter()
inputs = Inputs.open("text", Path(sys.argv[1]), [Path(sys.argv[2])])
vectors = inputs.item_vectors(torch.device("cpu"), table="device")
print(time.perf_counter() - began, len(vectors.rows_N))
"""


def make_inputs(folder: Path, items: int, width: int, shard_rows: int) -> None:
    """A dataset of made-up items, and a cache with a random vector for each."""
    draw = np.random.default_rng(0)
    users = max(1, items // 50)
    dataset = write_dataset(
        folder / "data",
        item_ids=pa.array([str(n) for n in range(items)], pa.large_string()),
        texts=pa.array([f"item number {n}" for n in range(items)], pa.large_string()),
        user_ids=pa.array([str(n) for n in range(users)], pa.large_string()),
        split=leave_one_out(
            Histories(
                np.arange(users + 1, dtype=np.int64) * HISTORY, draw.integers(0, items, users * HISTORY, np.int32)
            )
        ),
        inputs={},
        config={},
        statistics={},
    )
    identity = {"pooling": "mean", "max_tokens": 30, "compute": "float32", "storage": "float16"}
    create_cache(folder / "cache", identity=identity, model="made-up", width=width)
    keys = text_keys(dataset.texts)
    for start in range(0, items, shard_rows):
        part = keys[start : start + shard_rows]
        write_shard(folder / "cache", part, draw.normal(size=(len(part), width)).astype(np.float16))
    write_text_map(folder / "cache", dataset, texts=keys, sequences=keys, metadata={})


def drop_pages(folder: Path) -> None:
    """Ask the system to forget the files' pages."""
    for file in files_of(folder):
        descriptor = os.open(file, os.O_RDONLY)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


def files_of(folder: Path) -> Iterator[Path]:
    """The files of the dataset and the cache."""
    return (file for name in ("data", "cache") for file in sorted((folder / name).rglob("*")) if file.is_file())


def plain_read(folder: Path) -> float:
    """Seconds to read every byte once, one file after the other, and do nothing with it."""
    buffer, began = bytearray(2**20), time.perf_counter()
    for file in files_of(folder):
        with file.open("rb", buffering=0) as stream:
            while stream.readinto(buffer):
                pass
    return time.perf_counter() - began


def start(code: Path, folder: Path, home: Path) -> float:
    """Seconds of a start with the code of a checkout."""
    environment = {**os.environ, "PYTHONPATH": str(code), "TCF_HOME": str(home)}
    command = [sys.executable, "-c", START, str(folder / "data"), str(folder / "cache")]
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True, cwd=folder)
    return float(done.stdout.split()[0])


def measured(folder: Path, code: Path, before: Path | None, warm: bool, rounds: int) -> dict[str, list[float]]:
    """Seconds of each kind of start, in turn."""
    found: dict[str, list[float]] = {}

    def note(name: str, seconds: float) -> None:
        found.setdefault(name, []).append(seconds)
        print(f"{name}: {seconds:.2f} s", file=sys.stderr, flush=True)

    def prepared() -> None:
        if warm:
            plain_read(folder)
        else:
            drop_pages(folder)

    for number in range(rounds):
        home = folder / f"home{number}"
        prepared()
        note("plain read", plain_read(folder))
        if before is not None:
            prepared()
            note("start before", start(before, folder, home))
        for name in ("first start", "second start"):
            prepared()
            note(name, start(code, folder, home))
    return found


def main() -> None:
    """Print seconds and ratios as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--width", type=int, default=384)
    parser.add_argument("--shard-rows", type=int, default=65_536)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--before", type=Path, help="checkout of a version that does not verify")
    parser.add_argument("--warm", action="store_true", help="files are in memory before each start")
    parser.add_argument("--folder", type=Path, help="where to write the files; default: a temporary folder")
    given = parser.parse_args()
    with TemporaryDirectory(dir=given.folder) as temporary:
        folder = Path(temporary)
        make_inputs(folder, given.items, given.width, given.shard_rows)
        time.sleep(3)  # what has just been written is not remembered
        code = Path(__file__).resolve().parents[1]
        found = measured(folder, code, given.before, given.warm, given.rounds)
    medians = {name: statistics.median(seconds) for name, seconds in found.items()}
    ratios = {
        f"{name} / {other}": medians[name] / medians[other]
        for name in ("first start", "second start")
        for other in ("plain read", "start before")
        if other in medians
    }
    print(json.dumps({"seconds": found, "medians": medians, "ratios": ratios}, indent=2))


if __name__ == "__main__":
    main()
