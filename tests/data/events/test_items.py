"""Items of raw files: distinct ids, each with a text."""

from pathlib import Path

import pyarrow as pa
import pytest

from tcf.common.errors import DataError
from tcf.data.events.items import Items, read_items, require_rows
from tcf.data.tables.bad_rows import BadRows
from tcf.data.tables.engine import Engine
from tcf.data.tables.table import RawTable

ROWS = [("b", "B"), ("", "no id"), ("a", "A"), ("b", "again"), ("x", ""), ("y", ""), ("y", "later"), ("B", "B")]


def table_of(engine: Engine, rows: list[tuple[str, str]]) -> RawTable:
    values = {f"c{at}": pa.array([row[at] for row in rows], pa.large_string()) for at in range(2)}
    name = engine.add("rows", pa.table(values))
    return RawTable.of_file(
        engine, name, Path("/raw/i.csv"), "line", {"id": "c0", "text": "c1"}, lambda row: row + 2, ""
    )


def items_of(engine: Engine, rows: list[tuple[str, str]], bad: BadRows) -> Items:
    return read_items(table_of(engine, rows), "c0", "c1", bad)


def test_unusable_items_are_counted_and_the_others_numbered_in_file_order(engine: Engine) -> None:
    bad = BadRows("skip")
    items = items_of(engine, ROWS, bad)
    assert items.ids.to_pylist() == ["b", "a", "y", "B"]
    assert items.texts.to_pylist() == ["B", "A", "later", "B"]
    assert bad.skipped == {"empty_id": 1, "empty_text": 2, "duplicate_item": 1}
    known = dict(engine.rows(f"select id, number from {items.known}"))
    assert known == {"b": 0, "a": 1, "y": 2, "B": 3, "x": None}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([("", "t")], r"i.csv:2: expected an item id, found '\\tt'; 1 of this kind \(empty_id\)"),
        ([("a", "A"), ("b", "")], r"i.csv:3: expected an item with a text, found 'b\\t'; .* \(empty_text\)"),
        ([("a", "A"), ("a", "B")], r"i.csv:3: expected an item id that no earlier row has, .* \(duplicate_item\)"),
    ],
)
def test_unusable_items_are_errors_with_their_lines(engine: Engine, rows: list[tuple[str, str]], message: str) -> None:
    with pytest.raises(DataError, match=message):
        items_of(engine, rows, BadRows("error"))


def test_no_usable_item_at_all(engine: Engine) -> None:
    with pytest.raises(DataError, match=r"expected items, found none that can be used \(skipped: 1 empty_text\)"):
        items_of(engine, [("a", "")], BadRows("skip"))


def test_rows_are_required(engine: Engine) -> None:
    table, bad = table_of(engine, [("a", "A")]), BadRows("skip")
    require_rows(table, bad)
    table.leave_out("true", "unwanted", bad)
    with pytest.raises(DataError, match=r"expected rows that can be used, found none \(skipped: 1 unwanted\)"):
        require_rows(table, bad)
