"""Histories from rows that each hold a list of items and the item after it, most of which repeat one another.

Benchmark files have a row for every prefix of a history (`a -> b`, `a b -> c`, `a b c -> d`), often with only the
latest items of a list. Here the rows of one user become one history, in which every event is there once.

A row *continues* another if its list is the other's list and target, or as many of the latest items of these as the
longest list of the user's rows in that part has. Each row is taken after the one that it continues. Rows that continue
none are taken in the order of time, and those of one time in the order of the file, or in the reverse order where most
rows are continued by the one before.

**Training rows.** The first row is taken whole. Of the others:

1. A row whose list has the latest items of the history adds its target.
2. A row whose list and target are in the history, one after another, adds nothing.
3. A list that begins with the latest items of the history adds the others, and its target.
4. Any other row is no part of this history. It is taken for a later one of the same user: its list, unless the
   history has it already, and its target are added, and the row is counted (`unconnected_list`).

**Validation and test rows** add their targets. If the user has nothing before, the list is added as context. Otherwise
the history must have the list, in this order, one item after another: nothing that is not for training can be put among
training items. The list of a row for which that is not so is left out and counted (`list_not_in_history`).

With session ids in place of user ids, such a row is one of another session: many files count sessions from 1 each.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from operator import attrgetter

from tcf.data.split import EventPart

__all__ = ["LIST_NOT_IN_HISTORY", "UNCONNECTED_LIST", "ListRow", "TakenRow", "connect_lists"]

UNCONNECTED_LIST, LIST_NOT_IN_HISTORY = "unconnected_list", "list_not_in_history"


@dataclass(frozen=True, slots=True)
class ListRow:
    """A row of a file.

    Attributes:
        row: its number.
        part: the part of its target in the split.
        time: for the order of rows; 0 if the file has no times.
        items: the list, ids with one space between them; may be empty.
        target: the item after the list.
    """

    row: int
    part: int
    time: float
    items: str
    target: str

    @property
    def whole(self) -> str:
        """The list and the target."""
        return f"{self.items} {self.target}" if self.items else self.target

    def next_list(self, longest: int) -> str:
        """Return the list of a row that continues this one, if lists have at most `longest` items."""
        return self.whole if self.length < longest else self.whole.partition(" ")[2]

    @property
    def length(self) -> int:
        """Number of items in the list."""
        return self.items.count(" ") + 1 if self.items else 0


@dataclass(frozen=True, slots=True)
class TakenRow:
    """What a row adds to a history.

    Attributes:
        row: its number.
        n_items: how many of the last items of its list.
        has_target: whether its target is added.
        reason: what the row is counted under; empty if it is as expected.
        session_from: the part in which another session with the same id begins, to which the row belongs; 0 if it
            belongs to the first one.
    """

    row: int
    n_items: int
    has_target: bool = True
    reason: str = ""
    session_from: int = 0


class _History:
    """The history of a user so far.

    Attributes:
        latest: as many of its latest items as the longest list may have.
        session_from: as in `TakenRow`.
    """

    def __init__(self, session_from: int = 0) -> None:
        self.latest = ""
        self.session_from = session_from
        self._longest = 0
        self._items: list[str] = []

    def expect(self, rows: Sequence[ListRow]) -> None:
        """Note which rows are next."""
        self._longest = max(row.length for row in rows)
        self.add([])

    def has(self, run: str) -> bool:
        """Return whether these items are in the history, in this order, one after another."""
        return not run or f" {run} " in f" {' '.join(self._items)} "

    def overlap(self, listed: Sequence[str]) -> int:
        """Return how many items at the beginning of a list are the latest of the history."""
        for number in range(min(len(listed), len(self._items)), 0, -1):
            if self._items[-number:] == listed[:number]:
                return number
        return 0

    def add(self, items: Sequence[str]) -> None:
        self._items += items
        self.latest = " ".join(self._items[-self._longest :]) if self._longest else ""

    def __bool__(self) -> bool:
        return bool(self._items)


def connect_lists(rows: Sequence[ListRow], *, are_sessions: bool = False) -> list[TakenRow]:
    """Return what the rows of one user add to the history, in the order of its events.

    Args:
        rows: of one user, by part, then by time, then in the order of the file.
        are_sessions: whether the user is known by the id of a session.
    """
    history, taken = _History(), list[TakenRow]()
    for part, some in groupby(rows, attrgetter("part")):
        ordered = _in_order(list(some))
        if are_sessions and history and not history.has(ordered[0].items):
            history = _History(session_from=part)
        history.expect(ordered)
        taken += _train(history, ordered) if part == EventPart.TRAINING else _held_out(history, ordered)
    return taken


def _in_order(rows: list[ListRow]) -> list[ListRow]:
    """Return rows so that each one follows the row that it continues."""
    longest = max(row.length for row in rows)
    breaks = _breaks(rows, longest)
    if breaks == 0:
        return rows
    backwards = rows[::-1]
    backwards.sort(key=attrgetter("time"))
    return _linked(rows if breaks <= _breaks(backwards, longest) else backwards, longest)


def _breaks(rows: Sequence[ListRow], longest: int) -> int:
    """Return how many rows do not continue the one before."""
    return sum(row.items != before.next_list(longest) for before, row in pairwise(rows))


def _linked(rows: Sequence[ListRow], longest: int) -> list[ListRow]:
    """Return each row that continues none with those that continue it, and in the end rows that continue in circles."""
    followed = {row.next_list(longest) for row in rows}
    waiting: dict[str, deque[ListRow]] = {}
    for row in rows:
        waiting.setdefault(row.items, deque()).append(row)
    first = [row for row in rows if row.items not in followed]
    linked: dict[int, ListRow] = {}
    for start in (*first, *rows):
        taken: ListRow | None = start
        while taken is not None and taken.row not in linked:
            linked[taken.row] = taken
            others = waiting.get(taken.next_list(longest), deque())
            while others and others[0].row in linked:
                others.popleft()
            taken = others[0] if others else None
    return list(linked.values())


def _train(history: _History, rows: Sequence[ListRow]) -> Iterator[TakenRow]:
    for row in rows:
        if not history:
            yield _taken(history, row, row.length)
        elif row.items == history.latest:
            yield _taken(history, row, 0)
        else:
            yield _other(history, row)


def _other(history: _History, row: ListRow) -> TakenRow:
    """Return what a training row adds that does not continue the history."""
    if history.has(row.whole):
        return TakenRow(row.row, 0, has_target=False)
    listed = row.items.split()
    if history.has(row.items):
        return _taken(history, row, 0, UNCONNECTED_LIST)
    overlap = history.overlap(listed)
    return _taken(history, row, len(listed) - overlap, "" if overlap else UNCONNECTED_LIST)


def _held_out(history: _History, rows: Sequence[ListRow]) -> Iterator[TakenRow]:
    for row in rows:
        if not history:
            yield _taken(history, row, row.length)
        elif row.items == history.latest or history.has(row.items):
            yield _taken(history, row, 0)
        else:
            yield _taken(history, row, 0, LIST_NOT_IN_HISTORY)


def _taken(history: _History, row: ListRow, n_items: int, reason: str = "") -> TakenRow:
    """Add the last items of a list and the target."""
    listed = row.items.split()[-n_items:] if n_items else []
    history.add([*listed, row.target])
    return TakenRow(row.row, n_items, reason=reason, session_from=history.session_from)
