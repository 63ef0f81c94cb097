"""The items of a raw format: distinct ids, each with a text."""

from dataclasses import dataclass

import pyarrow as pa

from tcf.common.errors import DataError
from tcf.data.tables.bad_rows import BadRows, skipped_words
from tcf.data.tables.table import RawTable

__all__ = ["Items", "read_items", "require_rows"]


@dataclass(frozen=True)
class Items:
    """The usable items of a raw format.

    Attributes:
        source: the item file, or files, for messages.
        ids: raw item ids, (n_items,), distinct, in file order.
        texts: (n_items,), none empty.
        known: a table in the engine with the columns `id` and `number`, from 0; the number is null for items left out
            because they have no text, or by an option.
    """

    source: str
    ids: "pa.LargeStringArray"
    texts: "pa.LargeStringArray"
    known: str


def read_items(table: RawTable, item_id: str, text: str, bad: BadRows) -> Items:
    """Reject items without id or text (`empty_id`, `empty_text`) and repeated ids (`duplicate_item`).

    Args:
        table: the rows of an item file.
        item_id: an expression in SQL for the id of a row.
        text: an expression in SQL for its text.
        bad: raises an error for unusable rows, or counts them.

    Raises:
        DataError: a row is unusable and `bad` does not skip, or no row is left.
    """
    engine, shown = table.engine, f"{item_id} || chr(9) || {text}"
    known = engine.name("items")
    table.reject(f"{item_id} = ''", "empty_id", "an item id", bad, shown)
    engine.run(
        f"create temp table {known} as select distinct {item_id} as id, null::int as number from {table.name} "
        f"where {text} = ''"
    )
    table.reject(f"{text} = ''", "empty_text", "an item with a text", bad, shown)
    again = f"rowid not in (select min(rowid) from {table.name} group by {item_id})"
    table.reject(again, "duplicate_item", "an item id that no earlier row has", bad, shown)
    if len(table) == 0:
        raise DataError(
            f"{table.source}: expected items, found none that can be used (skipped: {skipped_words(bad.skipped)}); "
            "check the file"
        )
    engine.run(f"delete from {known} where id in (select {item_id} from {table.name})")
    engine.run(f"insert into {known} select {item_id}, row_number() over (order by rowid) - 1 from {table.name}")
    ids, texts = table.strings(item_id, text)
    return Items(table.source, ids, texts, known)


def require_rows(table: RawTable, bad: BadRows) -> None:
    """Refuse a file of which no row can be used.

    Raises:
        DataError: all rows have been left out.
    """
    if len(table) == 0:
        raise DataError(
            f"{table.source}: expected rows that can be used, found none (skipped: {skipped_words(bad.skipped)}); "
            "check the file"
        )
