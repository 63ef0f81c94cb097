"""RecBole's atomic files: one `NAME.inter` and one `NAME.item` in a folder, tab-separated, with typed headers.

`NAME.inter` needs the columns `user_id` and `item_id`. If it has a column `timestamp`, each user's events are sorted by
it, and events of one time keep the order of the file; otherwise all events do. `NAME.item` needs `item_id` and at least
one text column. Other columns and files are ignored.

A template makes the text of an item from columns of any type, named without their types. Without a template, the text
is the one column whose name contains `title` or `name`; if there are several such columns, or none, the user must name
the columns.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from tcf.common.errors import ConfigError, DataError
from tcf.data.events.group_events import group_events, with_ids
from tcf.data.events.html_references import text_columns
from tcf.data.events.items import read_items
from tcf.data.events.timestamps import read_numbers
from tcf.data.raw.raw_log import RawLog
from tcf.data.tables.bad_rows import BadRows
from tcf.data.tables.engine import Engine
from tcf.data.tables.source_file import require_folder
from tcf.data.tables.table import RawTable, listed_columns
from tcf.data.tables.text_form import TextForm
from tcf.data.tables.text_table import TextTable
from tcf.data.text_template import Template, joined_columns

__all__ = ["read_recbole", "recbole_files"]

_FORM = TextForm("\t", quoting=False)
_TYPES = ("token", "token_seq", "float", "float_seq")
_TITLE_LIKE = ("title", "name")
_USER, _ITEM, _TIME = "user_id", "item_id", "timestamp"


def recbole_files(folder: Path) -> tuple[Path, Path]:
    """Find the files of the format in a folder: interactions, then items.

    Raises:
        DataError: a file is missing, or there are several of a kind.
    """
    expected = "expected exactly one NAME.inter and one NAME.item of the same NAME"
    require_folder(folder)
    interactions, items = (sorted(folder.glob(f"*{suffix}")) for suffix in (".inter", ".item"))
    if len(interactions) != 1 or len(items) != 1 or interactions[0].stem != items[0].stem:
        found = ", ".join(path.name for path in (*interactions, *items)) or "neither"
        raise DataError(f"{folder}: {expected}, found {found}; name a folder with one dataset")
    return interactions[0], items[0]


def read_recbole(
    engine: Engine,
    folder: Path,
    *,
    bad_rows: Literal["error", "skip"],
    template: Template | None = None,
    unescape_html: bool = False,
) -> RawLog:
    """Read RecBole's atomic files.

    Args:
        engine: reads and orders the rows.
        folder: the folder of the two files.
        bad_rows: raise an error at the first kind of unusable row, or skip and count such rows: `nul_byte`,
            `bad_utf8`, `wrong_columns`, `empty_id`, `empty_text`, `duplicate_item`, `bad_timestamp`, `unknown_item`,
            `event_of_skipped_item`.
        template: the text of an item, made from columns of the item file; None takes the one title-like column.
        unescape_html: whether character references in texts become characters.

    Raises:
        ConfigError: `template` names a column that the item file lacks, or a template is required.
        DataError: a file is missing, empty or in another format, or a row is unusable and not to be skipped.
    """
    interactions_path, items_path = recbole_files(folder)
    bad = BadRows(bad_rows)
    items_file, interactions = TextTable(items_path, _FORM), TextTable(interactions_path, _FORM)
    described, logged = _typed_columns(items_file, (_ITEM,)), _typed_columns(interactions, (_USER, _ITEM))
    template = template or joined_columns([_title_like(items_path, described)])
    template.check(tuple(described), items_path)
    rows = _load(engine, items_file, described, tuple(dict.fromkeys((_ITEM, *template.columns))), bad)
    rows, columns = text_columns(rows, template.columns, unescape_html)
    items = read_items(rows, rows[_ITEM], template.text(columns), bad)
    wanted = (_USER, _ITEM, _TIME) if _TIME in logged else (_USER, _ITEM)
    events = _load(engine, interactions, logged, wanted, bad)
    times = read_numbers(events, _TIME, bad) if _TIME in logged else None
    with_ids(events, _USER, _ITEM, bad)
    log = group_events(events, _USER, _ITEM, times, items, bad)
    return RawLog.of(items, log, bad.skipped, (events, rows))


def _load(engine: Engine, file: TextTable, typed: Mapping[str, str], wanted: Sequence[str], bad: BadRows) -> RawTable:
    """Read the rows of a file; its columns go by their names without types."""
    rows = file.load(engine, [typed[name] for name in wanted], bad)
    return replace(rows, columns={name: rows[typed[name]] for name in wanted})


def _typed_columns(file: TextTable, needed: Sequence[str]) -> dict[str, str]:
    """Check a typed header, and return the columns as `NAME:TYPE` by name."""
    where, fields = f"{file.path}:1", file.columns
    if len(fields) == 1:
        raise DataError(f"{where}: expected tab-separated columns, found {fields[0][:80]!r}; convert the file")
    for field in fields:
        if field.rpartition(":")[0] == "" or field.rpartition(":")[2] not in _TYPES:
            raise DataError(
                f"{where}: expected a header of NAME:TYPE fields (types: {', '.join(_TYPES)}), found {field[:80]!r}; "
                "add or correct the header"
            )
    names = [field.rpartition(":")[0] for field in fields]
    missing = [name for name in needed if name not in names]
    if missing:
        raise DataError(
            f"{where}: expected a column {missing[0]}, found {listed_columns(names)}; rename the column that holds it"
        )
    if len(set(names)) != len(names):
        raise DataError(
            f"{where}: expected columns with different names, found {listed_columns(names)}; rename the duplicates"
        )
    return dict(zip(names, fields, strict=True))


def _title_like(path: Path, columns: Collection[str]) -> str:
    """Return the one column with a title-like name."""
    others = [name for name in columns if name != _ITEM]
    like = [name for name in others if any(word in name.casefold() for word in _TITLE_LIKE)]
    if len(like) != 1:
        found = f"{len(like)} title-like columns ({', '.join(like)})" if like else "no title-like column"
        raise ConfigError(
            f"--text-columns: expected one title-like column in {path}, found {found}; name the columns that make up "
            f"the text, from {listed_columns(others)}, or give a --template"
        )
    return like[0]
