"""Amazon's published splits of 2023: `NAME.train.csv`, `NAME.valid.csv`, `NAME.test.csv`, with a `history` or not."""

import gzip
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from small.data.raw import histories_of, with_engine, write_files
from small.data.recbole import parts_of
from tcf.common.errors import ConfigError, DataError
from tcf.config.prepare import PrepareConfig
from tcf.data.dataset import open_dataset
from tcf.data.prepare import prepare
from tcf.data.raw.amazon import amazon_files, read_amazon
from tcf.data.raw.raw_log import RawLog

HEADER = "user_id,parent_asin,rating,timestamp"
WITH_HISTORY = f"{HEADER},history"
META = "".join(json.dumps({"parent_asin": item, "title": f"Title {item}"}) + "\n" for item in "abcdefxyz")
# The last two events of u and v are held out; w has two events only.
LAST_OUT = {
    "train": ["u,a,5.0,1600000001000", "u,b,2.0,1600000002000", "v,c,4.0,1600000001500", "w,x,3.0,1600000009000"],
    "valid": ["u,c,5.0,1600000003000", "v,a,1.0,1600000004000"],
    "test": ["u,d,4.0,1600000004000", "v,b,5.0,1600000005000", "w,y,5.0,1600000009001"],
}


def folder_of(folder: Path, header: str, rows: Mapping[str, Sequence[str]], *, packed: bool = False) -> Path:
    files = {f"Toys.{part}.csv": "".join(f"{line}\n" for line in (header, *some)) for part, some in rows.items()}
    files["meta_Toys.jsonl"] = META
    if packed:
        return write_files(folder, {f"{name}.gz": gzip.compress(content.encode()) for name, content in files.items()})
    return write_files(folder, files)


def with_histories(rows: Mapping[str, Sequence[str]]) -> Mapping[str, Sequence[str]]:
    """The same rows, each with the items of its user in the rows before it."""
    earlier: dict[str, list[str]] = {}
    written: dict[str, Sequence[str]] = {}
    for part, some in rows.items():
        lines = []
        for line in some:
            user, item, *_ = line.split(",")
            lines.append(f"{line},{' '.join(earlier.setdefault(user, []))}")
            earlier[user].append(item)
        written[part] = lines
    return written


def written(*, has_history: bool) -> tuple[str, Mapping[str, Sequence[str]]]:
    """Header and rows of the parts."""
    return (WITH_HISTORY, with_histories(LAST_OUT)) if has_history else (HEADER, LAST_OUT)


def read(folder: Path, **options: Any) -> RawLog:
    return with_engine(read_amazon)(folder, bad_rows="error", **options)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("has_history", [False, True])
def test_the_published_parts(tmp_path: Path, has_history: bool, packed: bool) -> None:
    header, rows = written(has_history=has_history)
    log = read(folder_of(tmp_path, header, rows, packed=packed))
    assert parts_of(log) == {"u": "a1 b1 c2 d3", "v": "c1 a2 b3", "w": "x1 y3"}
    assert log.times is not None and (log.times - 1_600_000_000).tolist() == [1, 2, 3, 4, 1, 4, 5, 9, 9]
    assert log.skipped == {}
    assert len(log.files) == 4


def test_several_targets_of_a_split_by_time(tmp_path: Path) -> None:
    """The histories go on from part to part; x has no rows for training, whose list is context."""
    rows = {
        "train": ["u,a,5,1600000001000,", "u,b,5,1600000002000,a"],
        "valid": ["u,c,5,1600000003000,a b", "u,d,5,1600000003500,a b c"],
        "test": ["u,e,5,1600000004000,a b c d", "u,f,5,1600000004500,a b c d e", "x,d,5,1600000004000,a b"],
    }
    assert parts_of(read(folder_of(tmp_path, WITH_HISTORY, rows))) == {
        "u": "a1 b1 c2 d2 e3 f3",
        "x": "a0 b0 d3",
    }


def test_a_history_that_contradicts_the_rows_is_counted(tmp_path: Path) -> None:
    rows = {
        "train": ["u,a,5,1600000001000,", "u,b,5,1600000002000,a"],
        "test": ["u,c,5,1600000003000,b a", "u,d,5,1600000004000,a b c"],
    }
    log = read(folder_of(tmp_path, WITH_HISTORY, rows))
    assert (parts_of(log), log.skipped) == ({"u": "a1 b1 c3 d3"}, {"list_not_in_history": 1})


@pytest.mark.parametrize("has_history", [False, True])
def test_low_ratings_do_not_come_back_with_a_history(tmp_path: Path, has_history: bool) -> None:
    header, rows = written(has_history=has_history)
    log = read(folder_of(tmp_path, header, rows), min_rating=4)
    assert parts_of(log) == {"u": "a1 c2 d3", "v": "c1 b3", "w": "y3"}
    assert log.skipped == {"below_min_rating": 3}


