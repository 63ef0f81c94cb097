"""Events as pairs, `NAME_pair.csv`: comma-separated user, item and time, one event on each line, in any order.

The histories of `westlake-repl/NineRec` are published in this form. Its README.md has the user first; its script
(get_behaviour.py, next to its baselines) and third parties' readers of the files have the item first; no file has a
header, and two of them have no times. So, without a header, the item column is the one that contains ids of the item
file: in the first rows, at least twice as many of its values must be such ids as in the other column. Events are sorted
by time, and events of one time keep the order of the file; without times all events do.
"""

import csv
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tcf.common.errors import DataError
from tcf.data.events.checked_items import Items
from tcf.data.events.event_log import EventLog, Grouped
from tcf.data.events.timestamps import TimeReader
from tcf.data.raw.ratings import add_events
from tcf.data.raw.study.file_names import is_item_column, is_time_column, is_user_column
from tcf.data.tables.bad_rows import BadRows
from tcf.data.tables.open_table import open_table
from tcf.data.tables.records import TextForm
from tcf.data.tables.source_file import unreadable

__all__ = ["read_pairs"]

_SAMPLED_ROWS = 10_000
_LEAST_RATIO = 2  # of item ids in one column to those in the other
_FORM = "a user id, an item id and, if there are times, a time, separated by commas"


@dataclass(frozen=True)
class _PairColumns:
    """Names of the columns.

    Attributes:
        header: names of all columns if the file has no header; None if it has one.
        user: column of user ids.
        item: column of item ids.
        time: column of times; None if there are none.
    """

    header: tuple[str, ...] | None
    user: str
    item: str
    time: str | None


def read_pairs(path: Path, items: Items, bad: BadRows) -> tuple[Grouped, str]:
    """Read events and group them by user.

    Args:
        path: the file.
        items: the usable items.
        bad: raises an error for unusable rows, or counts them: `nul_byte`, `bad_utf8`, `wrong_columns`,
            `torn_quotes`, `empty_id`, `bad_timestamp`, `unknown_item`, `event_of_skipped_item`.

    Returns:
        Histories, with times in seconds since 1970 if the file has times, and the file's checksum.

    Raises:
        DataError: the file cannot be read or is in another format, users and items cannot be distinguished, or a row is
            unusable and `bad` does not skip.
    """
    names = _columns(path, items)
    table = open_table(path, TextForm(header=names.header))
    bad.count("header_line", int(names.header is None))
    clock = TimeReader()
    wanted = [names.user, names.item] + ([names.time] if names.time is not None else [])
    with EventLog(path, table.unit) as log:
        for block in table.blocks(wanted, bad):
            add_events(log, block, names.user, names.item, names.time, clock, bad)
        found = log.histories(items, bad)
    seconds = None if found.times is None else clock.seconds(found.times)
    return Grouped(found.user_ids, found.offsets, found.items, seconds), table.sha256


def _columns(path: Path, items: Items) -> _PairColumns:
    """Find out which column holds users, items and times."""
    rows = _first_rows(path)
    header = _named(rows[0])
    if header is not None:
        return header
    size = max((len(row) for row in rows), key=[len(row) for row in rows].count)
    if size not in (2, 3):
        raise DataError(f"{path}:1: expected {_FORM}, found {size} columns; remove the others, or add a header")
    regular = [row for row in rows if len(row) == size]
    shares = [_share([row[at] for row in regular], items) for at in (0, 1)]
    # If user ids look like item ids, a few unknown items must not decide.
    if max(shares) < _LEAST_RATIO * min(shares) or not any(shares):
        held = f"{shares[0]:.1%} of the first column and {shares[1]:.1%} of the second are ids of {items.path.name}"
        raise DataError(
            f"{path}:1: expected {_FORM}, found that {held}, so users and items cannot be distinguished; add a header "
            "such as user,item,timestamp"
        )
    timed = size == 3 and any(row[2].strip() for row in regular)
    user, item = ("first", "second") if shares[1] > shares[0] else ("second", "first")
    return _PairColumns(("first", "second", "third")[:size], user, item, "third" if timed else None)


def _first_rows(path: Path) -> list[list[str]]:
    try:
        with path.open(encoding="utf-8-sig", errors="replace", newline="") as stream:
            rows = [row for row in islice(csv.reader(stream), _SAMPLED_ROWS) if row]
    except OSError as error:
        raise unreadable(path, error) from None
    except csv.Error as error:
        raise DataError(f"{path}: expected {_FORM}, found something else ({error}); check its source") from None
    if not rows:
        raise DataError(f"{path}: expected rows, found an empty file; check its source")
    return rows


def _named(first: list[str]) -> _PairColumns | None:
    """Return the columns that a header names; None if the first row is not a header."""
    users = [name.strip() for name in first if is_user_column(name)]
    items = [name.strip() for name in first if is_item_column(name)]
    times = [name.strip() for name in first if is_time_column(name)]
    if len(users) != 1 or len(items) != 1 or len(times) > 1:
        return None
    return _PairColumns(None, users[0], items[0], times[0] if times else None)


def _share(values: list[str], items: Items) -> float:
    """Return the share of values that are item ids."""
    ids = pa.array([value.strip() for value in values], pa.large_string())
    known = pa.concat_arrays([items.ids, items.skipped_ids])
    return float(np.mean(np.asarray(pc.is_in(ids, value_set=known))))
