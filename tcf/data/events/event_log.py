"""Events collected block by block and grouped into histories: each user's items by time, ties in file order.

    with EventLog(path, "line") as log:
        for block in table.blocks(("user", "item", "day"), bad):
            log.add(block.lines, block.columns["user"], block.columns["item"], times)
        histories = log.histories(items, bad)

Memory holds the distinct ids and a few whole numbers for each event. Shapes: nnz events.
"""

from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tcf.common.errors import DataError
from tcf.common.threads import in_parallel
from tcf.data.events.checked_items import Items
from tcf.data.events.id_encoder import Encoded, IdEncoder
from tcf.data.events.sort_events import order_by_user
from tcf.data.histories import taken
from tcf.data.tables.bad_rows import BadRows, skipped_words
from tcf.data.tables.table import Unit

__all__ = ["EventLog", "Grouped", "LineNumbers"]

Lines = npt.NDArray[np.int64]


class LineNumbers:
    """Line numbers of events, added a block at a time."""

    def __init__(self) -> None:
        self._starts = [0]
        self._blocks: list[Lines | int] = []

    def add(self, lines: Lines) -> None:
        """Add the lines of the next events, (n,), rising."""
        if len(lines) == 0:
            return
        without_gaps = int(lines[-1]) - int(lines[0]) == len(lines) - 1
        self._blocks.append(int(lines[0]) if without_gaps else lines)
        self._starts.append(self._starts[-1] + len(lines))

    def at(self, events: Lines) -> Lines:
        """Return the lines of the events with these indices, from 0, rising; (n,)."""
        bounds = np.searchsorted(events, self._starts)
        parts = [
            self._within(block, events[bounds[at] : bounds[at + 1]] - self._starts[at])
            for at, block in enumerate(self._blocks)
        ]
        return np.concatenate([np.zeros(0, np.int64), *parts])

    @staticmethod
    def _within(block: Lines | int, events: Lines) -> Lines:
        lines: Lines = events + block if isinstance(block, int) else block[events]
        return lines


@dataclass(frozen=True)
class Grouped:
    """Histories in CSR form.

    Attributes:
        user_ids: distinct, (n_users,), in the order of first appearance; a user may have no events.
        offsets: (n_users + 1,) int64; user u has items[offsets[u]:offsets[u + 1]], oldest first.
        items: (nnz,) int32 rows of the items.
        times: (nnz,) int64; None if the events have no times or these were not requested.
    """

    user_ids: "pa.LargeStringArray"
    offsets: npt.NDArray[np.int64]
    items: npt.NDArray[np.int32]
    times: npt.NDArray[np.int64] | None


class EventLog:
    """A context manager that collects events.

    Args:
        path: the file of the events, for messages.
        unit: what the row numbers count.
    """

    def __init__(self, path: Path, unit: Unit) -> None:
        self._path, self._unit = path, unit
        self._users, self._items = IdEncoder(), IdEncoder()
        self._lines = LineNumbers()
        self._times: list[npt.NDArray[np.int64]] = []
        self._timed: bool | None = None
        self._latest: int | None = None
        self._is_in_order = True

    def __enter__(self) -> Self:
        self._users.__enter__()
        self._items.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the threads."""
        try:
            self._users.__exit__(kind, error, trace)
        finally:
            self._items.__exit__(kind, error, trace)

    def add(
        self,
        lines: npt.NDArray[np.int64],
        users: "pa.LargeStringArray",
        items: "pa.LargeStringArray",
        times: npt.NDArray[np.int64] | None,
    ) -> None:
        """Add the next events of the file.

        Args:
            lines: (n,) their line numbers, rising.
            users: (n,) raw ids, none empty.
            items: (n,) raw ids, none empty.
            times: (n,) in any sortable unit; None for events without times, in all calls or in none.
        """
        if self._timed not in (None, times is not None):
            raise ValueError("expected times with all events or with none")
        self._timed = times is not None
        self._users.add(users)
        self._items.add(items)
        self._lines.add(lines)
        if times is not None and len(times):
            self._times.append(times)
            begins_late = self._latest is None or int(times[0]) >= self._latest
            self._is_in_order &= begins_late and not (times[1:] < times[:-1]).any()
            self._latest = int(times[-1])

    def histories(self, items: Items, bad: BadRows, *, keep_times: bool = True) -> Grouped:
        """Group the collected events by user; nothing can be added afterwards.

        Args:
            items: the usable items.
            bad: raises an error for events of unknown items (`unknown_item`), or counts them; counts events of items
                left out because they have no text (`event_of_skipped_item`).
            keep_times: whether to return the times; False saves memory and time.

        Raises:
            DataError: an event names an unknown item and `bad` does not skip, or all of them do.
        """
        events, users = in_parallel(self._items.finish, self._users.finish)
        rows, known = self._find_items(events, items, bad)
        codes, owners = (events.codes, users.codes) if known is None else (events.codes[known], users.codes[known])
        times = self._all_times(known) if keep_times or not self._is_in_order else None
        (offsets, order), found = in_parallel(
            lambda: order_by_user(owners, len(users.values), times), lambda: taken(rows, codes)
        )
        kept = order.take(times) if keep_times and times is not None else None
        return Grouped(users.values, offsets, order.take(found), kept)

    def _all_times(self, known: npt.NDArray[np.bool_] | None) -> npt.NDArray[np.int64] | None:
        parts, self._times = self._times, []
        if not parts:
            return None
        times = np.concatenate(parts)
        return times if known is None else times[known]

    def _find_items(
        self, events: Encoded, items: Items, bad: BadRows
    ) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.bool_] | None]:
        """Return the item of each distinct id of the events, and which events have one (None: all)."""
        if len(events.codes) == 0:
            raise DataError(
                f"{self._path}: expected events, found none that can be used (skipped: {skipped_words(bad.skipped)}); "
                "check the file"
            )
        rows = pc.index_in(events.values, value_set=items.ids)
        if rows.null_count == 0:
            return np.asarray(rows), None
        if rows.null_count == len(rows):
            raise DataError(
                f"{self._path}: expected item ids of {items.path}, found {events.values[0].as_py()[:80]!r}, and no "
                "event names an item of that file; check that the files belong together, and the columns of the ids"
            )
        usable = np.asarray(rows.is_valid())
        self._reject_unknown(events, usable, items, bad)
        return np.asarray(rows.fill_null(0)), usable[events.codes]

    def _reject_unknown(self, events: Encoded, usable: npt.NDArray[np.bool_], items: Items, bad: BadRows) -> None:
        of_skipped = np.asarray(pc.is_in(events.values, value_set=items.skipped_ids)) & ~usable
        bad.count("event_of_skipped_item", int(of_skipped[events.codes].sum()))
        unknown = np.flatnonzero((~usable & ~of_skipped)[events.codes])
        bad.reject(
            "unknown_item",
            self._path,
            self._lines.at(unknown),
            f"an item id of {items.path}",
            lambda at: repr(events.values[events.codes[unknown[at]]].as_py()),
            self._unit,
        )
