"""Rows of format `table` that `--drop` leaves out, by the values of a column."""

from collections.abc import Sequence
from dataclasses import dataclass

from tcf.common.errors import ConfigError, did_you_mean
from tcf.data.events.items import Items
from tcf.data.raw.any_table.table_options import Drop
from tcf.data.tables.bad_rows import BadRows
from tcf.data.tables.engine import Engine, literal
from tcf.data.tables.table import RawTable

__all__ = ["DroppedRows", "listed_values"]

_VALUES_SHOWN = 8
_VALUE_SHOWN = 40


@dataclass(frozen=True)
class _Value:
    """A value of a column, with the number of rows that have it."""

    text: str
    n_rows: int

    def __str__(self) -> str:
        text = self.text if len(self.text) <= _VALUE_SHOWN else self.text[:_VALUE_SHOWN] + "..."
        return f"{text!r} ({self.n_rows:,} row{'' if self.n_rows == 1 else 's'})"


class DroppedRows:
    """Leaves out rows of tables, and counts those that match each option, also where several do.

    Args:
        drops: the options; each concerns the tables that have its column.
    """

    def __init__(self, drops: Sequence[Drop]) -> None:
        self._drops = drops
        self._matched = dict.fromkeys(drops, 0)
        self._found: dict[Drop, list[str]] = {drop: [] for drop in drops}
        self._ids: str | None = None

    def leave_out(self, table: RawTable, bad: BadRows, item_id: str | None = None) -> None:
        """Leave out the rows of a table that options match; each is counted by every option that matches it.

        Args:
            table: the rows.
            bad: counts those that are left out.
            item_id: the column of item ids, if the table describes the items; `skip_events` takes those of the rows.
        """
        matches = {drop: _matches(table, drop) for drop in self._drops if drop.column in table.columns}
        if not matches:
            return
        counts = ", ".join(f"count(*) filter (where {match})" for match in matches.values())
        [numbers] = table.engine.rows(f"select {counts} from {table.name}")
        for drop, number in zip(matches, numbers, strict=True):
            self._matched[drop] += number
            bad.count(drop.reason, number)
            if number == 0:
                self._found[drop].append(_values_words(table, drop))
        if any(numbers):
            unwanted = " or ".join(matches.values())
            if item_id is not None:
                self._ids = table.engine.name("dropped")
                table.engine.run(
                    f"create temp table {self._ids} as select distinct {table[item_id]} as id from {table.name} "
                    f"where {unwanted}"
                )
            table.engine.run(f"delete from {table.name} where {unwanted}")

    def skip_events(self, engine: Engine, items: Items) -> None:
        """Let events of the items that have been left out count as those of skipped items, not of unknown ones."""
        if self._ids is not None:
            engine.run(
                f"insert into {items.known} select id, null from {self._ids} "
                f"where id not in (select id from {items.known})"
            )

    def check(self) -> None:
        """Refuse an option that no row of any table matches.

        Raises:
            ConfigError: there is one.
        """
        for drop, number in self._matched.items():
            if number == 0:
                raise ConfigError(
                    f"--drop: expected rows with {drop.written}, found none: {'; '.join(self._found[drop])}"
                )


def _matches(table: RawTable, drop: Drop) -> str:
    return f"regexp_matches({table[drop.column]}, {literal(drop.pattern)})"


def _values_words(table: RawTable, drop: Drop) -> str:
    """Return the most frequent values of a column, for a message, and which one may be meant."""
    pattern = literal(drop.pattern)
    alike = _values(table, drop.column, f"where regexp_matches({table[drop.column]}, {pattern}, 'i')", 1)
    if alike:
        hint = f"; did you mean {alike[0]}?"
    else:
        frequent = _values(table, drop.column, "", _VALUES_SHOWN + 1)
        hint = did_you_mean(drop.written.partition("=")[2], [value.text for value in frequent])
    return f"{listed_values(table, drop.column)}{hint or '; name one of these values'}"


def listed_values(table: RawTable, column: str) -> str:
    """Return words for the most frequent values of a column, for a message."""
    values = _values(table, column, "", _VALUES_SHOWN + 1)
    listed = ", ".join(map(str, values[:_VALUES_SHOWN])) + (", ..." if len(values) > _VALUES_SHOWN else "")
    return f"{table.source} has {listed or 'no rows'} in column {column}"


def _values(table: RawTable, column: str, where: str, most: int) -> list[_Value]:
    """Return the most frequent values of a column."""
    rows = table.engine.rows(
        f"select {table[column]} as value, count(*) as number from {table.name} {where} "
        f"group by value order by number desc, value limit {most}"
    )
    return [_Value(*row) for row in rows]
