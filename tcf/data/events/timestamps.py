"""Times of raw files, numbers or ISO 8601 dates, as sortable whole numbers.

The first value of a file that is a number or a date decides which of the two its times are, and the unit of numbers:
below 10^11 seconds since 1970 with up to six decimal places, below 10^14 milliseconds, below 10^17 microseconds, else
nanoseconds. A date may have a time of day, with a fraction of which six places count, and an offset from UTC; without
an offset it is in UTC. Dates of other forms need a format, as in `datetime.strptime`.
"""

import logging
import re
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tcf.common.errors import DataError
from tcf.data.events.date_patterns import ISO, moments, pattern_of
from tcf.data.events.likely_formats import likely_formats
from tcf.data.events.written_numbers import NUMBER, is_number
from tcf.data.tables.bad_rows import BadRows
from tcf.data.tables.engine import Engine
from tcf.data.tables.table import RawTable

__all__ = ["Times", "read_numbers", "read_times"]

logger = logging.getLogger(__name__)

_MILLION = 10**6
_WHOLE = "[+-]?[0-9]+"
_DATE = r"[0-9]{4}-[0-9]{2}-[0-9]{2}(?s:[ T].*)?"
_LARGEST = 2**62
# Within the least and the largest float64 that fit in int64.
_DOWN = "greatest(least(floor(time), 9223372036854774784::double), -9223372036854775808::double)::bigint"
_ISO_DATE = "a date such as 2019-11-12 or 2019-11-12 14:14:46"
_EXPECTED = "a time, as a number or a date such as 2019-11-12 14:14:46"
_LOOKED_AT, _COMPARED = 100_000, 1000  # rows and distinct times of unknown form


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


def read_times(
    table: RawTable, column: str, bad: BadRows, *, time_format: str | None = None, has_option: bool = False
) -> Times:
    """Find out what the times of a column are; rows without a readable time are rejected as `bad_timestamp`.

    Args:
        table: the rows.
        column: their times.
        bad: raises an error for rejected rows, or counts them.
        time_format: the form of all times, as in `datetime.strptime`; None recognises numbers and dates in ISO 8601.
        has_option: whether the format of the files has the option `--time-format`, which messages then suggest.

    Raises:
        ConfigError: `time_format` is no format of dates.
        DataError: there are such rows, and `bad` does not skip; or no time is readable, but a format would fit.
    """
    written = table[column]
    if time_format is not None:
        return _dates(table, column, time_format, bad)
    first = table.engine.rows(
        f"select {written}, regexp_full_match({written}, '{NUMBER}') from {table.name} "
        f"where regexp_full_match({written}, '({NUMBER})|({_DATE})') order by rowid limit 1"
    )
    if not first:
        if has_option:
            _refuse_known_form(table, column)
        table.reject("true", "bad_timestamp", _EXPECTED, bad, columns=(column,), is_had=True)
        return Times("0", "", 1)
    found, numeric = first[0]
    if not numeric:
        return _dates(table, column, None, bad, has_option)
    if has_option:
        _warn_of_dates_without_signs(table, column, found)
    return _numbers(table, column, float(found), bad, has_option)


def read_numbers(table: RawTable, column: str, bad: BadRows) -> Times:
    """Take times as they are, any numbers of any unit; rows without a finite one are rejected as `bad_timestamp`.

    If all are whole numbers, they are exact beyond 2^53, as for nanoseconds; else all are float64, rounded down in the
    end.

    Raises:
        DataError: there are such rows, and `bad` does not skip.
    """
    written = table[column]
    table.reject(
        f"not {is_number(written)}", "bad_timestamp", f"a number in column {column}", bad, written, is_had=True
    )
    whole = f"regexp_full_match({written}, '{_WHOLE}') and try_cast({written} as bigint) is not null"
    if table.engine.number(f"select count(*) from {table.name} where not ({whole})"):
        return Times(f"{written}::double", "", 1, _DOWN)
    return Times(f"{written}::bigint", "", 1)


