"""`tcf data prepare hm` compared with pandas on files like H&M's, and with limited memory.

    python benchmarks/data.py                                  # 31.8 million transactions, 3.4 GB
    python benchmarks/data.py --rows 2000000 --repeats 5
    python benchmarks/data.py --memory 2GiB                    # in a control group; needs root

Both run in separate processes, in turn, with the files in the page cache. Times are from start to end, imports
included. Histories, users and items of both are compared. With `--memory`, tcf also runs once in a control group with
that limit, page cache included, and must write the same bytes.
"""

import argparse
import statistics
import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from data_hm_files import ROWS, write_hm_files
from groups import as_size, control_group
from processes import Ended, expect, mib, table, watch

from tcf.common.manifest import read_manifest
from tcf.data.dataset import DATASET


def main() -> None:
    """Write the files, measure, compare and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--memory", type=as_size, help="also run tcf in a control group with this limit, such as 2GiB")
    parser.add_argument("--folder", type=Path, help="where to write temporary files")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as scratch:
        folder = Path(scratch)
        write_hm_files(folder / "raw", options.rows)
        size = (folder / "raw" / "transactions_train.csv").stat().st_size
        print(f"{options.rows:,} transactions, {size / 1e9:.2f} GB", file=sys.stderr)
        same = _compare(folder, options.repeats)
        if options.memory is not None:
            same &= _in_group(folder, options.memory)
    sys.exit(0 if same else 1)


def _compare(folder: Path, repeats: int) -> bool:
    runs: dict[str, list[Ended]] = {"tcf": [], "pandas": []}
    for turn in range(repeats):
        for name in runs:
            ended = watch(_command(name, folder, f"{name}{turn}"), log=folder / f"{name}{turn}.log").expect()
            runs[name].append(ended)
            print(f"{name}: {ended.seconds:.1f} s, {mib(ended.resident)} MiB", file=sys.stderr, flush=True)
    medians = {name: statistics.median(ended.seconds for ended in all_of) for name, all_of in runs.items()}
    work = {name: statistics.median(ended.cpu for ended in all_of) for name, all_of in runs.items()}
    rows = [
        [
            name,
            ", ".join(f"{ended.seconds:.1f}" for ended in all_of),
            f"{medians[name]:.1f}",
            f"{medians['pandas'] / medians[name]:.1f}x",
            f"{work[name]:.1f}",
            mib(max(ended.resident for ended in all_of)),
        ]
        for name, all_of in runs.items()
    ]
    print(
        table(["", "seconds", "median", "speed-up over pandas", "CPU seconds", "peak resident set, MiB"], rows),
        flush=True,
    )
    return expect(_same_histories(folder / "tcf0", folder / "pandas0"), "equal datasets", "different ones")


def _command(name: str, folder: Path, out: str) -> list[str]:
    raw, made = str(folder / "raw"), str(folder / out)
    if name == "pandas":
        return [sys.executable, str(Path(__file__).with_name("data_hm_pandas.py")), raw, made]
    return [sys.executable, "-m", "tcf.cli", "data", "prepare", "hm", raw, "--out", made]


def _same_histories(ours: Path, theirs: Path) -> bool:
    arrays = [np.array_equal(np.load(ours / name), np.load(theirs / name)) for name in _ARRAYS]
    users = [pq.read_table(folder / "users.parquet")["user_id"].to_pylist() for folder in (ours, theirs)]
    items = pq.read_table(ours / "items.parquet")
    others = pq.read_table(theirs / "items.parquet")
    texts = items["item_id"].to_pylist() == others["article_id"].to_pylist()
    texts &= items["text"].to_pylist() == others["prod_name"].to_pylist()
    return all(arrays) and users[0] == users[1] and texts


_ARRAYS = ("history_offsets.npy", "history_items.npy")


def _in_group(folder: Path, memory: int) -> bool:
    with control_group(memory, folder) as group:
        ended = watch(group.command(_command("tcf", folder, "small")), log=folder / "small.log").expect()
        peak, kills = group.peak, group.kills
    print(
        f"in a control group of {mib(memory)} MiB: {ended.seconds:.1f} s, peak resident set {mib(ended.resident)} MiB, "
        f"peak of the group with page cache {mib(peak)} MiB, {kills} processes killed",
        flush=True,
    )
    manifests = [read_manifest(folder / name, DATASET) for name in ("tcf0", "small")]
    return expect(manifests[0] == manifests[1], "the same bytes in the control group", "different bytes")


if __name__ == "__main__":
    main()
