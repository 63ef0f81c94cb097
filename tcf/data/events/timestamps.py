"""Times of raw files, numbers or ISO 8601 dates, as sortable whole numbers.

The first value of a file that is a number or a date decides which of the two its times are, and the unit of numbers:
below 10^11 seconds since 1970 with up to six decimal places, below 10^14 milliseconds, below 10^17 microseconds, else
nanoseconds. A date may have a time of day and an offset from UTC; without an offset it is in UTC.
"""

from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tcf.data.tables.bad_rows import BadRows
from tcf.data.tables.table import RawTable

__all__ = ["Times", "read_numbers", "read_times"]

_MILLION = 10**6
_WHOLE = "[+-]?[0-9]+"
_NUMBER = r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?"
_DATE = r"[0-9]{4}-[0-9]{2}-[0-9]{2}([ T](?s:.*))?"
_LARGEST = 2**62
# Within the least and the largest float64 that fit in int64.
_DOWN = "greatest(least(floor(time), 9223372036854774784::double), -9223372036854775808::double)::bigint"
_EXPECTED = "a time, as a number or a date such as 2019-11-12 14:14:46"


@dataclass(frozen=True)
class Times:
    """The times of a table, all of them readable.

    Attributes:
        value: an expression in SQL for the time of a row, by which rows are sorted.
        join: what the rows of the table, named `events`, are joined with for this; may be empty.
        per_second: units of these numbers in a second.
        whole: an expression in SQL for such a value, named `time`, as a whole number.
    """

    value: str
    join: str
    per_second: int
    whole: str = "time"

    def seconds(self, times: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Convert times to whole seconds since 1970, (n,); the order is kept."""
        return times if self.per_second == 1 else times // self.per_second


def read_times(table: RawTable, column: str, bad: BadRows) -> Times:
    """Find out what the times of a column are; rows without a readable time are rejected as `bad_timestamp`.

    Raises:
        DataError: there are such rows, and `bad` does not skip.
    """
    written = table[column]
    first = table.engine.rows(
        f"select {written}, regexp_full_match({written}, '{_NUMBER}') from {table.name} "
        f"where regexp_full_match({written}, '({_NUMBER})|({_DATE})') order by rowid limit 1"
    )
    if not first:
        table.reject("true", "bad_timestamp", _EXPECTED, bad, columns=(column,))
        return Times("0", "", 1)
    return _numbers(table, column, float(first[0][0]), bad) if first[0][1] else _dates(table, column, bad)


def read_numbers(table: RawTable, column: str, bad: BadRows) -> Times:
    """Take times as they are, any numbers of any unit; rows without a finite one are rejected as `bad_timestamp`.

    If all are whole numbers, they are exact beyond 2^53, as for nanoseconds; else all are float64, rounded down in the
    end.

    Raises:
        DataError: there are such rows, and `bad` does not skip.
    """
    written = table[column]
    number = f"case when regexp_full_match({written}, '{_NUMBER}') then try_cast({written} as double) end"
    wrong = f"not coalesce(isfinite({number}), false)"
    table.reject(wrong, "bad_timestamp", f"a number in column {column}", bad, written)
    whole = f"regexp_full_match({written}, '{_WHOLE}') and try_cast({written} as bigint) is not null"
    if table.engine.number(f"select count(*) from {table.name} where not ({whole})"):
        return Times(f"{written}::double", "", 1, _DOWN)
    return Times(f"{written}::bigint", "", 1)


def _numbers(table: RawTable, column: str, first: float, bad: BadRows) -> Times:
    """Seconds are stored as microseconds, other units unchanged."""
    written = table[column]
    thousands = sum(abs(first) >= bound for bound in (1e11, 1e14, 1e17))
    scale, per_second = (_MILLION, _MILLION) if thousands == 0 else (1, 1000**thousands)
    least, most = 1 - _LARGEST // scale, _LARGEST // scale - 1
    plain, whole = f"try_cast({written} as bigint)", f"try_cast(ltrim({written}, '+') as bigint)"
    decimal = f"try_cast({written} as double) * {scale}"
    # Nearly all numbers are written plainly; patterns are slow. Whole numbers are exact beyond 2^53, others are not.
    value = (
        f"case when {plain}::varchar = {written} and {plain} between {least} and {most} then {plain} * {scale} "
        f"when regexp_full_match({written}, '[+-]?[0-9]+') then "
        f"case when {whole} between {least} and {most} then {whole} * {scale} end "
        f"when regexp_full_match({written}, '{_NUMBER}') then "
        f"case when abs({decimal}) < {_LARGEST} then round_even({decimal}, 0)::bigint end end"
    )
    wrong = f"({value}) is null"
    table.reject(wrong, "bad_timestamp", f"a number in column {column}", bad, columns=(column,))
    return Times(value, "", per_second)


def _dates(table: RawTable, column: str, bad: BadRows) -> Times:
    written = table[column]
    (distinct,) = table.engine.strings(f"select distinct {written} from {table.name}")
    moments = _microseconds_of(distinct)
    times = table.engine.add("times", pa.table({"written": distinct, "moment": moments}))
    wrong = f"{written} in (select written from {times} where moment is null)"
    expected = "a date such as 2019-11-12 or 2019-11-12 14:14:46"
    table.reject(wrong, "bad_timestamp", expected, bad, columns=(column,))
    return Times(f"{times}.moment", f"join {times} on {times}.written = events.{written}", _MILLION)


def _microseconds_of(written: "pa.LargeStringArray") -> "pa.Int64Array":
    """Return dates as microseconds since 1970, (n,); null where the text is not a date."""
    for kind in (pa.timestamp("us"), pa.timestamp("us", "UTC")):
        try:
            return pc.cast(written, kind).cast(pa.int64())
        except pa.ArrowInvalid:
            continue
    return pa.array([_microseconds(text) for text in written.to_pylist()], pa.int64())


def _microseconds(text: str) -> int | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    since = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * _MILLION + since.microseconds
