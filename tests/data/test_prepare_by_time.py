"""A dataset that is split by time, from a file with dates to what is on the disk and what is printed."""

import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from small.data.logs import recbole_folder
from small.data.raw import folder_of, with_engine
from tcf.common.errors import ConfigError, DataError
from tcf.common.files import MANIFEST
from tcf.config.prepare import PrepareConfig
from tcf.data.dataset import Dataset, open_dataset
from tcf.data.describe.summary import describe, render
from tcf.data.prepare import prepare
from tcf.data.raw.recbole import read_recbole

# The log is of the 1st to the 22nd of September 2020; the test period is its last week, the one before is validation.
DAYS = {
    "A": [("a", 1), ("b", 2), ("c", 9), ("d", 10), ("e", 16), ("a", 22)],
    "B": [("b", 3), ("a", 8), ("f", 22)],
    "C": [("c", 12), ("a", 13), ("e", 15)],
    "D": [("a", 1), ("b", 20), ("c", 21)],  # too short
}
CONFIG = PrepareConfig(min_history=3, keep_last=5, split="time", test_from="2020-09-16")


def noon(day: int) -> int:
    return int(datetime(2020, 9, day, 12, tzinfo=UTC).timestamp())


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    lines = [(user, item, noon(day)) for user, rows in DAYS.items() for item, day in rows]
    return recbole_folder(tmp_path / "raw", lines[::-1], list("gfedcba"))


@pytest.fixture
def dataset(raw: Path, tmp_path: Path) -> Dataset:
    return prepare("recbole", raw, tmp_path / "out", CONFIG)


def test_files_by_hand(dataset: Dataset) -> None:
    # Users as they first appear from the end of the log on: C, B, A. Items in the order of their file.
    assert dataset.user_ids.to_pylist() == ["C", "B", "A"]
    assert dataset.item_ids.to_pylist() == ["f", "e", "d", "c", "b", "a"]
    names = ("offsets", "items", "context", "training", "validation", "test")
    arrays = {name: np.load(dataset.path / f"history_{name}.npy") for name in names}
    assert {name: array.dtype.name for name, array in arrays.items()} == {
        "offsets": "int64",
        "items": "int32",
        "context": "int32",
        "training": "int32",
        "validation": "int32",
        "test": "int32",
    }
    assert arrays["offsets"].tolist() == [0, 3, 6, 11]
    assert arrays["items"].tolist() == [3, 5, 1, 4, 5, 0, 5, 4, 3, 2, 1]
    assert arrays["training"].tolist() == [0, 2, 2]
    assert arrays["context"].tolist() == [0, 0, 0]
    assert arrays["validation"].tolist() == [1, 0, 1]  # the target of C has no item before it
    assert arrays["test"].tolist() == [0, 1, 1]
    items = pq.read_table(dataset.path / "items.parquet")
    assert items.column_names == ["item_id", "text", "training_interactions"]
    assert items.schema.field("training_interactions").type == "int32"
    # a and b are trained on twice; the others are cold.
    assert items["training_interactions"].to_pylist() == [0, 0, 0, 0, 2, 2]
    assert dataset.training_interactions.tolist() == [0, 0, 0, 0, 2, 2]


def test_statistics_by_hand(dataset: Dataset) -> None:
    assert dataset.statistics["split"] == {
        "kind": "time",
        "first": "2020-09-01T12:00:00Z",
        "validation_from": "2020-09-09",
        "test_from": "2020-09-16",
        "last": "2020-09-22T12:00:00Z",
        "training": 4,
        "training_users": 2,
        "validation": 1,  # A; C has no earlier item
        "test": 2,
        "between": 3,  # d of A; a and e of C
        "targets_without_earlier_items": 1,
    }
    assert dataset.statistics["items_without_training"] == 4
    assert dataset.statistics["skipped"] == {
        "users_below_min_history": 1,
        "interactions_of_dropped_users": 3,
        "interactions_after_test_target": 1,
        "items_never_seen": 1,
    }


