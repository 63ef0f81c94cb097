"""Items that users have had although they are in no event of their histories, noted while events are read.

Such an event is left out, because its rating is too low or its time cannot be read; but its item must not be
recommended to the user as something new. Rows that say nothing of the kind are not noted: refunds (`--drop`), items
that were shown and not used, and repeats of events that stay.
"""

from dataclasses import replace

from tcf.data.tables.engine import Engine
from tcf.data.tables.table import RawTable

__all__ = ["had_pairs", "note_had", "noting_had"]

_NOTED, _PAIRS = "had", "had_pairs"


def noting_had(table: RawTable, user: str, item: str) -> RawTable:
    """Return rows of events that note what users have had when such rows are left out.

    Args:
        table: the rows.
        user: the column of user ids.
        item: the column of item ids.
    """

    def note(rows: RawTable, left_out: str) -> None:
        note_had(rows.engine, f"select {rows[user]}, {rows[item]} from {rows.name} where {left_out}")

    return replace(table, note_had=note)


def note_had(engine: Engine, query: str) -> None:
    """Note pairs of ids that a query returns: users and items, in this order."""
    engine.run(f"create temp table if not exists {_NOTED} (user_id varchar, item_id varchar)")
    engine.run(f"insert into {_NOTED} {query}")


def had_pairs(engine: Engine, users: str, items: str) -> str | None:
    """Return a table of what has been noted, and forget it; None if that is nothing.

    Its columns are `owner`, the number of the user, and `item`, that of the item; pairs of others are left out.

    Args:
        engine: has the notes.
        users: a table of users, with the columns `id` and `number`.
        items: likewise of items; a number may be null.
    """
    if not engine.rows(f"select 1 from duckdb_tables() where table_name = '{_NOTED}'"):
        return None
    name = engine.name(_PAIRS)
    engine.run(
        f"create temp table {name} as select {users}.number as owner, {items}.number as item "
        f"from {_NOTED} join {users} on {users}.id = user_id join {items} on {items}.id = item_id "
        f"where {items}.number is not null"
    )
    engine.run(f"drop table {_NOTED}")
    return name
