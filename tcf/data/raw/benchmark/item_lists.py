"""Events from rows that have a list of earlier items beside the item itself (see `connect_lists`)."""

from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, starmap
from operator import itemgetter

import pyarrow as pa

from tcf.data.events.had_items import note_had
from tcf.data.events.written_numbers import are_numbers
from tcf.data.raw.benchmark.connect_lists import LIST_NOT_IN_HISTORY, ListRow, connect_lists
from tcf.data.raw.benchmark.regular_lists import regular_lists
from tcf.data.raw.benchmark.session_names import name_sessions, part_name
from tcf.data.tables.bad_rows import BadRows
from tcf.data.tables.engine import Engine
from tcf.data.tables.table import RawTable

__all__ = ["ListColumns", "events_of_lists", "require_list_times"]

# One space between ids; `n` items in a list; `owner` is the first row of the user or session.
_LISTED = """
    create temp table {listed} as
    select row, id, min(row) over (partition by id) as owner, part, file, place, target, items,
        case when items = '' then 0 else length(items) - length(replace(items, ' ', '')) + 1 end as n,
        time, times, rating, coalesce(try_cast(time as double), 0) as moment
    from (
        select rowid as row, {user} as id, {target} as target, {items} as items, {time} as time, {times} as times,
            {rating} as rating, part, file, place
        from {table}
    )
    order by row
"""
# What the rows add: `ids`, the last items of their lists, and the target.
_ADDED = """
    create temp table {added} as
    select * exclude (items, times, n), list_slice(string_split(items, ' '), n - n_items + 1, n) as ids,
        case when times <> '' then list_slice(string_split(times, ' '), n - n_items + 1, n) end as moments
    from (
        select taken.owner, k, n, n_items, id || if(session_from = 0, '', {session}) as id, part, file, place, target,
            time, rating, if(n_items > 0, items, '') as items, if(n_items > 0, times, '') as times
        from {taken} taken join {listed} using (row)
    )
"""
_EVENTS = """
    create temp table {events} as
    select {columns}, part, file, place
    from (
        select owner, k, pos, id, item, coalesce(moment, time) as time, '' as rating,
            if(part = 1, 1, 0) as part, file, place
        from (
            select owner, k, generate_subscripts(ids, 1) as pos, id, unnest(ids) as item, unnest(moments) as moment,
                time, part, file, place
            from {added} where n_items > 0
        )
        union all
        select owner, k, 2147483647 as pos, id, target, time, rating, part, file, place from {added}
    )
    order by owner, k, pos
"""


@dataclass(frozen=True)
class ListColumns:
    """The columns of rows with lists, by their names in the engine (see `EventColumns`)."""

    user: str
    item: str
    items: str
    time: str | None
    times: str | None
    rating: str | None


def events_of_lists(
    rows: RawTable, columns: ListColumns, kept: Sequence[str], bad: BadRows, *, are_sessions: bool
) -> RawTable:
    """Return the events of rows with lists, each event once, in the order of each user's history.

    The items of a list have the times of the list, or that of the first row whose list shows them. Their part is that
    of the row, or context if the row is for validation or test.

    Args:
        rows: the rows, not to be used afterwards; the table in the engine has the columns `part`, `file` and `place`
            too, and so have the events.
        columns: their columns.
        kept: names for the columns of events: user, item, and, if the rows have them, time and rating.
        bad: counts rows whose lists contradict others.
        are_sessions: whether users are known by the ids of sessions.
    """
    engine = rows.engine
    listed, added, events = (engine.name(stem) for stem in ("listed", "added", "events"))
    given = {
        "items": _single_spaces(columns.items),
        "time": columns.time or "''",
        "times": _single_spaces(columns.times) if columns.times else "''",
        "rating": columns.rating or "''",
    }
    engine.run(_LISTED.format(listed=listed, table=rows.name, user=columns.user, target=columns.item, **given))
    engine.run(f"drop table {rows.name}")
    if are_sessions:
        listed = name_sessions(engine, listed)
    taken = _connected(engine, listed, bad, are_sessions=are_sessions)
    engine.run(_ADDED.format(added=added, taken=taken, listed=listed, session=part_name("session_from")))
    there = ["id", "item", *(["time"] if columns.time else []), *(["rating"] if columns.rating else [])]
    names = {column: f"c{at}" for at, column in enumerate(kept)}
    written = ", ".join(f"{value} as {name}" for value, name in zip(there, names.values(), strict=True))
    engine.run(_EVENTS.format(events=events, added=added, columns=written))
    engine.run(f"drop table {listed}; drop table {taken}; drop table {added}")
    return replace(rows, name=events, columns=names)


