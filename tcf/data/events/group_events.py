"""Events grouped into histories: each user's items by part of a given split, then by time, ties in file order.

Shapes: nnz events.
"""

import logging
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tcf.common.errors import DataError
from tcf.common.ragged import offsets_from
from tcf.data.events.duplicates import DuplicateFinder
from tcf.data.events.event_selection import EventSelection
from tcf.data.events.had_items import had_pairs, noting_had
from tcf.data.events.items import Items
from tcf.data.events.swapped_columns import swapped_words
from tcf.data.events.timestamps import Times
from tcf.data.histories import Histories
from tcf.data.tables.arrow_numbers import as_numpy
from tcf.data.tables.bad_rows import BadRows, skipped_words
from tcf.data.tables.engine import Engine
from tcf.data.tables.table import RawTable

__all__ = ["Grouped", "collect", "collect_had", "group_events", "with_ids"]

logger = logging.getLogger(__name__)

_TYPES = {"item": np.int32, "whole": np.int64, "part": np.int8, "duplicate": np.bool_}  # of what is kept


@dataclass(frozen=True)
class Grouped:
    """Histories in CSR form.

    Attributes:
        user_ids: distinct, (n_users,), in the order of first appearance; a user may have no events.
        offsets: (n_users + 1,) int64; user u has items[offsets[u]:offsets[u + 1]], oldest first.
        items: (nnz,) int32 rows of the items.
        times: (nnz,) int64, seconds since 1970; None if the events have no times or these were not requested.
        parts: (nnz,) int8, `tcf.data.split.EventPart`; None if the events have none.
        duplicates: (nnz,) bool, whether an earlier event has the same user, item, time and part; None if the events
            have no times.
        others: items that each user has had otherwise, rows of the items in any order; None if there are none.
    """

    user_ids: "pa.LargeStringArray"
    offsets: npt.NDArray[np.int64]
    items: npt.NDArray[np.int32]
    times: npt.NDArray[np.int64] | None
    parts: npt.NDArray[np.int8] | None = None
    duplicates: npt.NDArray[np.bool_] | None = None
    others: Histories | None = None

    def without_duplicates(self) -> "Grouped":
        """Return the events that are no duplicates."""
        if self.duplicates is None:
            return self
        users = np.arange(len(self.user_ids))
        whole = EventSelection(users, self.offsets, self.items, self.times, self.parts, self.duplicates)
        kept = whole.where(~self.duplicates)
        events = (kept.offsets, kept.items, kept.times, kept.parts, kept.duplicates)
        return Grouped(self.user_ids, *events, self.others)


def with_ids(
    table: RawTable, user: str, item: str, bad: BadRows, expected: str = "a user id and an item id"
) -> RawTable:
    """Leave out rows that lack an id of the two columns, as `empty_id`; return the others, which note what is had."""
    table.reject(f"{table[user]} = '' or {table[item]} = ''", "empty_id", expected, bad, columns=(user, item))
    return noting_had(table, user, item)


def group_events(
    table: RawTable,
    user: str,
    item: str,
    times: Times | None,
    items: Items,
    bad: BadRows,
    *,
    keep_times: bool = True,
    once: str | None = None,
    part: str | None = None,
    if_swapped: str = "check which of them holds the users",
    has_exact_times: bool = True,
) -> Grouped:
    """Group the rows of a table by user.

    Args:
        table: the events; not to be used afterwards.
        user: the column of user ids, none empty.
        item: the column of item ids, none empty.
        times: their times; None for events without times, which keep the order of the file.
        items: the usable items.
        bad: raises an error for events of unknown items (`unknown_item`), or counts them; counts events of items left
            out because they have no text (`event_of_skipped_item`).
        keep_times: whether to return the times; False saves memory and time.
        once: leave duplicates out, and count them under this.
        part: an expression in SQL for the part of an event (`tcf.data.split.EventPart`), over the columns of the table;
            None for events without parts. A user's events are in the order of their parts first.
        if_swapped: what to do if the columns of users and items seem to be swapped, for the warning.
        has_exact_times: whether each event has a time of its own; otherwise none is called a duplicate.

    Raises:
        DataError: there are no events, an event names an unknown item and `bad` does not skip, or all of them do.
    """
    if len(table) == 0:
        raise DataError(
            f"{table.source}: expected events, found none that can be used (skipped: {skipped_words(bad.skipped)}); "
            "check the file"
        )
    users, found = _number_users(table, user), _find_items(table, table[item], items)
    swapped = swapped_words(table, user, item, users, found, items, if_swapped)
    _reject_unknown(table, table[item], found, items, bad, swapped)
    parts = [] if part is None else ["part"]
    of_part = "" if part is None else f"({part})::tinyint as part, "
    rows = (
        f"select {users}.number as owner, {found}.number as item, {times.value if times else '0'} as time, "
        f"{of_part}events.rowid as place from {table.name} events join {users} on {users}.id = events.{table[user]} "
        f"join {found} on {found}.id = events.{table[item]} {times.join if times else ''}"
    )
    (user_ids,) = table.engine.strings(f"select id from {users} order by number")
    timed = ["time"] if times else []
    whole = [f"{times.whole} as whole"] if times and keep_times else []
    wanted, keys = ", ".join(["owner", "item", *timed, *whole, *parts]), ", ".join(["owner", *parts, *timed, "place"])
    batches = table.engine.batches(f"select {wanted} from ({rows}) order by {keys}")
    duplicates = DuplicateFinder(len(items.ids)) if has_exact_times else None
    log = collect(user_ids, batches, len(table), times if keep_times else None, duplicates)
    log = replace(log, others=collect_had(table.engine, users, items.known, user_ids))
    if once is None or log.duplicates is None:
        return log
    bad.count(once, int(log.duplicates.sum()))
    return log.without_duplicates()


