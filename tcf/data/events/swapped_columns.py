"""Swapped columns of users and items: the item file knows ids of users, and not those of items."""

from tcf.data.events.items import Items
from tcf.data.tables.table import RawTable

__all__ = ["swapped_words"]

_NOTICEABLE = 0.1  # share of the ids of items that is unknown
_ID_SHOWN = 40


def swapped_words(table: RawTable, user: str, item: str, users: str, found: str, items: Items, advice: str) -> str:
    """Return what a message says about swapped columns; empty if there is no sign of it.

    The ids of each side are counted once, however many events they have. There is a sign if a tenth or more of the ids
    of items is unknown, and the ids of users match the item file better.

    Args:
        table: the events.
        user: their column of user ids.
        item: their column of item ids.
        users: a table in the engine with the ids of users in the column `id`.
        found: a table with the ids of items; `number` is null for unknown ones, and for those in the item file that
            cannot be used, for which `is_skipped` is true.
        items: the items.
        advice: what to do, for the end.
    """
    engine = table.engine
    n_items, unknown, example = engine.rows(
        f"select count(*), count(*) filter (number is null and not is_skipped), "
        f"min(id) filter (number is null and not is_skipped) from {found}"
    )[0]
    if unknown < _NOTICEABLE * n_items:
        return ""
    n_users, known, user_example = engine.rows(
        f"select count(*), count(known.id), min(known.id) from {users} users left join {items.known} known using (id)"
    )[0]
    if known * n_items <= (n_items - unknown) * n_users:
        return ""
    return (
        f"of {n_items:,} ids in column {item} {n_items - unknown:,} are in {items.source}, but of {n_users:,} in "
        f"column {user} {known:,} are: {item} has {example[:_ID_SHOWN]!r}, which is not in it, and {user} has "
        f"{user_example[:_ID_SHOWN]!r}, which is; if the columns are swapped, {advice}"
    )