def require_list_times(rows: RawTable, items: str, times: str, bad: BadRows) -> None:
    """Reject rows that do not have a time for each item of their list, as `bad_timestamp`.

    Args:
        rows: the rows.
        items: the column of lists.
        times: the column of their times, numbers with spaces between them.
        bad: raises an error for rejected rows, or counts them.

    Raises:
        DataError: there are such rows, and `bad` does not skip.
    """
    listed, written = _single_spaces(rows[items]), _single_spaces(rows[times])
    spaces = [f"length({value}) - length(replace({value}, ' ', ''))" for value in (listed, written)]
    right = f"if({listed} = '', {written} = '', {are_numbers(written)} and {spaces[0]} = {spaces[1]})"
    expected = f"in column {times} as many numbers as {items} has items"
    rows.reject(f"not {right}", "bad_timestamp", expected, bad, columns=(times, items), is_had=True)


def _single_spaces(value: str) -> str:
    return f"if(contains({value}, '  '), regexp_replace({value}, ' +', ' ', 'g'), {value})"


def _connected(engine: Engine, listed: str, bad: BadRows, *, are_sessions: bool) -> str:
    """Return a table of what every row adds to the history of its owner, with the columns of `regular_lists`.

    A list that is left out is noted: the user has had its items.
    """
    taken = regular_lists(engine, listed)
    others = f"from {listed} where owner not in (select owner from {taken})"
    columns: dict[str, array[int]] = {name: array("q") for name in ("row", "owner", "k", "n_items", "session_from")}
    left_out: dict[str, array[int]] = {name: array("q") for name in ("row", "session_from")}
    ordered = f"select owner, row, part, moment, items, target {others} order by owner, part, moment, row"
    for owner, rows in groupby(_owned_rows(engine, ordered), itemgetter(0)):
        for k, row in enumerate(connect_lists([row for _, row in rows], are_sessions=are_sessions)):
            if row.reason:
                bad.count(row.reason, 1)
            if row.reason == LIST_NOT_IN_HISTORY:
                left_out["row"].append(row.row)
                left_out["session_from"].append(row.session_from)
            if row.has_target:
                for column, value in zip(
                    columns.values(), (row.row, owner, k, row.n_items, row.session_from), strict=True
                ):
                    column.append(value)
    if columns["row"]:
        engine.read_from(_int64(columns), lambda given: engine.run(f"insert into {taken} select * from {given}"))
    if left_out["row"]:
        user = f"id || if(session_from = 0, '', {part_name('session_from')})"
        listed_items = f"select {user}, unnest(string_split(items, ' ')) from {listed}"
        engine.read_from(_int64(left_out), lambda given: note_had(engine, f"{listed_items} join {given} using (row)"))
    return taken


def _int64(columns: "Mapping[str, array[int]]") -> pa.Table:
    return pa.table({name: pa.array(values, pa.int64()) for name, values in columns.items()})


def _owned_rows(engine: Engine, query: str) -> Iterator[tuple[int, ListRow]]:
    for batch in engine.batches(query):
        owners, *columns = (column.to_pylist() for column in batch.columns)
        yield from zip(owners, starmap(ListRow, zip(*columns, strict=True)), strict=True)
