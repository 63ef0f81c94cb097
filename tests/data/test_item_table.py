"""Item tables that are read a few items at a time."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from small.encoders.models import save_dataset
from small.manifests import reseal
from tcf.common.errors import DataError
from tcf.data import open_dataset
from tcf.data.item_table import ItemTable

TEXTS = [f"text {row} é" if row % 3 else "" for row in range(25)]


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    return save_dataset(tmp_path / "d", TEXTS).path


def write(dataset: Path, texts: Any = TEXTS, name: str = "text", kind: Any = None, **options: Any) -> None:
    ids = [f"i{row}" for row in range(len(texts))]
    columns = {"item_id": pa.array(ids, pa.large_string()), name: pa.array(texts, kind or pa.large_string())}
    pq.write_table(pa.table(columns), dataset / "items.parquet", **options)
    reseal(dataset)


def read(dataset: Path, rows: int) -> list[list[str]]:
    chunks = list(ItemTable.open(dataset).texts(rows))
    assert all(chunk.type == pa.large_string() for chunk in chunks)
    return [chunk.to_pylist() for chunk in chunks]


@pytest.mark.parametrize("rows", [1, 4, 10, 25, 1000])
@pytest.mark.parametrize("group", [3, 10, 25])
def test_texts_in_item_order_over_groups_of_rows(dataset: Path, rows: int, group: int) -> None:
    write(dataset, row_group_size=group)
    assert pq.ParquetFile(dataset / "items.parquet").num_row_groups == -(-25 // group)
    chunks = read(dataset, rows)
    assert [text for chunk in chunks for text in chunk] == TEXTS
    assert max(map(len, chunks)) <= rows
    # As few chunks as there can be, so that tokenising in parallel has enough to do.
    assert len(chunks) == -(-25 // rows)


def test_it_tells_what_the_dataset_does(dataset: Path) -> None:
    table, whole = ItemTable.open(dataset), open_dataset(dataset)
    assert (table.path, table.fingerprint, table.n_items) == (dataset, whole.fingerprint, 25)
    write(dataset, row_group_size=4)
    for index in (0, 3, 4, 24):
        assert table.item(index) == (f"i{index}", TEXTS[index])


def test_strings_of_either_width(dataset: Path) -> None:
    write(dataset, kind=pa.string())
    assert read(dataset, 10)[0] == TEXTS[:10]


def test_no_items(dataset: Path) -> None:
    write(dataset, [])
    assert ItemTable.open(dataset).n_items == 0
    assert read(dataset, 10) == []


def test_no_dataset(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected a directory of format tcf-dataset"):
        ItemTable.open(tmp_path)


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"name": "title"}, r"item_id \(.*string\), title \(.*string\); "),
        ({"texts": list(range(25)), "kind": pa.int64()}, r"item_id \(.*string\), text \(int64\); "),
        ({"texts": [b"a"], "kind": pa.binary()}, r"item_id \(.*string\), text \(binary\); "),
    ],
)
def test_other_columns_are_refused(dataset: Path, changes: dict[str, Any], found: str) -> None:
    write(dataset, **changes)
    with pytest.raises(
        DataError, match=f"items.parquet: expected the string columns item_id and text, found {found}.*tcf data prepare"
    ):
        ItemTable.open(dataset)


def test_nulls_are_refused_where_they_are_read(dataset: Path) -> None:
    write(dataset, [*TEXTS[:20], None, *TEXTS[21:]], row_group_size=5)
    chunks = ItemTable.open(dataset).texts(5)
    assert [next(chunks).to_pylist() for _ in range(4)] == [TEXTS[at : at + 5] for at in (0, 5, 10, 15)]
    with pytest.raises(
        DataError, match="items.parquet: expected a text for every item, found nulls; .*tcf data prepare"
    ):
        next(chunks)


@pytest.mark.parametrize("content", [b"", b"PAR1", b"no parquet at all" * 9])
def test_a_file_that_is_not_parquet(dataset: Path, content: bytes) -> None:
    (dataset / "items.parquet").write_bytes(content)
    reseal(dataset)
    with pytest.raises(DataError, match=r"d: expected a readable dataset, .*; prepare it again with `tcf data"):
        ItemTable.open(dataset)


def test_a_file_that_is_not_there(dataset: Path) -> None:
    (dataset / "items.parquet").unlink()
    with pytest.raises(DataError, match=r"items\.parquet: expected a file, .* found none; restore it .* `tcf data"):
        ItemTable.open(dataset)


def test_damage_within_the_file_is_found_when_it_is_read(dataset: Path) -> None:
    write(dataset, [f"{text} {'x' * 500}" for text in TEXTS], row_group_size=5, use_dictionary=False)
    file = dataset / "items.parquet"
    content = bytearray(file.read_bytes())
    column = pq.ParquetFile(file).metadata.row_group(3).column(1)
    content[column.data_page_offset : column.data_page_offset + column.total_compressed_size] = (
        b"\xff" * column.total_compressed_size
    )
    file.write_bytes(content)
    with pytest.raises(DataError, match=r"items\.parquet: its sha256 differs"):
        ItemTable.open(dataset)
    reseal(dataset)
    chunks = ItemTable.open(dataset).texts(5)
    for _ in range(3):
        next(chunks)
    with pytest.raises(DataError, match="d: expected a readable dataset, found a damaged one"):
        next(chunks)
