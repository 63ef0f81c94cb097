"""Events with ratings or labels."""

from typing import Literal

from tcf.common.errors import ConfigError
from tcf.data.events.written_numbers import is_number, number_of
from tcf.data.tables.bad_rows import BadRows
from tcf.data.tables.table import RawTable

__all__ = ["Rated", "leave_out_lower", "rated_at_least", "require_numbers", "undecided"]

Rated = Literal["rating", "label"]

_VALUES = 10  # shown in a message


def rated_at_least(table: RawTable, column: str, least: float | None, bad: BadRows) -> None:
    """Leave out rows with a lower rating, which are counted as `below_min_rating`.

    Args:
        table: the rows.
        column: the ratings; not looked at if all rows are kept.
        least: the lowest rating to keep; None keeps all rows.
        bad: counts the others; raises an error for rows whose rating is not a number (`bad_rating`), or counts them.

    Raises:
        ConfigError: all ratings are lower.
        DataError: a rating is not a number and `bad` does not skip.
    """
    if least is not None:
        require_numbers(table, column, bad)
        leave_out_lower(table, column, least, bad)


def require_numbers(table: RawTable, column: str, bad: BadRows, *, kind: Rated = "rating") -> None:
    """Leave out rows whose rating or label is not a number, as `bad_rating` or `bad_label`."""
    wrong = f"not {is_number(table[column])}"
    table.reject(wrong, f"bad_{kind}", f"a number in column {column}", bad, columns=(column,), is_had=kind == "rating")


def leave_out_lower(
    table: RawTable, column: str, least: float | None, bad: BadRows, *, kind: Rated = "rating", is_had: bool = True
) -> None:
    """Leave out rows with a lower rating or label, as `below_min_rating` or `below_min_label`.

    Rows without one are kept: items of a list of earlier items have no ratings.

    Args:
        table: the rows.
        column: the ratings or labels.
        least: the lowest one to keep; None keeps all rows.
        bad: counts the others.
        kind: which of these.
        is_had: whether users have had the items of the others.

    Raises:
        ConfigError: all ratings are lower. Of labels, one file of a split may have none that are high enough.
    """
    if least is None:
        return
    if kind == "rating":
        _refuse_more_than_all(table, column, least)
    table.leave_out(f"{number_of(table[column])} < {least!r}", f"below_min_{kind}", bad, is_had=is_had)


def _refuse_more_than_all(table: RawTable, column: str, least: float) -> None:
    ratings = f"(select {number_of(table[column])} as x from {table.name})"
    [(lowest, highest)] = table.engine.rows(f"select min(x), max(x) from {ratings}")
    if highest is not None and highest < least:
        raise ConfigError(
            f"--min-rating: expected a rating that some event has, found {least:g}, while {table.source} has ratings "
            f"from {lowest:g} to {highest:g}; give a lower one"
        )


def undecided(table: RawTable, column: str, kind: Rated) -> ConfigError:
    """Return the error about events that may be none: the user must say from which rating or label on they are.

    Args:
        table: the rows.
        column: the ratings or labels.
        kind: which of these.
    """
    option, value = f"--min-{kind}", table[column]
    counts = f"select {value} as value, count(*) as n, {number_of(value)} as x from {table.name} group by all"
    rows = table.engine.rows(f"{counts} order by x nulls last, value limit {_VALUES + 1}")
    shown = ", ".join(f"{text[:20] or 'empty'} ({n:,} row{'s' * (n > 1)})" for text, n, _ in rows[:_VALUES])
    shown += ", ..." if len(rows) > _VALUES else ""
    numbers = table.engine.rows(
        "select min(x), min(x) filter (x > 0), quantile_disc(x, 0.5) "
        f"from (select {number_of(value)} as x from {table.name})"
    )[0]
    lowest, above_zero, middle = (None if x is None else f"{x:g}" for x in numbers)
    if kind == "label" and (above_zero is not None or lowest is None):
        todo = f"give {option} {above_zero or 1} to keep the positive ones"
    elif kind == "label":
        todo = f"none is positive: give {option} {lowest} to keep all of them"
    else:
        higher = "" if middle == lowest else f" such as {option} {middle}"
        todo = f"give {option} {lowest or 0} to keep all of them, or a higher one{higher}"
    return ConfigError(
        f"{option}: expected the lowest {kind} of an event, since {table.path} has a column {column} with the values "
        f"{shown}, found no such option; {todo}"
    )
