"""Rows that are left out: messages show the place, and the columns in which the fault is, before others."""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from small.data.tables import rows_of
from tcf.common.errors import DataError
from tcf.data.events.timestamps import read_numbers, read_times
from tcf.data.raw.ratings import rated_at_least
from tcf.data.tables.bad_rows import BadRows, Place
from tcf.data.tables.engine import Engine
from tcf.data.tables.json_table import JsonTable
from tcf.data.tables.parquet_table import ParquetTable
from tcf.data.tables.table import RawTable

NAMES = ("id", "text", "brand", "store", "time", "stars")
ROW = ("i1", "A title", "A brand", "A store", "soon", "many")
PATH = Path("/raw/x.csv")


def table_of(engine: Engine, *rows: Sequence[str]) -> RawTable:
    columns = {f"c{at}": pa.array([row[at] for row in rows], pa.large_string()) for at in range(len(NAMES))}
    name = engine.add("rows", pa.table(columns))
    return RawTable.of_file(
        engine, name, PATH, "line", dict(zip(NAMES, columns, strict=True)), lambda row: row + 2, "0"
    )


def message(table: RawTable, columns: Sequence[str] = (), shown: str | None = None) -> str:
    with pytest.raises(DataError) as caught:
        table.reject("true", "wrong", "another", BadRows("error"), shown, columns)
    return str(caught.value).partition("expected another, found ")[2].partition("; ")[0]


def test_faulty_columns_come_first_and_each_value_is_cut(engine: Engine) -> None:
    table = table_of(engine, ROW)
    assert message(table) == "id 'i1', text 'A title', brand 'A brand', store 'A store'"
    assert message(table, ["time"]) == "time 'soon', id 'i1', text 'A title', brand 'A brand'"
    assert message(table, ["stars", "id"]) == "stars 'many', id 'i1', text 'A title', brand 'A brand'"
    long = table_of(engine, ("i1", "x" * 99, *ROW[2:]))
    assert message(long, ["text"]) == f"text '{'x' * 40}...', id 'i1', brand 'A brand', st..."
    assert message(long, ["text"], shown="c0 || '!'") == "'i1!'"


def test_of_every_row_the_faulty_columns_are_known(engine: Engine) -> None:
    bad = BadRows("error")
    soon = (
        r"^/raw/x.csv:2: expected a (number|time).*, found time 'soon', id 'i1', text 'A title', brand 'A brand'; 1 of"
    )
    with pytest.raises(DataError, match=soon):
        read_times(table_of(engine, ROW), "time", bad)
    with pytest.raises(DataError, match=soon.replace(":2", ":3")):
        read_times(table_of(engine, (*ROW[:4], "12", ""), ROW), "time", bad)
    with pytest.raises(DataError, match=r"expected a date such as .*, found time 'soon', id 'i1', "):
        read_times(table_of(engine, (*ROW[:4], "2020-01-01", ""), ROW), "time", bad)
    with pytest.raises(DataError, match=r"x.csv:2: expected a number in column time, found 'soon'"):
        read_numbers(table_of(engine, ROW), "time", bad)
    with pytest.raises(DataError, match=r"x.csv:2: expected a number in column stars, found stars 'many', id 'i1', "):
        rated_at_least(table_of(engine, ROW), "stars", 3, bad)


def test_values_with_a_fault_name_their_columns(tmp_path: Path, engine: Engine) -> None:
    columns = ("a", "b", "c", "d", "e")
    pq.write_table(pa.table({name: ["1", "2\0" if name == "e" else "2"] for name in columns}), tmp_path / "x.parquet")
    (tmp_path / "x.jsonl").write_text('{"a": 1, "e": 1}\n{"a": 2, "e": "2\\u0000"}\n{"a": 3, "d": "\\ud800"}\n')
    with pytest.raises(
        DataError, match=rf"^{tmp_path}/x.parquet, row 2: expected text, found e '2\\x00', a '2', b '2', "
    ):
        ParquetTable(tmp_path / "x.parquet").load(engine, columns, BadRows("error"))
    with pytest.raises(
        DataError, match=rf"^{tmp_path}/x.jsonl:3: expected UTF-8, found d '\\\\x80', a '3', b '', c ''"
    ):
        JsonTable(tmp_path / "x.jsonl").load(engine, columns, BadRows("error"))
    bad = BadRows("skip")
    found = JsonTable(tmp_path / "x.jsonl").load(engine, ("a", "e", "d"), bad)
    assert rows_of(found) == [(1, "1", "1", "")]
    assert bad.skipped == {"bad_utf8": 1, "nul_byte": 1}


@pytest.mark.parametrize(
    ("places", "words"),
    [
        ([Place(PATH, 2)], "in all, on line 2;"),
        ([Place(PATH, 2), Place(PATH, 9)], "in all, on lines 2, 9;"),
        ([Place(PATH, line) for line in range(2, 8)], "in all, on lines 2, 3, 4, 5, 6, ...;"),
        (
            [Place(PATH, 2), Place(Path("/raw/y.parquet"), 1, "row"), Place(Path("/raw/y.parquet"), 2, "row")],
            "in all, on line 2 of /raw/x.csv and rows 1, 2 of /raw/y.parquet;",
        ),
        (
            [*(Place(PATH, line) for line in range(2, 7)), Place(Path("/raw/y.csv"), 2)],
            "in all, on lines 2, 3, 4, 5, 6, ...;",
        ),
    ],
)
def test_the_lines_of_all_files_are_listed(places: list[Place], words: str) -> None:
    with pytest.raises(DataError) as caught:
        BadRows("error").reject("wrong", 7, places, "another", "this")
    assert str(caught.value).startswith("/raw/x.csv:2: expected another, found this; 7 of this kind (wrong) ")
    assert words in str(caught.value)
