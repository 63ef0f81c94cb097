"""The two times of a split by time, from what the user writes: a date, a number or a fraction.

The times of a log are whole numbers since 1970 in an unstated unit. It is inferred from their median, which lies
between the years 1973 and 5138 in only one unit: 1e8 to 1e11 are seconds, 1000 times as much milliseconds, and so on to
nanoseconds. Smaller times, such as numbers of days or steps, are not dates; they can be split at a number or a
fraction.
"""

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from tcf.common.errors import ConfigError

__all__ = ["Periods", "find_periods"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DAY = 86_400  # seconds
_FIRST_DATE = 1e8  # seconds since 1970; smaller numbers are not taken for dates
_TICKS = {1: "seconds", 10**3: "milliseconds", 10**6: "microseconds", 10**9: "nanoseconds"}  # per second
_FORMS = (
    "a date such as 2020-09-16 (UTC), a fraction between 0 and 1, or a whole number (of seconds since 1970; "
    "with format recbole, in the unit of the file)"
)
_TEST, _VALIDATION = "--test-from", "--validation-from"

Point = datetime | date | Fraction | int
Times = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Periods:
    """The periods of a split by time; times are in the unit of the log.

    Attributes:
        validation_from: first time of the validation period; earlier events are for training.
        test_from: first time of the test period, and end of the validation period.
        first: first time in the log.
        last: last time in the log.
        ticks: units of time per second; None if times are not dates.
    """

    validation_from: int
    test_from: int
    first: int
    last: int
    ticks: int | None

    def shown(self, time: int) -> str:
        """Return a time for display: the date, with the time of day unless that is midnight (UTC); or the number."""
        return _shown(time, self.ticks)


def find_periods(times: Times, test_from: str, validation_from: str | None) -> Periods:
    """Determine the periods of a split.

    A fraction f means the time of the event at position f of all events sorted by time; events of one time stay
    together. Without `validation_from`, the validation period is as long as the test period, which ends with the log's
    last event; if `test_from` is a date without a time of day, whole days are counted, and if it is a fraction f,
    `validation_from` is 2 f - 1.

    Args:
        times: (nnz,) time of each event of the log, in any order; at least one.
        test_from: a date, a date with a time of day, a fraction or a whole number.
        validation_from: likewise.

    Raises:
        ConfigError: a value is none of these or does not fit the log: a date although times are not dates, or a period
            without events.
    """
    first, last, ticks = int(times.min()), int(times.max()), _ticks(times)
    test_point = _parse(test_from, _TEST)
    test = _time_of(test_point, times, ticks, _TEST)
    if validation_from is None:
        validation = _as_long_before(test_point, test, times, last, ticks)
    else:
        validation = _time_of(_parse(validation_from, _VALIDATION), times, ticks, _VALIDATION)
    periods = Periods(validation, test, first, last, ticks)
    _check(periods)
    return periods


def _parse(text: str, option: str) -> Point:
    """Parse what the user wrote."""
    try:
        if re.fullmatch(r"\d{4}-\d\d-\d\d", text):
            return date.fromisoformat(text)
        if re.fullmatch(r"\d{4}-\d\d-\d\d[T ].+", text):
            moment = datetime.fromisoformat(text)
            return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        if re.fullmatch(r"[+-]?\d{1,19}", text):
            return int(text)
        if re.fullmatch(r"0?\.\d{1,19}", text) and Fraction(text):
            return Fraction(text)
    except ValueError as error:
        raise ConfigError(f"{option}: expected {_FORMS}, found {text!r} ({error}); write one of these") from None
    raise ConfigError(f"{option}: expected {_FORMS}, found {text!r}; write one of these")


def _ticks(times: Times) -> int | None:
    """Return the units per second; None if the times are not dates."""
    half = len(times) // 2
    median = abs(int(np.partition(times, half)[half]))
    fitting = [ticks for ticks in _TICKS if median >= _FIRST_DATE * ticks]
    return fitting[-1] if fitting else None


def _time_of(point: Point, times: Times, ticks: int | None, option: str) -> int:
    """Convert a point to a time in the unit of the log."""
    match point:
        case Fraction():
            place = int(point * len(times))
            return int(np.partition(times, place)[place])
        case int():
            return point
        case _ if ticks is None:
            raise ConfigError(
                f"{option}: expected a whole number or a fraction, because the times of this log ({times.min()} to "
                f"{times.max()}) are not dates, found the date {point}; write one of those"
            )
        case datetime():
            return _ticks_since_1970(point, ticks)
        case date():
            return _ticks_since_1970(datetime(point.year, point.month, point.day, tzinfo=UTC), ticks)


def _ticks_since_1970(moment: datetime, ticks: int) -> int:
    """Convert a moment to ticks in integer arithmetic, because floats would merge microseconds."""
    return (moment - _EPOCH) // timedelta(microseconds=1) * ticks // 10**6


def _as_long_before(point: Point, test: int, times: Times, last: int, ticks: int | None) -> int:
    """Return the start of a validation period as long as the test period."""
    match point:
        case Fraction():
            if point <= Fraction(1, 2):
                raise ConfigError(
                    f"{_TEST}: expected more than 0.5, so that an equally large part before it is left for validation, "
                    f"found {float(point)}; give {_VALIDATION} too"
                )
            return _time_of(2 * point - 1, times, ticks, _VALIDATION)
        case date() if not isinstance(point, datetime) and ticks is not None:
            days = (last - test) // (_DAY * ticks) + 1
            return test - days * _DAY * ticks
        case _:
            return test - (last - test + 1)


def _check(periods: Periods) -> None:
    """Check that no period is empty and that the log has events before and after."""
    first, validation, test, last = map(
        periods.shown, (periods.first, periods.validation_from, periods.test_from, periods.last)
    )
    if periods.test_from > periods.last:
        unit = "" if periods.ticks is None else f" (whole numbers are {_TICKS[periods.ticks]} since 1970)"
        raise ConfigError(
            f"{_TEST}: expected a time up to the last one in the log, {last}, found {test}; give an earlier one{unit}"
        )
    if not periods.validation_from < periods.test_from:
        raise ConfigError(f"{_VALIDATION}: expected a time before {_TEST} ({test}), found {validation}; give another")
    if periods.validation_from <= periods.first:
        raise ConfigError(
            f"{_VALIDATION}: expected a time after the first one in the log, {first}, found {validation} (by default, "
            f"the validation period is as long as the test period); give a later one"
        )


def _shown(time: int, ticks: int | None) -> str:
    if ticks is None:
        return str(time)
    try:
        moment = _EPOCH + timedelta(seconds=time // ticks)
    except OverflowError:
        return str(time)
    return moment.date().isoformat() if time % (_DAY * ticks) == 0 else moment.isoformat().replace("+00:00", "Z")