def _numbers(table: RawTable, column: str, first: float, bad: BadRows, has_option: bool) -> Times:
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
        f"when regexp_full_match({written}, '{NUMBER}') then "
        f"case when abs({decimal}) < {_LARGEST} then round_even({decimal}, 0)::bigint end end"
    )
    _reject(table, column, f"({value}) is null", f"a number in column {column}", bad, has_option)
    return Times(value, "", per_second)


def _dates(table: RawTable, column: str, time_format: str | None, bad: BadRows, has_option: bool = False) -> Times:
    """Convert the distinct dates of a column, by a format or else in ISO 8601."""
    engine, written = table.engine, table[column]
    distinct = f"(select distinct {written} as written from {table.name})"
    times = engine.name("times")
    if time_format is not None:
        engine.run(f"create temp table {times} as {moments(distinct, pattern_of(time_format))}")
        expected = f"a time of the form {time_format!r} (--time-format)"
    else:
        _iso_dates(engine, times, distinct)
        expected = _ISO_DATE
    wrong = f"{written} in (select written from {times} where moment is null)"
    _reject(table, column, wrong, expected, bad, has_option)
    return Times(f"{times}.moment", f"join {times} on {times}.written = events.{written}", _MILLION)


def _iso_dates(engine: Engine, times: str, distinct: str) -> None:
    """Make a table of dates in ISO 8601; nearly all are written in one way, and patterns are slow."""
    # The engine writes fractions without zeros at the end; Parquet's are written with six digits.
    short = "case when length(body) = 26 then rtrim(rtrim(body, '0'), '.') else body end"
    engine.run(
        f"create temp table {times} as select written, case when plain::varchar = {short} and body[5] = '-' then "
        "epoch_us(plain) end as moment from (select written, body, try_cast(body as timestamp) as plain from ("
        "select written, replace(case when ends_with(written, ' UTC') then written[:-5] "
        f"when ends_with(written, 'Z') then written[:-2] else written end, 'T', ' ') as body from {distinct}))"
    )
    others = engine.name("times")
    engine.run(f"create temp table {others} as select written from {times} where moment is null")
    engine.run(f"delete from {times} where moment is null")
    engine.run(f"insert into {times} {moments(others, ISO)}")


def _reject(table: RawTable, column: str, wrong: str, expected: str, bad: BadRows, has_option: bool) -> None:
    """Reject times; the message names the formats that they have."""
    formats = _formats(table, column, wrong) if has_option and bad.is_error else ""
    suggested = f", or a --time-format that all times have ({formats} fits these)" if formats else ""
    table.reject(wrong, "bad_timestamp", f"{expected}{suggested}", bad, columns=(column,), is_had=True)


def _refuse_known_form(table: RawTable, column: str) -> None:
    """Refuse a file none of whose times is recognised, if there is a format that would fit them."""
    formats = _formats(table, column, "true")
    if not formats:
        return
    row, first = table.engine.rows(
        f"select {table.row}, {table[column]} from {table.name} where {table[column]} <> '' order by rowid limit 1"
    )[0]
    raise DataError(
        f"{table.place_of(row)}: expected {_EXPECTED} in column {column}, found "
        f"{first[:80]!r}; say what form the times have with --time-format {formats}"
    )


def _formats(table: RawTable, column: str, condition: str) -> str:
    """Return the formats that the times of some rows have, for a message; empty if none is known."""
    engine, written = table.engine, table[column]
    rows = f"select {written} as written from {table.name} where {written} <> '' and {condition}"
    dates = f"(select distinct written from ({rows} order by rowid limit {_LOOKED_AT}) limit {_COMPARED})"
    return " or ".join(map(repr, likely_formats(engine, dates)))


def _warn_of_dates_without_signs(table: RawTable, column: str, first: str) -> None:
    """Warn where whole numbers may be dates such as 20191112, which are taken for seconds since 1970."""
    if not re.fullmatch("(19|20)[0-9]{6}", first):
        return
    written = table[column]
    others = f"select {written} as written from {table.name} where {written} <> ''"
    if table.engine.number(
        f"select count(*) from ({moments(f'({others})', pattern_of('%Y%m%d'))}) where moment is null"
    ):
        return
    logger.warning(
        f"{table.source}: times such as {first} in column {column} are read as seconds since 1970; if they are dates, "
        "say so with --time-format %Y%m%d"
    )
