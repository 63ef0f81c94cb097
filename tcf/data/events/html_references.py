"""Character references of HTML in item texts, such as `&amp;` and `&#39;`: made into characters, or pointed out."""

import html
import logging
from collections.abc import Sequence
from dataclasses import replace

import pyarrow as pa
import pyarrow.compute as pc

from tcf.data.tables.engine import Engine
from tcf.data.tables.table import RawTable

__all__ = ["text_columns", "warn_of_references"]

logger = logging.getLogger(__name__)

_LIKE_REFERENCE = "&#?[0-9A-Za-z]"
_AT_ONCE = 1 << 16  # rows
_SHOWN = 80


def text_columns(table: RawTable, names: Sequence[str], unescape_html: bool) -> tuple[RawTable, dict[str, str]]:
    """Return the columns that make up the texts of items.

    Args:
        table: the rows.
        names: those of its columns that texts are made from.
        unescape_html: whether character references in them become characters; white space at either end that comes of
            this is removed, and the number of changed rows is logged.

    Returns:
        A table with the same rows, columns and places, and expressions in SQL for all columns by name.
    """
    columns = dict(table.columns)
    if not unescape_html:
        return table, columns
    engine, texts = table.engine, {name: f"u{at}" for at, name in enumerate(dict.fromkeys(names))}
    changed = _changed_rows(table, list(texts))
    new = ", ".join(f"coalesce(changed.{text}, rows.{columns[name]}) as {text}" for name, text in texts.items())
    there = "rows.rowid = changed.number"
    unescaped = engine.name("unescaped")
    engine.run(
        f"create temp table {unescaped} as select rows.*, rows.rowid as origin, {new} from {table.name} rows "
        f"left join {changed} changed on {there} order by rows.rowid"
    )
    number = engine.number(f"select count(*) from {changed}")
    logger.info(f"{table.source}: character references became characters in the texts of {number} rows")
    engine.run(f"drop table {changed}")
    row = "origin" if table.row == "rowid" else table.row
    return replace(table, name=unescaped, row=row), {**columns, **texts}


def _changed_rows(table: RawTable, names: Sequence[str]) -> str:
    """Return a table of the rows that have references: `number`, their rowid, and a column for each name."""
    engine, values = table.engine, ", ".join(table[name] for name in names)
    some = " or ".join(f"regexp_matches({table[name]}, '{_LIKE_REFERENCE}')" for name in names)
    changed = engine.name("changed")
    columns = [f"u{at}" for at in range(len(names))]
    engine.run(f"create temp table {changed} (number bigint, {', '.join(f'{column} varchar' for column in columns)})")
    last = engine.number(f"select max(rowid) from {table.name}")
    for start in range(0, last + 1, _AT_ONCE):
        rows = engine.rows(
            f"select rowid, {values} from {table.name} "
            f"where rowid >= {start} and rowid < {start + _AT_ONCE} and ({some})"
        )
        new = [(number, *map(_unescaped, texts)) for number, *texts in rows]
        _insert(engine, changed, [after for before, after in zip(rows, new, strict=True) if before != after], columns)
    return changed


def _insert(engine: Engine, table: str, rows: Sequence[tuple[int | str, ...]], columns: Sequence[str]) -> None:
    if rows:
        names = ("number", *columns)
        added = engine.add("added", pa.table(list(map(pa.array, zip(*rows, strict=True))), names=names))
        engine.run(f"insert into {table} select * from {added}; drop table {added}")


def _unescaped(text: str) -> str:
    characters = html.unescape(text)
    return text if characters == text else characters.strip()


def warn_of_references(texts: "pa.LargeStringArray") -> None:
    """Log a warning if texts, (n,), hold character references, with one of them."""
    like = texts.filter(pc.match_substring(texts, "&"))
    like = like.filter(pc.match_substring_regex(like, _LIKE_REFERENCE))
    held = [text for text in like.to_pylist() if html.unescape(text) != text]
    if held:
        example = held[0] if len(held[0]) <= _SHOWN else held[0][:_SHOWN] + "..."
        logger.warning(
            f"{len(held)} of {len(texts)} item texts hold character references of HTML, such as {example!r}; "
            "--unescape-html makes them characters"
        )
