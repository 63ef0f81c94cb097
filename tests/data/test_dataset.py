"""The dataset directory: what is written is read back, and damage is found."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from small.train.runs import csr
from tcf.common.errors import DataError, RunError
from tcf.common.files import MANIFEST
from tcf.common.manifest import read_manifest
from tcf.data.dataset import DATASET, Dataset, Histories, open_dataset, write_dataset
from tcf.data.seen import SeenItems
from tcf.data.split import leave_one_out

OFFSETS = np.array([0, 3, 3, 7], np.int64)
ITEMS = np.array([2, 0, 2, 1, 1, 0, 2], np.int32)


def write(path: Path, texts: tuple[str, ...] = ("Alpha", "Bêta", "Alpha")) -> Dataset:
    return write_dataset(
        path,
        item_ids=pa.array(["a", "b", "c"], pa.large_string()),
        texts=pa.array(texts, pa.large_string()),
        user_ids=pa.array(["u", "v", "w"], pa.large_string()),
        split=leave_one_out(Histories(OFFSETS, ITEMS)),
        seen=SeenItems(earlier=csr([[1, 2], [], [0]]), others=csr([[], [], [0, 1]])),
        inputs={"raw.tsv": "00"},
        config={"min_history": 3},
        statistics={"users": 3, "skipped": {}},
    )


@pytest.mark.parametrize("read", [False, True])
def test_what_is_written_is_returned_and_read_back(tmp_path: Path, read: bool) -> None:
    written = write(tmp_path / "data")
    dataset = open_dataset(tmp_path / "data") if read else written
    assert dataset.fingerprint == written.fingerprint
    assert dataset.training_interactions.dtype == np.int32
    assert dataset.training_interactions.tolist() == [0, 2, 1]
    assert dataset.split.training.tolist() == [1, 0, 2]
    assert dataset.split.test.tolist() == [1, 0, 1]
    assert dataset.path == tmp_path / "data"
    assert dataset.item_ids.to_pylist() == ["a", "b", "c"]
    assert dataset.texts.to_pylist() == ["Alpha", "Bêta", "Alpha"]
    assert dataset.user_ids.to_pylist() == ["u", "v", "w"]
    assert dataset.texts.type == pa.large_string()
    np.testing.assert_array_equal(dataset.histories.offsets, OFFSETS)
    np.testing.assert_array_equal(dataset.histories.items, ITEMS)
    seen = [[items.of(user).tolist() for user in range(3)] for items in (dataset.seen.earlier, dataset.seen.others)]
    assert seen == [[[1, 2], [], [0]], [[], [], [0, 1]]]
    assert dataset.statistics == {"users": 3, "skipped": {}}
    assert (dataset.n_items, dataset.n_users) == (3, 3)
    manifest = read_manifest(tmp_path / "data", DATASET)
    assert (manifest.inputs, manifest.config) == ({"raw.tsv": "00"}, {"min_history": 3})
    assert sorted(manifest.files) == [
        *(f"history_{name}.npy" for name in ("context", "items", "offsets", "test", "training", "validation")),
        "items.parquet",
        *(f"seen_{name}_{array}.npy" for name in ("earlier", "others") for array in ("items", "offsets")),
        "users.parquet",
    ]


def test_the_fingerprint_follows_the_content_not_the_place(tmp_path: Path) -> None:
    first = write(tmp_path / "one")
    assert write(tmp_path / "two").fingerprint == first.fingerprint
    assert write(tmp_path / "three", ("Alpha", "Bêta", "Beta")).fingerprint != first.fingerprint


def test_a_place_that_is_taken_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "data")
    with pytest.raises(RunError, match="expected an unused path"):
        write(tmp_path / "data")


@pytest.mark.parametrize(
    "name", [MANIFEST, "items.parquet", "users.parquet", "history_items.npy", "seen_others_items.npy"]
)
def test_a_missing_file_is_an_error(tmp_path: Path, name: str) -> None:
    write(tmp_path / "data")
    (tmp_path / "data" / name).unlink()
    with pytest.raises(DataError, match=r"tcf data prepare|prepare the dataset again"):
        open_dataset(tmp_path / "data")


@pytest.mark.parametrize("name", ["items.parquet", "history_offsets.npy"])
def test_a_torn_file_is_an_error(tmp_path: Path, name: str) -> None:
    write(tmp_path / "data")
    file = tmp_path / "data" / name
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(DataError, match="readable"):
        open_dataset(tmp_path / "data")


def test_pickled_arrays_are_not_read(tmp_path: Path) -> None:
    write(tmp_path / "data")
    np.save(tmp_path / "data" / "history_items.npy", np.array([{}], object), allow_pickle=True)
    with pytest.raises(DataError, match="readable"):
        open_dataset(tmp_path / "data")


@pytest.mark.parametrize(
    ("name", "values", "found"),
    [
        (
            "earlier_items",
            np.array([1, 3, 0], np.int32),
            r"expected items 0\.\.2 in the earlier items that users have seen",
        ),
        (
            "others_items",
            np.array([1, 0], np.int32),
            r"distinct and rising items of each user \(others\), .* of user 2",
        ),
        (
            "earlier_items",
            np.array([1, 1, 0], np.int32),
            r"distinct and rising items of each user \(earlier\), .* of user 0",
        ),
        ("others_offsets", np.array([0, 0, 2], np.int64), "both parts of the same users, found 3 and 2"),
        ("earlier_offsets", np.array([0, 2, 1, 3], np.int64), "offsets rising"),
    ],
)
def test_seen_items_of_another_form_are_an_error(tmp_path: Path, name: str, values: "np.ndarray", found: str) -> None:
    write(tmp_path / "data")
    np.save(tmp_path / "data" / f"seen_{name}.npy", values)
    with pytest.raises(DataError, match=f"{found}.*; .*tcf data prepare"):
        open_dataset(tmp_path / "data")


@pytest.mark.parametrize("item", [3, -1])
def test_items_outside_the_table_are_an_error(tmp_path: Path, item: int) -> None:
    write(tmp_path / "data")
    np.save(tmp_path / "data" / "history_items.npy", np.where(ITEMS == 1, item, ITEMS).astype(np.int32))
    with pytest.raises(DataError, match=r"expected items 0\.\.2 in the histories, found"):
        open_dataset(tmp_path / "data")


def test_users_and_histories_must_be_as_many(tmp_path: Path) -> None:
    write(tmp_path / "data")
    pq.write_table(pa.table({"user_id": ["u"]}), tmp_path / "data" / "users.parquet")
    with pytest.raises(DataError, match="a history for each of its 1 users, found 3;"):
        open_dataset(tmp_path / "data")


@pytest.mark.parametrize(
    ("offsets", "items"),
    [
        (np.array([0, 2, 1, 3], np.int64), np.zeros(3, np.int32)),
        (np.array([1, 3], np.int64), np.zeros(3, np.int32)),
        (np.array([0, 2], np.int64), np.zeros(3, np.int32)),
        (np.array([0, 3], np.int32), np.zeros(3, np.int32)),
        (np.array([0, 3], np.int64), np.zeros(3, np.int64)),
    ],
    ids=["falling", "late start", "early end", "offsets of int32", "items of int64"],
)
def test_histories_of_another_form_are_refused(offsets: "np.ndarray", items: "np.ndarray") -> None:
    with pytest.raises(DataError, match="^histories: expected "):
        Histories(offsets, items)


def test_histories_by_user() -> None:
    histories = Histories(OFFSETS, ITEMS)
    assert len(histories) == 3
    assert histories.lengths.tolist() == [3, 0, 4]
    assert [histories.of(user).tolist() for user in range(3)] == [[2, 0, 2], [], [1, 1, 0, 2]]


def test_taking_users_reorders_and_repeats() -> None:
    taken = Histories(OFFSETS, ITEMS).take(np.array([2, 0, 1, 2]))
    assert [taken.of(user).tolist() for user in range(4)] == [[1, 1, 0, 2], [2, 0, 2], [], [1, 1, 0, 2]]


def test_slices_of_histories() -> None:
    sliced = Histories(OFFSETS, ITEMS).slice(np.array([1, 3, 4]), np.array([3, 3, 7]))
    assert [sliced.of(user).tolist() for user in range(3)] == [[0, 2], [], [1, 0, 2]]


@pytest.mark.parametrize(
    ("name", "table", "found"),
    [
        (
            "items.parquet",
            {"item": ["a"] * 3},
            r"item_id, text, training_interactions without nulls, found item \(0 nulls\)",
        ),
        ("items.parquet", {"item_id": ["a"] * 3, "text": ["x", None, "y"]}, r"found item_id, text \(1 nulls\)"),
        ("users.parquet", {"item_id": ["a"] * 3}, "the columns user_id without nulls, found item_id"),
    ],
)
def test_tables_of_another_form_are_an_error(
    tmp_path: Path, name: str, table: dict[str, list[str]], found: str
) -> None:
    write(tmp_path / "data")
    pq.write_table(pa.table(table), tmp_path / "data" / name)
    with pytest.raises(DataError, match=f"{name}: expected .*{found}"):
        open_dataset(tmp_path / "data")


@pytest.mark.parametrize("size", [0, 3, 60, 130])
def test_a_cut_array_is_an_error_without_advice_on_pickles(tmp_path: Path, size: int) -> None:
    write(tmp_path / "data")
    file = tmp_path / "data" / "history_items.npy"
    file.write_bytes(file.read_bytes()[:size])
    with pytest.raises(DataError, match=r"history_items\.npy: expected a readable .*; prepare .* again") as caught:
        open_dataset(tmp_path / "data")
    assert "pickle" not in str(caught.value)


def test_an_array_of_two_axes_is_an_error(tmp_path: Path) -> None:
    write(tmp_path / "data")
    np.save(tmp_path / "data" / "history_offsets.npy", OFFSETS[:, None])
    with pytest.raises(DataError, match="with one axis"):
        open_dataset(tmp_path / "data")