def test_what_is_printed(dataset: Dataset) -> None:
    lines = [line.strip() for line in render(describe(dataset)).splitlines()]
    start = next(place for place, line in enumerate(lines) if line.startswith("split"))
    assert lines[start].split(maxsplit=1)[1] == "time: 4 training, 1 validation, 2 test"
    assert lines[start + 1 : start + 5] == [
        "training from 2020-09-01T12:00:00Z until 2020-09-09, 2 users",
        "validation from 2020-09-09, test from 2020-09-16 to 2020-09-22T12:00:00Z",
        "3 in no part: input of test queries, not trained on",
        "1 targets without an earlier item: not evaluated",
    ]


def test_the_split_is_a_setting_like_others(raw: Path, dataset: Dataset) -> None:
    assert prepare("recbole", raw, dataset.path, CONFIG).fingerprint == dataset.fingerprint
    other = PrepareConfig(min_history=3, keep_last=5, split="time", test_from="2020-09-15")
    with pytest.raises(DataError, match="made with others: test_from: 2020-09-16 found, 2020-09-15 requested"):
        prepare("recbole", raw, dataset.path, other)


def test_files_without_times_cannot_be_split_by_time(tmp_path: Path) -> None:
    raw = folder_of(tmp_path / "raw", {"a": "A", "b": "B", "c": "C"}, {"u": "a b c"})
    with pytest.raises(ConfigError, match="--split: expected times in .*raw to split by, found none; use"):
        prepare("tcf", raw, tmp_path / "out", CONFIG)
    (tmp_path / "untimed").mkdir()
    (tmp_path / "untimed" / "x.item").write_text("item_id:token\ttitle:token\na\tA\n")
    (tmp_path / "untimed" / "x.inter").write_text("user_id:token\titem_id:token\nu\ta\nu\ta\nu\ta\n")
    assert with_engine(read_recbole)(tmp_path / "untimed", bad_rows="error").times is None
    with pytest.raises(ConfigError, match="--split: expected times in .*untimed to split by, found none; use"):
        prepare("recbole", tmp_path / "untimed", tmp_path / "out", CONFIG)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("written", "times"),
    [
        (["3", "1", "2"], [1, 2, 3]),
        (["-0.5", "1e3", "1000.25"], [-1, 1000, 1000]),
        (["1567987200123456789", "1", "2"], [1, 2, 1567987200123456789]),
        (["1e300", "-1e300", "0.5"], [-(2**63), 0, 2**63 - 1024]),
    ],
)
def test_times_are_handed_on_in_order_and_rounded_down(tmp_path: Path, written: list[str], times: list[int]) -> None:
    (tmp_path / "x.item").write_text("item_id:token\ttitle:token\na\tA\n")
    rows = "".join(f"u\ta\t{time}\n" for time in written)
    (tmp_path / "x.inter").write_text("user_id:token\titem_id:token\ttimestamp:float\n" + rows)
    found = with_engine(read_recbole)(tmp_path, bad_rows="error").times
    assert found is not None
    assert found.dtype == np.int64
    assert found.tolist() == times


def test_a_dataset_of_an_older_version_is_refused(dataset: Dataset) -> None:
    file = dataset.path / MANIFEST
    file.write_text(json.dumps({**json.loads(file.read_text()), "version": 2}))
    with pytest.raises(
        DataError, match=r"expected version 4 of tcf-dataset, found 2; remove it and run `tcf data prepare`"
    ):
        open_dataset(dataset.path)


@pytest.mark.parametrize(
    ("name", "array", "found"),
    [
        ("training", np.array([0, 2, 3], np.int32), "items.parquet: expected training_interactions to match"),
        (
            "training",
            np.array([0, 2, 6], np.int32),
            r"out: split: expected at most the 5 items of user 2 .*, found .* 6 for",
        ),
        (
            "test",
            np.array([0, 1], np.int32),
            "out: split: expected int32 numbers of test items for 3 users, found int32",
        ),
        (
            "context",
            np.array([0, 0, 0]),
            "out: split: expected int32 numbers of context items for 3 users, found int64",
        ),
    ],
)
def test_a_damaged_split_is_found(dataset: Dataset, name: str, array: "np.ndarray", found: str) -> None:
    np.save(dataset.path / f"history_{name}.npy", array)
    with pytest.raises(DataError, match=found):
        open_dataset(dataset.path)
    (dataset.path / f"history_{name}.npy").unlink()
    with pytest.raises(DataError, match=rf"history_{name}\.npy: expected a readable .*; prepare .* again"):
        open_dataset(dataset.path)
