"""Item files of the study's raw format and related ones: an id and one or several text columns.

A `.tsv` is split at tabs, and quotes are ordinary characters; a `.csv` is comma-separated with quotes around fields
that contain a comma, as pandas writes and reads it. A header, if there is one, names the columns. Without a header, the
columns after the id are:

- if there is one: `title`, which is its name whatever a header says;
- if there are two in a `.tsv` without one of the study's names: `title` and `abstract` (`westlake-repl/IDvs.MoRec`,
  bce_text/main-end2end/data_utils/preprocess.py); the study's own files without a header have one;
- if there are two in a `.csv`: `title_zh` and `title_en` (`westlake-repl/NineRec`, README.md on `QB_item.csv`, which is
  read without a header in Baseline/BERT4Rec/BERT4Rec_txt/data_utils/preprocess.py).
"""

from collections import Counter
from dataclasses import replace
from itertools import chain
from pathlib import Path

from tcf.common.errors import ConfigError, DataError
from tcf.data.events.html_references import text_columns
from tcf.data.events.items import Items, read_items
from tcf.data.raw.study.file_names import STUDY_ITEMS, is_item_column
from tcf.data.tables.bad_rows import BadRows
from tcf.data.tables.engine import Engine
from tcf.data.tables.source_file import unreadable
from tcf.data.tables.table import RawTable, listed_columns
from tcf.data.tables.text_form import TextForm
from tcf.data.tables.text_table import TextTable
from tcf.data.text_template import Template, joined_columns

__all__ = ["first_row", "items_of", "load_items", "load_tabs"]

_ID, _TITLE = "item id", "title"
_DEFAULTS = ("title_en", _TITLE)  # the study's encoders read English


def load_items(engine: Engine, path: Path, bad: BadRows) -> RawTable:
    """Read the rows of an item file: `c0` is the id; a header, if there is one, is the first row.

    Raises:
        DataError: the file cannot be read, is empty or in another format, or a row is unusable and `bad` does not skip.
    """
    if path.suffix.casefold() != ".csv":
        first, width = _first_line_and_width(path)
        plain = path.name in STUDY_ITEMS and not is_item_column(first.split("\t")[0])
        return load_tabs(engine, path, _names(2 if plain else max(width, 2), (_TITLE, "abstract")), bad)
    there = TextTable(path, TextForm()).columns
    if len(there) < 2:
        raise DataError(
            f"{path}:1: expected an item id, a comma and a title, found {there[0][:80]!r}; separate the columns with "
            "commas"
        )
    names = _names(len(there), ("title_zh", "title_en"))
    return TextTable(path, TextForm(header=names)).load(engine, names, bad)


def load_tabs(engine: Engine, path: Path, names: tuple[str, ...], bad: BadRows) -> RawTable:
    """Read the rows of a tab-separated file, with its first line.

    Raises:
        DataError: the file cannot be read, is empty or has no tabs, or a row is unusable and `bad` does not skip.
    """
    table = TextTable(path, TextForm("\t", quoting=False, header=names))
    first, width = _first_line_and_width(path)
    if width == 1:
        raise DataError(
            f"{path}:1: expected {names[0]}, a tab and {names[1]}, found no tab in any line: {first[:80]!r}; separate "
            "the columns with tabs"
        )
    return table.load(engine, names, bad)


def first_row(table: RawTable) -> tuple[str, ...]:
    """Return the values of the row on line 1; empty ones if that line is not a row."""
    found = table.engine.rows(f"select {', '.join(table.columns.values())} from {table.name} where rowid = 0")
    return found[0] if found and table.place_of(0).number == 1 else ("",) * len(table.columns)


def items_of(
    table: RawTable, has_header: bool, template: Template | None, bad: BadRows, unescape_html: bool = False
) -> Items:
    """Return the usable items, with their texts.

    Args:
        table: the rows of the item file.
        has_header: whether the first row is a header, which is counted as `header_line`.
        template: the text of an item, made from the columns; None takes the only column, or `title_en`, or `title`.
        bad: raises an error for unusable rows, or counts them: `empty_id`, `empty_text`, `duplicate_item`.
        unescape_html: whether character references in texts become characters.

    Raises:
        ConfigError: `template` names another column, or a template is required.
        DataError: a row is unusable and `bad` does not skip, or no row is left.
    """
    names = tuple(table.columns)[1:]
    if has_header:
        names = names if len(names) == 1 else first_row(table)[1:]
        table.leave_out("rowid = 0", "header_line", bad)
    elif len(names) > 2:
        raise DataError(
            f"{table.path}:1: expected an item id and one or two text columns, or a header that begins with item_id, "
            f"found {len(names) + 1} columns; remove the others, or name the format of the files"
        )
    template = template or _default(table.path, names)
    template.check(names, table.path)
    item_id, *texts = table.columns.values()
    named = replace(table, columns=dict(zip(names, texts, strict=True)))
    table, columns = text_columns(named, template.columns, unescape_html)
    return read_items(table, item_id, template.text(columns), bad)


def _default(path: Path, names: tuple[str, ...]) -> Template:
    for name in _DEFAULTS:
        if name in names:
            return joined_columns([name])
    raise ConfigError(
        f"--text-columns: {path} has no column {' or '.join(_DEFAULTS)}; name the columns that make up the text, from "
        f"{listed_columns(names)}, or give a --template"
    )


def _names(number: int, two: tuple[str, str]) -> tuple[str, ...]:
    """Return names for the columns of a file, until a header gives others to those after the id."""
    match number:
        case 2:
            return (_ID, _TITLE)
        case 3:
            return (_ID, *two)
        case _:
            return (_ID, *(f"column {at}" for at in range(2, number + 1)))


def _first_line_and_width(path: Path) -> tuple[str, int]:
    """Return the first line, and the most frequent number of fields in lines with tabs; 1 if no line has a tab."""
    try:
        with path.open("rb") as lines:
            first = next(lines, b"")
            widths = Counter(line.count(b"\t") + 1 for line in chain([first], lines))
    except OSError as error:
        raise unreadable(path, error) from None
    del widths[1]
    width = min(widths, key=lambda width: (-widths[width], width), default=1)
    return first.decode("utf-8-sig", "backslashreplace").rstrip("\r\n"), width