def collect_had(engine: Engine, users: str, items: str, user_ids: "pa.LargeStringArray") -> Histories | None:
    """Return what users have had without an event, rows of the items in any order; None if nothing was noted.

    Args:
        engine: has the notes (`tcf.data.events.had_items`).
        users: a table of the users, with the columns `id` and `number`.
        items: likewise of the items; a number may be null.
        user_ids: the ids of users, (n_users,).
    """
    pairs = had_pairs(engine, users, items)
    if pairs is None:
        return None
    ordered = engine.batches(f"select owner, item from {pairs} order by owner")
    found = collect(user_ids, ordered, engine.number(f"select count(*) from {pairs}"), None)
    engine.run(f"drop table {pairs}")
    return Histories(found.offsets, found.items)


def _number_users(table: RawTable, user: str) -> str:
    """Return a table of the ids of users and their numbers, in the order of their first rows."""
    name = table.engine.name("users")
    table.engine.run(
        f"create temp table {name} as select id, (row_number() over (order by first) - 1)::int as number "
        f"from (select {table[user]} as id, min(rowid) as first from {table.name} group by all)"
    )
    return name


def _find_items(table: RawTable, item: str, items: Items) -> str:
    """Return a table of the ids of items in the events and their numbers, null for those that are not usable."""
    name = table.engine.name("found")
    table.engine.run(
        f"create temp table {name} as select named.id, number, known.id is not null as is_skipped "
        f"from (select distinct {item} as id from {table.name}) named left join {items.known} known using (id)"
    )
    return name


def collect(
    user_ids: "pa.LargeStringArray",
    batches: "Iterable[pa.RecordBatch]",
    n_events: int,
    times: Times | None,
    duplicates: DuplicateFinder | None = None,
) -> Grouped:
    """Collect events that are in order.

    Args:
        user_ids: distinct, (n_users,).
        batches: columns by name: `owner`, the user of each event, from 0 and rising; `item`; and, where there are such,
            `part`; `time`, by which events of a user and part are ordered; `whole`, the time as a whole number.
        n_events: their number, nnz.
        times: what `whole` is; None if it is not there.
        duplicates: finds events of one user, part and time; None if times are not exact.
    """
    counts, columns = np.zeros(len(user_ids), np.int64), dict[str, npt.NDArray[Any]]()
    at = 0
    for batch in batches:
        found = {name: as_numpy(batch.column(name)) for name in batch.schema.names}
        owners, kept = found.pop("owner"), {name: found[name] for name in found if name != "time"}
        if duplicates is not None and "time" in found:
            keys = (owners, found["time"], *([found["part"]] if "part" in found else []))
            kept["duplicate"] = duplicates.find(found["item"], *keys)
        counts[owners[0] : owners[-1] + 1] += np.bincount(owners - owners[0])
        for name, values in kept.items():
            columns.setdefault(name, np.empty(n_events, _TYPES[name]))[at : at + len(batch)] = values
        at += len(batch)
    return Grouped(
        user_ids,
        offsets_from(counts),
        columns.get("item", np.empty(0, np.int32)),
        None if times is None else times.seconds(columns.get("whole", np.empty(0, np.int64))),
        columns.get("part"),
        columns.get("duplicate"),
    )


def _reject_unknown(table: RawTable, item: str, found: str, items: Items, bad: BadRows, swapped: str) -> None:
    """Leave out the events of items that are not usable."""
    engine = table.engine
    if engine.number(f"select count(number) from {found}") == 0:
        row, first = engine.rows(f"select {table.row}, {item} from {table.name} order by rowid limit 1")[0]
        raise DataError(
            f"{table.place_of(row)}: expected item ids of {items.source}, found {first[:80]!r}, and no event names an "
            f"item of that file; {swapped or 'check that the files belong together, and the columns of the ids'}"
        )
    if engine.number(f"select count(*) from {found} where number is null") == 0:
        return
    skipped = f"{item} in (select id from {found} where number is null and is_skipped)"
    table.leave_out(skipped, "event_of_skipped_item", bad)
    if swapped:
        logger.warning(f"{table.source}: {swapped}")
    unknown = f"{item} in (select id from {found} where number is null)"
    table.reject(unknown, "unknown_item", f"an item id of {items.source}", bad, item)
