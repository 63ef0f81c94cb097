"""Rows of raw tables, with the line of each."""

from collections.abc import Sequence
from typing import Any

from tcf.data.tables.bad_rows import BadRows
from tcf.data.tables.engine import Engine
from tcf.data.tables.table import RawTable, TableFile

__all__ = ["read", "rows_of"]


def read(engine: Engine, file: TableFile, columns: Sequence[str], bad: BadRows | None = None) -> list[tuple[Any, ...]]:
    """The line and the values of every row; bad rows are errors unless the caller says otherwise."""
    return rows_of(file.load(engine, columns, bad or BadRows("error")))


def rows_of(table: RawTable) -> list[tuple[Any, ...]]:
    values = ", ".join(table.columns.values())
    rows = table.engine.rows(f"select rowid, {values} from {table.name} order by rowid")
    return [(table.place_of(row).number, *texts) for row, *texts in rows]
