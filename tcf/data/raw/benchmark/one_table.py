"""The events of one or several files in one table, each with the part of a split that its file is for."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tcf.data.raw.benchmark.item_lists import ListColumns, events_of_lists
from tcf.data.split import EventPart
from tcf.data.tables.bad_rows import BadRows, Place
from tcf.data.tables.engine import literal
from tcf.data.tables.several_tables import refuse_copies
from tcf.data.tables.table import RawTable

__all__ = ["EventColumns", "one_table"]

_BITS = 40  # of the row in its file


@dataclass(frozen=True)
class EventColumns:
    """The columns of rows.

    Attributes:
        user: the id of a user or session.
        item: the item; of rows with lists, the one after the list.
        time: its time; None if there is none.
        rating: its rating, which items of lists lack; None if there is none.
        items: the list, ids with spaces between them, oldest first; may be empty. None if no file has lists.
        times: the times of the list, with spaces between them; None if there are none.
        are_sessions: whether the ids are those of sessions, which may begin anew in each file, or with each row.
    """

    user: str
    item: str
    time: str | None = None
    rating: str | None = None
    items: str | None = None
    times: str | None = None
    are_sessions: bool = False

    @property
    def kept(self) -> tuple[str, ...]:
        """The columns that events have."""
        return tuple(name for name in (self.user, self.item, self.time, self.rating) if name is not None)


def one_table(
    tables: Sequence[RawTable], parts: Sequence[EventPart] | None, names: EventColumns, bad: BadRows
) -> RawTable:
    """Return the events of files in one table; if there are parts, its column `part` has them.

    Args:
        tables: the rows of each file, not to be used afterwards.
        parts: the part of each file in a split; None if there is one file, without a split.
        names: the columns.
        bad: counts rows whose lists contradict others.

    Raises:
        DataError: a file is a copy of another one.
    """
    if parts is None and names.items is None:
        return tables[0]
    lists = [name for name in (names.items, names.times) if name is not None]
    rows = _stacked(tables, parts or (EventPart.TRAINING,), (*names.kept, *lists))
    if names.items is None:
        return rows
    columns = ListColumns(
        user=rows[names.user],
        item=rows[names.item],
        items=rows[names.items],
        time=rows[names.time] if names.time else None,
        times=rows[names.times] if names.times else None,
        rating=rows[names.rating] if names.rating else None,
    )
    return events_of_lists(rows, columns, names.kept, bad, are_sessions=names.are_sessions)


def _stacked(tables: Sequence[RawTable], parts: Sequence[EventPart], columns: Sequence[str]) -> RawTable:
    """Put the rows of files into one table, one file after another; a column that a file lacks is empty there.

    The table in the engine has also `part`; `file`, the number of the file, from 0; and `place`, for `place_of`.
    """
    engine, names = tables[0].engine, {column: f"c{at}" for at, column in enumerate(columns)}
    name, files = engine.name("stacked"), dict[Path, str]()
    types = ", ".join(f"{column} varchar" for column in names.values())
    engine.run(f"create temp table {name} ({types}, part tinyint, file tinyint, place bigint)")
    for file, (table, part) in enumerate(zip(tables, parts, strict=True)):
        values = ", ".join(table.columns.get(column, literal("")) for column in names)
        place = f"{file << _BITS} + {table.row}"
        engine.run(f"insert into {name} select {values}, {part}, {file}, {place} from {table.name} order by rowid")
        engine.run(f"drop table {table.name}")
        files |= table.files
    refuse_copies(files)
    return RawTable(engine, name, names, lambda place: _place(tables, place), files, "place", tables[0].note_had)


def _place(tables: Sequence[RawTable], place: int) -> Place:
    return tables[place >> _BITS].place_of(place & ((1 << _BITS) - 1))
