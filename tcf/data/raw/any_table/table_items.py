"""Item texts from rows that may name an item many times, with different texts.

The most frequent text of an item is taken; of equally frequent ones, the first. In a sales log, whose rows repeat the
text of their item, a rare text is a typing error or a note ("damaged", "?"), and may well come first. In a catalogue
with two rows for one id, the first one is taken.
"""

from dataclasses import replace

from tcf.data.events.html_references import text_columns
from tcf.data.events.items import Items, read_items
from tcf.data.tables.bad_rows import BadRows
from tcf.data.tables.table import RawTable
from tcf.data.text_template import Template

__all__ = ["items_of_catalogue", "items_of_events"]


def items_of_catalogue(table: RawTable, item_id: str, template: Template, bad: BadRows, unescape_html: bool) -> Items:
    """Return the items of an items file; further rows of an item are counted (`duplicate_item`).

    Raises:
        DataError: a row has no id or an item no text and `bad` does not skip, or no item is left.
    """
    table.reject(f"{table[item_id]} = ''", "empty_id", "an item id", bad, columns=(item_id,))
    rows, others = _one_row_each(table, item_id, template, bad, unescape_html)
    bad.count("duplicate_item", len(table) - len(rows) - others)
    return read_items(rows, "id", "text", bad)


def items_of_events(table: RawTable, item_id: str, template: Template, bad: BadRows, unescape_html: bool) -> Items:
    """Return the items that the rows of events describe.

    Raises:
        DataError: an item has no text and `bad` does not skip, or no item is left.
    """
    rows, _ = _one_row_each(table, item_id, template, bad, unescape_html)
    return read_items(rows, "id", "text", bad)


def _one_row_each(
    table: RawTable, item_id: str, template: Template, bad: BadRows, unescape_html: bool
) -> tuple[RawTable, int]:
    """Return a table of `id` and `text` with one row for each item, in order of first appearance.

    Returns:
        The table, and the number of rows whose text differs from the one taken, which are counted (`other_item_text`).
    """
    engine, name = table.engine, table.engine.name("items")
    table, columns = text_columns(table, template.columns, unescape_html)
    text = template.text(columns)
    engine.run(
        f"create temp table {name} as with described as ("
        f"select {table[item_id]} as id, {text} as text, {table.row} as row from {table.name} "
        f"where {table[item_id]} <> ''"
        "), counted as ("
        "select id, text, count(*) as number, min(row) as first from described where text <> '' group by all"
        "), chosen as ("
        "select * from counted qualify row_number() over (partition by id order by number desc, first) = 1"
        ") select id, coalesce(text, '') as text, coalesce(number, 0) as number, row, n_texts from ("
        "select id, min(row) as row, count(*) filter (text <> '') as n_texts from described group by id"
        ") left join chosen using (id) order by row"
    )
    others = engine.number(f"select sum(n_texts - number) from {name}")
    bad.count("other_item_text", others)
    return replace(table, name=name, columns={"id": "id", "text": "text"}, row="row"), others