@pytest.mark.parametrize("has_history", [False, True])
def test_repeated_rows_are_left_out_and_counted(tmp_path: Path, has_history: bool) -> None:
    """Another rating makes no other event; the second test row of u, at another time, is an honest repeat."""
    header, rows = written(has_history=has_history)
    train, valid, (d, b, y) = rows["train"], rows["valid"], rows["test"]
    test = [d, b, y, d.replace("4.0", "1.0"), d.replace("4000", "7000"), d]
    log = read(folder_of(tmp_path, header, {"train": [*train, train[0]], "valid": valid, "test": test}))
    assert parts_of(log) == {"u": "a1 b1 c2 d3 d3", "v": "c1 a2 b3", "w": "x1 y3"}
    assert log.skipped == {"duplicate_event": 3}


@pytest.mark.parametrize("has_history", [False, True])
def test_dropping_duplicates_that_are_always_dropped(tmp_path: Path, has_history: bool) -> None:
    header, rows = written(has_history=has_history)
    folder = folder_of(tmp_path / "raw", header, {**rows, "train": [*rows["train"], rows["train"][0]]})
    dataset = prepare("amazon", folder, tmp_path / "out", PrepareConfig(min_history=2, drop_duplicates=True))
    assert histories_of(dataset) == {"u": list("abcd"), "v": list("cab"), "w": list("xy")}
    assert dataset.statistics["skipped"]["duplicate_event"] == 1
    assert dataset.statistics["duplicate_interactions"] == (None if has_history else 0)


@pytest.mark.parametrize("has_history", [False, True])
def test_a_part_that_is_a_copy_of_another(tmp_path: Path, has_history: bool) -> None:
    rows = [f"u{n},a,5.0,{1600000001000 + n}" + "," * has_history for n in range(300)]
    header = WITH_HISTORY if has_history else HEADER
    folder = folder_of(tmp_path, header, {"train": [*rows, rows[0]], "dev": rows, "test": rows})
    with pytest.raises(DataError, match="Toys.test.csv: expected a file of its own, found a copy of .*Toys.dev.csv, "):
        read(folder)


def test_all_reviews_in_one_table(tmp_path: Path) -> None:
    write_files(
        tmp_path, {"Toys.csv": f"{HEADER}\nu,b,5.0,1600000002000\nu,a,5.0,1600000001000\n", "meta_Toys.jsonl": META}
    )
    log = read(tmp_path)
    assert (histories_of(log), log.parts) == ({"u": ["a", "b"]}, None)


def test_bad_rows_name_their_file(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, HEADER, {**LAST_OUT, "valid": ["u,c,5.0,1600000003000", "u,d,5.0,soon"]})
    with pytest.raises(DataError, match=r"Toys.valid.csv:3: expected a number in column timestamp"):
        read(folder)
    log = with_engine(read_amazon)(folder, bad_rows="skip")
    assert (parts_of(log)["u"], log.skipped) == ("a1 b1 c2 d3", {"bad_timestamp": 1})


def test_parts_beside_all_reviews(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, HEADER, LAST_OUT)
    review = {"user_id": "u", "parent_asin": "a", "timestamp": 1600000001000, "rating": 5.0}
    write_files(folder, {"Toys.jsonl": json.dumps(review) + "\n"})
    with pytest.raises(
        ConfigError, match=r"the parts of a split \(Toys.test.csv, .*\) and Toys.jsonl, found none; give"
    ):
        read(folder)
    assert parts_of(read(folder, split="given"))["u"] == "a1 b1 c2 d3"
    assert histories_of(read(folder, split="time")) == {"u": ["a"]}


def test_parts_of_two_categories(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, HEADER, LAST_OUT)
    (folder / "Toys.test.csv").rename(folder / "Games.test.csv")
    with pytest.raises(DataError, match="found Games.test.csv, Toys.train.csv, Toys.valid.csv, meta_Toys.jsonl; name"):
        amazon_files(folder)


def test_the_command_prepares_the_parts(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "raw", WITH_HISTORY, with_histories(LAST_OUT), packed=True)
    words = ["data", "prepare", "amazon", str(folder), "--out", str(tmp_path / "out"), "--min-history", "3"]
    done = subprocess.run([sys.executable, "-m", "tcf.cli", *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    dataset = open_dataset(tmp_path / "out")
    assert histories_of(dataset) == {"u": list("abcd"), "v": list("cab")}
    assert dataset.statistics["split"]["kind"] == "given"
