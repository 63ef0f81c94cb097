"""Where a log is cut, from what a user writes; numbers worked out by hand."""

from datetime import UTC, datetime

import numpy as np
import pytest

from tcf.common.errors import ConfigError
from tcf.data.time_split import Periods, find_periods

DAY = 86_400


def at(text: str) -> int:
    """Seconds since 1970."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())


# One event a day, at midnight, from the 1st to the 22nd of September 2020.
SEPTEMBER = at("2020-09-01") + DAY * np.arange(22)


def dates(periods: Periods) -> tuple[str, str]:
    return periods.shown(periods.validation_from), periods.shown(periods.test_from)


def test_a_date_counts_whole_days() -> None:
    periods = find_periods(SEPTEMBER, "2020-09-16", None)
    # The test period is the 16th to the 22nd, 7 days; so is the validation period.
    assert dates(periods) == ("2020-09-09", "2020-09-16")
    assert (periods.shown(periods.first), periods.shown(periods.last)) == ("2020-09-01", "2020-09-22")
    assert dates(find_periods(SEPTEMBER + DAY - 1, "2020-09-16", None)) == ("2020-09-09", "2020-09-16")
    assert dates(find_periods(SEPTEMBER, "2020-09-16", "2020-09-15")) == ("2020-09-15", "2020-09-16")


@pytest.mark.parametrize("ticks", [1, 10**3, 10**6, 10**9])
def test_the_unit_follows_from_the_times(ticks: int) -> None:
    periods = find_periods(SEPTEMBER * ticks, "2020-09-16", None)
    assert periods.test_from == at("2020-09-16") * ticks
    assert periods.ticks == ticks
    assert dates(periods) == ("2020-09-09", "2020-09-16")
    # Not by one time that is far away.
    assert find_periods(np.append(SEPTEMBER * ticks, 2**62), "2020-09-16", "2020-09-15").ticks == ticks


def test_a_time_of_day() -> None:
    periods = find_periods(SEPTEMBER, "2020-09-21T12:00", None)
    # From noon of the 21st to midnight of the 22nd, both included, are 12 hours and a second.
    assert dates(periods) == ("2020-09-20T23:59:59Z", "2020-09-21T12:00:00Z")
    assert dates(find_periods(SEPTEMBER, "2020-09-21 12:00+02:00", "2020-09-02"))[1] == "2020-09-21T10:00:00Z"
    exact = find_periods(SEPTEMBER * 10**6, "2020-09-21T00:00:00.000001", None)
    assert exact.test_from == at("2020-09-21") * 10**6 + 1


def test_fractions_of_all_interactions() -> None:
    times = np.array([5, 1, 2, 3, 4, 6, 7, 8, 9, 10])
    assert find_periods(times, "0.8", None) == Periods(7, 9, 1, 10, None)  # 0.8 and 0.6: 8 and 6 events before
    assert find_periods(times, ".75", "0.3") == Periods(4, 8, 1, 10, None)
    # Exactly: the binary number nearest to 0.29 is below it.
    assert find_periods(np.arange(100), "0.58", "0.29") == Periods(29, 58, 0, 99, None)


def test_interactions_of_one_time_stay_together() -> None:
    times = np.array([1, 2, 3, 3, 3, 3, 3, 3, 4, 5])
    # At 0.7 there are 7 events before, but the 7th to the 3rd are of one time.
    assert find_periods(times, "0.7", "0.1") == Periods(2, 3, 1, 5, None)


def test_numbers_in_the_logs_own_unit() -> None:
    days = np.arange(-3, 18)
    assert find_periods(days, "14", None) == Periods(10, 14, -3, 17, None)  # 14 to 17, and 10 to 13
    assert find_periods(days, "14", "-1") == Periods(-1, 14, -3, 17, None)
    periods = find_periods(days, "14", None)
    assert dates(periods) == ("10", "14")
    assert dates(find_periods(SEPTEMBER, str(at("2020-09-16")), "0.5")) == ("2020-09-12", "2020-09-16")


@pytest.mark.parametrize(
    "text", ["", "1.5", "0", "tomorrow", "2020-13-01", "2020-9-1", "0.", "0.0", "1e9", "-0.5", "nan"]
)
def test_what_is_no_point_is_refused(text: str) -> None:
    if text == "0":
        with pytest.raises(ConfigError, match=r"--validation-from: expected a time after the first one in the log"):
            find_periods(np.arange(10), text, None)
        return
    with pytest.raises(ConfigError, match=r"--test-from: expected a date such as .*, a fraction .*, found"):
        find_periods(SEPTEMBER, text, None)
    with pytest.raises(ConfigError, match=r"--validation-from: expected a date such as .*, a fraction .*, found"):
        find_periods(SEPTEMBER, "0.9", text)


@pytest.mark.parametrize(
    ("test_from", "validation_from", "message"),
    [
        (
            "2020-09-23",
            None,
            r"--test-from: .* up to the last one in the log, 2020-09-22, found 2020-09-23",
        ),
        ("2020-09-16", "2020-09-16", r"--validation-from: expected a time before --test-from \(2020-09-16\), found"),
        ("2020-09-11", None, r"--validation-from: .* after the first one in the log, 2020-09-01, found 2020-08-30"),
        (
            "2020-09-16",
            "2020-09-01",
            r"--validation-from: .* after the first one in the log, 2020-09-01, found 2020-09-01",
        ),
        ("0.5", None, r"--test-from: expected more than 0.5, .*, found 0.5; give --validation-from too"),
    ],
)
def test_periods_without_an_event_are_refused(test_from: str, validation_from: str | None, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        find_periods(SEPTEMBER, test_from, validation_from)


def test_the_unit_of_whole_numbers_is_said() -> None:
    """Milliseconds, as in the file, for times that are kept in seconds."""
    expected = r"--test-from: .* the log, 2017-07-21, found 1500604800000; give an earlier one \(whole numbers are sec"
    with pytest.raises(ConfigError, match=expected):
        find_periods(np.array([1_500_508_800, 1_500_595_200]), "1500604800000", None)
    with pytest.raises(
        ConfigError, match=r"or a whole number \(of seconds since 1970; with format recbole, in the unit"
    ):
        find_periods(np.arange(9), "soon", None)


def test_dates_of_times_that_are_none_are_refused() -> None:
    message = r"--test-from: expected a whole number or a fraction, .* log \(0 to 99\) .*, found the date 2020-09-16"
    with pytest.raises(ConfigError, match=message):
        find_periods(np.arange(100), "2020-09-16", None)
