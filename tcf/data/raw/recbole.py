"""RecBole's atomic files: one `NAME.inter` and one `NAME.item` in a folder, tab-separated, with typed headers.

`NAME.inter` needs the columns `user_id` and `item_id`. If it has a column `timestamp`, each user's events are sorted by
it, and events of one time keep the order of the file; otherwise all events do. `NAME.item` needs `item_id` and at least
one text column. Other columns and files are ignored.

A template makes the text of an item from columns of any type, named without their types. Without a template, the text
is the one column whose name contains `title` or `name`; if there are several such columns, or none, the user must name
the columns.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tcf.common.errors import ConfigError, DataError
from tcf.data.events.checked_items import Items, Pairs, check_items, find_items, offsets_of
from tcf.data.raw.raw_log import RawLog
from tcf.data.tables.bad_rows import BadRows
from tcf.data.tables.source_file import require_folder
from tcf.data.tables.table import listed_columns
from tcf.data.tables.tsv_file import TextFile, TsvRows, empty_strings, read_rows, read_text_file, select_strings
from tcf.data.text_template import Template, joined_columns

__all__ = ["read_recbole", "recbole_files"]

_TYPES = ("token", "token_seq", "float", "float_seq")
_TITLE_LIKE = ("title", "name")
_NUMBER = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$"


@dataclass(frozen=True)
class _AtomicFile:
    """An atomic file: its column names and its rows."""

    columns: tuple[str, ...]
    rows: TsvRows

    def column(self, name: str) -> "pa.LargeStringArray":
        return self.rows.column(self.columns.index(name))


@dataclass(frozen=True)
class _InterEvents:
    """Events in file order.

    Attributes:
        path: the file.
        lines: (nnz,) int64, line numbers from 1.
        users: (nnz,) raw ids.
        items: (nnz,) raw ids.
        times: (nnz,) int64 or float64; None if the file has none.
    """

    path: Path
    lines: npt.NDArray[np.int64]
    users: "pa.LargeStringArray"
    items: "pa.LargeStringArray"
    times: npt.NDArray[Any] | None


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


def read_recbole(folder: Path, *, bad_rows: Literal["error", "skip"], template: Template | None = None) -> RawLog:
    """Read RecBole's atomic files.

    Args:
        folder: the folder of the two files.
        bad_rows: raise an error at the first kind of unusable row, or skip and count such rows: `nul_byte`,
            `bad_utf8`, `wrong_columns`, `empty_id`, `empty_text`, `duplicate_item`, `bad_timestamp`, `unknown_item`,
            `event_of_skipped_item`.
        template: the text of an item, made from columns of the item file; None takes the one title-like column.

    Raises:
        ConfigError: `template` names a column that the item file lacks, or a template is required.
        DataError: a file is missing, empty or in another format, or a row is unusable and not to be skipped.
    """
    interactions_path, items_path = recbole_files(folder)
    bad = BadRows(bad_rows)
    items_file, interactions_file = read_text_file(items_path), read_text_file(interactions_path)
    items = _read_items(items_file, template, bad)
    events = _read_events(interactions_file, bad)
    users, offsets, found, times = _by_user(events, items, bad)
    files = {file.path.name: file.sha256 for file in (interactions_file, items_file)}
    return RawLog(items.ids, items.texts, users, offsets, found, bad.skipped, files, times)


def _read_items(file: TextFile, template: Template | None, bad: BadRows) -> Items:
    columns = _columns(file, ("item_id",))
    template = template or joined_columns([_title_like(file, columns)])
    template.check(columns, file.path)
    table = _table(file, columns, bad)
    texts = template.fill({name: table.column(name) for name in template.columns})
    return check_items(Pairs(file.path, table.rows.lines, table.column("item_id"), texts), bad)


def _read_events(file: TextFile, bad: BadRows) -> _InterEvents:
    table = _table(file, _columns(file, ("user_id", "item_id")), bad)
    times = _times(table)
    timed = np.ones(len(table.rows), bool) if times is None else _timed(table, times, bad)
    users, items = (select_strings(table.column(name), timed) for name in ("user_id", "item_id"))
    rows = Pairs(file.path, table.rows.lines[timed], users, items)
    no_id = empty_strings(users) | empty_strings(items)
    rows = rows.without(no_id, "empty_id", "a user id and an item id", bad)
    return _InterEvents(file.path, rows.lines, rows.ids, rows.values, None if times is None else times[timed][~no_id])


def _by_user(
    events: _InterEvents, items: Items, bad: BadRows
) -> tuple["pa.LargeStringArray", npt.NDArray[np.int64], npt.NDArray[np.int32], npt.NDArray[np.int64] | None]:
    """Group events by user: users by first line; offsets and item positions in CSR form, oldest first; times."""
    encoded = events.users.dictionary_encode()
    found, known = find_items(events.items, items, events.path, lambda at: events.lines[at], bad)
    owners = np.asarray(encoded.indices)[known]
    times = np.zeros(len(owners), np.int64) if events.times is None else events.times[known]
    order = np.lexsort((times, owners))  # stable
    when = None if events.times is None else _whole(times[order])
    return encoded.dictionary, offsets_of(owners, len(encoded.dictionary)), found[known][order], when


def _columns(file: TextFile, needed: Sequence[str]) -> tuple[str, ...]:
    """Return the column names of a typed header."""
    where = f"{file.path}:1"
    fields = [field.strip() for field in file.first_line.split("\t")]
    if len(fields) == 1:
        raise DataError(f"{where}: expected tab-separated columns, found {fields[0][:80]!r}; convert the file")
    for field in fields:
        if field.rpartition(":")[0] == "" or field.rpartition(":")[2] not in _TYPES:
            raise DataError(
                f"{where}: expected a header of NAME:TYPE fields (types: {', '.join(_TYPES)}), found {field[:80]!r}; "
                "add or correct the header"
            )
    names = tuple(field.rpartition(":")[0] for field in fields)
    missing = [name for name in needed if name not in names]
    if missing:
        raise DataError(
            f"{where}: expected a column {missing[0]}, found {listed_columns(names)}; rename the column that holds it"
        )
    if len(set(names)) != len(names):
        raise DataError(
            f"{where}: expected columns with different names, found {listed_columns(names)}; rename the duplicates"
        )
    return names


def _title_like(file: TextFile, columns: Sequence[str]) -> str:
    """Return the one column with a title-like name."""
    others = [name for name in columns if name != "item_id"]
    like = [name for name in others if any(word in name.casefold() for word in _TITLE_LIKE)]
    if len(like) != 1:
        found = f"{len(like)} title-like columns ({', '.join(like)})" if like else "no title-like column"
        raise ConfigError(
            f"--text-columns: expected one title-like column in {file.path}, found {found}; name the columns that make "
            f"up the text, from {listed_columns(others)}, or give a --template"
        )
    return like[0]


def _table(file: TextFile, columns: tuple[str, ...], bad: BadRows) -> _AtomicFile:
    body = file.without_first_line
    if len(body.ends) == 0:
        raise DataError(f"{file.path}: expected rows after the header, found none; check its source")
    return _AtomicFile(columns, read_rows(body, len(columns), f"one for each of {', '.join(columns)}", bad))


def _times(table: _AtomicFile) -> npt.NDArray[Any] | None:
    """Return the timestamps, (n_rows,), NaN or infinite where they are not numbers; None without such a column."""
    return _numbers(table.column("timestamp")) if "timestamp" in table.columns else None


def _timed(table: _AtomicFile, times: npt.NDArray[Any], bad: BadRows) -> npt.NDArray[np.bool_]:
    """Return which rows have a finite time, (n_rows,); the others are rejected."""
    usable: npt.NDArray[np.bool_] = np.isfinite(times)
    written, wrong = table.column("timestamp"), np.flatnonzero(~usable)
    lines = table.rows.lines[wrong]
    expected = "a number in column timestamp"
    bad.reject("bad_timestamp", table.rows.path, lines, expected, lambda index: repr(written[wrong[index]].as_py()))
    return usable


def _whole(times: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Round times down to whole numbers, so that they still never fall within a user."""
    if times.dtype == np.int64:
        return np.asarray(times, np.int64)
    # The largest float64 below 2^63; larger values do not fit in int64.
    largest = np.nextafter(2.0**63, 0)
    return np.asarray(np.clip(np.floor(times), -(2.0**63), largest), np.int64)


def _numbers(written: "pa.LargeStringArray") -> npt.NDArray[Any]:
    """Convert strings to numbers: int64 if all are whole, as float64 would merge nanoseconds; NaN for non-numbers."""
    if not pc.any(pc.match_substring(written, "x", ignore_case=True)).as_py():  # a cast would read hexadecimal
        for kind in (pa.int64(), pa.float64()):
            try:
                return np.asarray(pc.cast(written, kind))
            except pa.ArrowInvalid:
                continue
    numeric = pc.match_substring_regex(written, _NUMBER)
    return np.asarray(pc.cast(pc.if_else(numeric, written, "nan"), pa.float64()))
