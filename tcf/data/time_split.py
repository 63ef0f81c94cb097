"""The two times at which a log is cut for a split by time, from what a user writes: a date, a number or a fraction.

A log's times are whole numbers since 1970 in a unit that nobody states. It is told from their median, which lies
between 1973 and 5138 in one unit only: 1e8 to 1e11 are seconds, 1000 times as much are milliseconds, and so on to
nanoseconds. Smaller times, such as numbers of days or steps, are no dates; they can be cut at a number or a fraction.
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
_FIRST_DATE = 1e8  # seconds since 1970; smaller numbers are taken for no dates
_TICKS = (1, 10**3, 10**6, 10**9)  # in a second
_FORMS = "a date such as 2020-09-16 (UTC), a fraction between 0 and 1, or a whole number in the unit of the log's times"
_TEST, _VALIDATION = "--test-from", "--validation-from"

Point = datetime | date | Fraction | int
Times = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Periods:
    """Where a log is cut.

    Attributes:
        validation_from: the first time of the validation period, in the log's unit; what is earlier is for training.
        test_from: the first time of the test period, with which the validation period ends.
        first: the log's first time.
        last: the log's last time.
        ticks: units of these times in a second; None where they are no dates.
    """

    validation_from: int
    test_from: int
    first: int
    last: int
    ticks: int | None

    def shown(self, time: int) -> str:
        """A time for people: the date, with the time of day unless that is midnight (UTC); or the number."""
        return _shown(time, self.ticks)


def find_periods(times: Times, test_from: str, validation_from: str | None) -> Periods:
    """Find the times at which to cut.

    A fraction f is the first time before which no more than f of all interactions lie; those of one time stay together.
    Without `validation_from` the validation period is as long as the test period, which ends with the log's last event;
    dates without a time of day count whole days. After a fraction f it is 2 f - 1.

    Args:
        times: (nnz,) when each event of the log was, in any order; at least one.
        test_from: a date, a date with a time of day, a fraction or a whole number.
        validation_from: likewise.

    Raises:
        ConfigError: a point is none of these, or does not suit the log: a date where times are no dates, or a period
            without an event.
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
    """What a user wrote."""
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
        raise ConfigError(f"{option}: expected {_FORMS}, found {text!r} ({error})") from None
    raise ConfigError(f"{option}: expected {_FORMS}, found {text!r}")


def _ticks(times: Times) -> int | None:
    """Units in a second; None where the times are no dates."""
    half = len(times) // 2
    median = abs(int(np.partition(times, half)[half]))
    fitting = [ticks for ticks in _TICKS if median >= _FIRST_DATE * ticks]
    return fitting[-1] if fitting else None


def _time_of(point: Point, times: Times, ticks: int | None, option: str) -> int:
    """A point as a time of the log."""
    match point:
        case Fraction():
            place = int(point * len(times))
            return int(np.partition(times, place)[place])
        case int():
            return point
        case _ if ticks is None:
            raise ConfigError(
                f"{option}: expected a whole number or a fraction, because this log's times ({times.min()} to "
                f"{times.max()}) are no seconds since 1970, found the date {point}; give one of those"
            )
        case datetime():
            return _ticks_since_1970(point, ticks)
        case date():
            return _ticks_since_1970(datetime(point.year, point.month, point.day, tzinfo=UTC), ticks)


def _ticks_since_1970(moment: datetime, ticks: int) -> int:
    """In whole numbers, as floats would merge microseconds."""
    return (moment - _EPOCH) // timedelta(microseconds=1) * ticks // 10**6


def _as_long_before(point: Point, test: int, times: Times, last: int, ticks: int | None) -> int:
    """Where the validation period begins, if it is to be as long as the test period."""
    match point:
        case Fraction():
            if point <= Fraction(1, 2):
                raise ConfigError(
                    f"{_TEST}: expected more than 0.5, so that as large a part can be left for validation before it, "
                    f"found {float(point)}; give {_VALIDATION} too"
                )
            return _time_of(2 * point - 1, times, ticks, _VALIDATION)
        case date() if not isinstance(point, datetime) and ticks is not None:
            days = (last - test) // (_DAY * ticks) + 1
            return test - days * _DAY * ticks
        case _:
            return test - (last - test + 1)


def _check(periods: Periods) -> None:
    """Every period must have room, and there must be events before and after."""
    first, validation, test, last = map(
        periods.shown, (periods.first, periods.validation_from, periods.test_from, periods.last)
    )
    if periods.test_from > periods.last:
        raise ConfigError(
            f"{_TEST}: expected a time up to the log's last one, {last}, found {test}; give an earlier one"
        )
    if not periods.validation_from < periods.test_from:
        raise ConfigError(f"{_VALIDATION}: expected a time before {_TEST} ({test}), found {validation}; give another")
    if periods.validation_from <= periods.first:
        raise ConfigError(
            f"{_VALIDATION}: expected a time after the log's first one, {first}, found {validation} (as long before "
            f"{_TEST} as the test period, unless given); give a later one"
        )


def _shown(time: int, ticks: int | None) -> str:
    if ticks is None:
        return str(time)
    try:
        moment = _EPOCH + timedelta(seconds=time // ticks)
    except OverflowError:
        return str(time)
    return moment.date().isoformat() if time % (_DAY * ticks) == 0 else moment.isoformat().replace("+00:00", "Z")
