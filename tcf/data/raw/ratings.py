"""Events with ratings."""

from tcf.data.events.written_numbers import is_number, number_of
from tcf.data.tables.bad_rows import BadRows
from tcf.data.tables.table import RawTable

__all__ = ["rated_at_least"]


def rated_at_least(table: RawTable, column: str, least: float | None, bad: BadRows) -> None:
    """Leave out rows with a lower rating, which are counted as `below_min_rating`.

    Args:
        table: the rows.
        column: the ratings; not looked at if all rows are kept.
        least: the lowest rating to keep; None keeps all rows.
        bad: counts the others; raises an error for rows whose rating is not a number (`bad_rating`), or counts them.

    Raises:
        DataError: a rating is not a number and `bad` does not skip.
    """
    if least is None:
        return
    rating = table[column]
    wrong = f"not {is_number(rating)}"
    table.reject(wrong, "bad_rating", f"a number in column {column}", bad, columns=(column,))
    table.leave_out(f"{number_of(rating)} < {least!r}", "below_min_rating", bad)
