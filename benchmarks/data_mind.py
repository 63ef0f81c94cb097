"""`tcf data prepare mind` on folders like MINDlarge's, compared with an optimised pandas implementation.

    python benchmarks/data_mind.py

The synthetic training folder has the dimensions of MINDlarge_train: 2.2 million rows of 711,000 users, 101,500 news
articles, on average 33 items per history and 37 impressions per row, 1.3 GB; all rows of a user have the same history.
Some of the users are also in the development folder, with a longer history. The programs run in separate processes, in
turn, `--rounds` times; the files are in the page cache from the first round on, because they have just been written.
The two datasets are compared item by item.
"""

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from processes import Ended, mib, table, watch

_USERS, _ROWS, _NEWS = 711_222, 2_232_748, 101_527
_MEAN_HISTORY, _MEAN_IMPRESSIONS, _CLICKED = 33.0, 37.0, 0.04
_DEVELOPMENT = 0.17  # rows of the development folder per row of the training folder
_ROWS_AT_ONCE = 50_000
_FIRST_SECOND = np.datetime64("2019-11-09T00:00:00", "s")

_Ints = npt.NDArray[np.int64]


def main() -> None:
    """Write the folders, measure both programs and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=float, default=1.0, help="size as a fraction of MINDlarge's")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scratch", type=Path, help="where to write 4 GB; default: the system's temporary folder")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.scratch) as scratch:
        raw = Path(scratch) / "raw"
        write_mind(raw, arguments.scale)
        size = sum(file.stat().st_size for file in raw.rglob("*.tsv"))
        print(f"{size / 1e9:.2f} GB written", file=sys.stderr)
        ours, theirs = [], []
        for number in range(arguments.rounds):
            ours.append(_prepare(Path(scratch), number))
            theirs.append(_pandas(Path(scratch), number))
            print(f"tcf {ours[-1].seconds:.1f} s, pandas {theirs[-1].seconds:.1f} s", file=sys.stderr)
        _compare(Path(scratch) / "ours0", Path(scratch) / "theirs0")
    print(_results(ours, theirs))


def write_mind(raw: Path, scale: float) -> None:
    """Write two folders like MINDlarge_train and MINDlarge_dev."""
    draw = np.random.default_rng(0)
    n_users, n_rows, n_news = (max(int(number * scale), 20) for number in (_USERS, _ROWS, _NEWS))
    ids = pc.binary_join_element_wise("N", pa.array(draw.permutation(n_news)).cast(pa.string()), "")
    lengths = np.minimum(draw.geometric(1 / _MEAN_HISTORY, n_users), 600)
    histories = _joined(ids, _popular(draw, n_news, int(lengths.sum())), lengths)
    for name, rows in (("train", n_rows), ("dev", int(n_rows * _DEVELOPMENT))):
        folder = raw / f"MINDlarge_{name}"
        folder.mkdir(parents=True)
        _write_news(folder / "news.tsv", ids, np.random.default_rng(1))
        owners = np.concatenate([np.arange(min(n_users, rows)), draw.integers(0, n_users, max(rows - n_users, 0))])
        _write_behaviors(folder / "behaviors.tsv", draw.permutation(owners), histories, ids, name, draw)
        more = draw.integers(1, 4, n_users)
        longer = _joined(ids, _popular(draw, n_news, int(more.sum())), more)
        histories = pc.binary_join_element_wise(histories, longer, pa.scalar(" ", pa.large_string()))


def _popular(draw: np.random.Generator, n_news: int, number: int) -> _Ints:
    """Draw news articles with a skewed popularity."""
    return (n_news * draw.random(number) ** 3).astype(np.int64)


def _joined(ids: "pa.Array", drawn: _Ints, lengths: _Ints) -> "pa.Array":
    """Join the ids of each row with spaces."""
    offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]), pa.int32())
    return pc.binary_join(pa.ListArray.from_arrays(offsets, ids.take(pa.array(drawn))), " ").cast(pa.large_string())


def _write_news(path: Path, ids: "pa.Array", draw: np.random.Generator) -> None:
    words = pa.array([f"{a}{b}" for a in ("kor", "mi", "ta", "sel", "un", "ra") for b in ("do", "pen", '"la', "vi's")])
    titles, abstracts = (
        _joined(words, draw.integers(0, len(words), mean * len(ids)), np.full(len(ids), mean)) for mean in (11, 40)
    )
    fixed = pa.scalar("https://assets.msn.com/labels/mind/AAGH0ET.html\t" + '[{"Label": "x", "WikidataId": "Q8"}]\t[]')
    _write(path, [ids.cast(pa.large_string()), pa.scalar("sports\tgolf"), titles, abstracts, fixed])


def _write_behaviors(
    path: Path, owners: _Ints, histories: "pa.Array", ids: "pa.Array", name: str, draw: np.random.Generator
) -> None:
    """Write the rows in chunks."""
    labelled = pa.concat_arrays([pc.binary_join_element_wise(ids, label, "-") for label in ("0", "1")])
    days = (0, 6) if name == "train" else (6, 7)
    for start in range(0, len(owners), _ROWS_AT_ONCE):
        mine = owners[start : start + _ROWS_AT_ONCE]
        lengths = np.minimum(1 + draw.geometric(1 / (_MEAN_IMPRESSIONS - 1), len(mine)), 300)
        shown = _popular(draw, len(ids), int(lengths.sum()))
        shown[draw.random(len(shown)) < _CLICKED] += len(ids)
        seconds = draw.integers(days[0] * 86400, days[1] * 86400, len(mine))
        columns = [
            pa.array(np.arange(start, start + len(mine))).cast(pa.large_string()),
            pc.binary_join_element_wise("U", pa.array(mine).cast(pa.string()), "").cast(pa.large_string()),
            _times(_FIRST_SECOND + seconds),
            histories.take(pa.array(mine)),
            _joined(labelled, shown, lengths),
        ]
        _write(path, columns)


def _times(moments: npt.NDArray[np.datetime64]) -> "pa.Array":
    """Format times such as 11/12/2019 2:14:46 PM."""
    written = pc.strftime(pa.array(moments), format="%m/%d/%Y %I:%M:%S %p")
    return pc.replace_substring_regex(written, " 0", " ").cast(pa.large_string())


def _write(path: Path, columns: list["pa.Array"]) -> None:
    """Append rows of tab-separated columns."""
    tab, newline, nothing = (pa.scalar(text, pa.large_string()) for text in ("\t", "\n", ""))
    columns = [column.cast(pa.large_string()) for column in columns]
    rows = pc.binary_join_element_wise(pc.binary_join_element_wise(*columns, tab), newline, nothing)
    offsets = np.frombuffer(rows.buffers()[1], np.int64)[rows.offset :]
    with path.open("ab") as file:
        file.write(rows.buffers()[2][int(offsets[0]) : int(offsets[len(rows)])])


def _prepare(scratch: Path, number: int) -> Ended:
    command = [sys.executable, "-m", "tcf.cli", "data", "prepare", "mind", str(scratch / "raw")]
    return watch([*command, "--out", str(scratch / f"ours{number}")], log=scratch / f"ours{number}.log").expect()


def _pandas(scratch: Path, number: int) -> Ended:
    command = [sys.executable, str(Path(__file__).with_name("data_mind_pandas.py")), str(scratch / "raw")]
    return watch([*command, str(scratch / f"theirs{number}")], log=scratch / f"theirs{number}.log").expect()


def _compare(ours: Path, theirs: Path) -> None:
    """Exit if the two datasets differ."""
    for name in ("items.parquet", "users.parquet"):
        expected = pq.read_table(theirs / name)
        if not pq.read_table(ours / name, columns=expected.column_names).cast(expected.schema).equals(expected):
            sys.exit(f"expected equal {name}, found different ones")
    for name in ("history_offsets.npy", "history_items.npy"):
        if not np.array_equal(np.load(ours / name), np.load(theirs / name)):
            sys.exit(f"expected equal {name}, found different ones")
    facts = json.loads((ours / "manifest.json").read_text(encoding="utf-8"))["facts"]
    print(f"the datasets are equal; metadata: {json.dumps(facts)}", file=sys.stderr)


def _results(ours: list[Ended], theirs: list[Ended]) -> str:
    rows = []
    medians = [statistics.median(run.seconds for run in runs) for runs in (ours, theirs)]
    for name, runs, median in (("tcf data prepare mind", ours, medians[0]), ("pandas", theirs, medians[1])):
        each = ", ".join(f"{run.seconds:.1f}" for run in runs)
        peak, resident = max(run.peak for run in runs), max(run.resident for run in runs)
        rows.append([name, f"{median:.1f}", each, mib(peak), mib(resident), f"{medians[1] / median:.1f}"])
    columns = [
        "program",
        "median, s",
        "each, s",
        "anonymous + shared, MiB",
        "resident set, MiB",
        "speed-up",
    ]
    return table(columns, rows)


if __name__ == "__main__":
    main()
