"""Times of raw files: numbers of every unit, dates, and what is neither."""

import re
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tcf.common.errors import ConfigError, DataError
from tcf.data.events.date_patterns import pattern_of
from tcf.data.events.timestamps import read_times
from tcf.data.tables.bad_rows import BadRows
from tcf.data.tables.engine import Engine
from tcf.data.tables.table import RawTable


def table_of(engine: Engine, *values: str) -> RawTable:
    name = engine.add("rows", pa.table({"c0": pa.array(values, pa.large_string())}))
    return RawTable.of_file(engine, name, Path("/raw/t.csv"), "line", {"time": "c0"}, lambda row: row + 2, "")


def times_of(
    engine: Engine, *values: str, bad: BadRows | None = None, time_format: str | None = None
) -> tuple[dict[int, int], int]:
    """The time of every row that has one, by its place, and the units in a second."""
    table = table_of(engine, *values)
    times = read_times(table, "time", bad or BadRows("skip"), time_format=time_format)
    rows = engine.rows(
        f"select events.rowid, {times.value} from {table.name} events {times.join} order by events.rowid"
    )
    return dict(rows), times.per_second


@pytest.mark.parametrize(
    ("values", "seconds", "per_second"),
    [
        (["5", "+6", "x", "", "-3"], [5, 6, None, None, -3], 10**6),
        (["1291191960.5", "1e9", ".5", "-0.5"], [1291191960, 10**9, 0, -1], 10**6),
        (["1573568086000", "1573568085999"], [1573568086, 1573568085], 10**3),
        (["1573568086000001"], [1573568086], 10**6),
        (["1700000000000000001"], [1700000000], 10**9),
        (["2019-11-12", "1970-01-02", "12.5"], [1573516800, 86400, None], 10**6),
        (["2019-11-12 14:14:46", "2019-11-12T14:14:46.999"], [1573568086, 1573568086], 10**6),
        (["2019-11-12T14:14:46Z", "2019-11-12T16:14:46+02:00"], [1573568086, 1573568086], 10**6),
        (["nothing", "2019-11-12", "2019-11-12T00:00:00Z", "5"], [None, 1573516800, 1573516800, None], 10**6),
        (["", "99999999999999999999"], [None, None], 10**9),
        (["5", "+.5e1", "5.", "1e400", "--5", "5 6", "0x5", "1_0", "inf", "nan", "٥"], [5, 5, 5, *[None] * 8], 10**6),
        (["2019-11-12", "2019-02-30", "2019-11-12 25:00", "2019-11-12x"], [1573516800, None, None, None], 10**6),
        (["1969-12-31 23:59:59.5", "0001-01-01"], [-1, -62135596800], 10**6),
        (["2019-10-01 00:00:00 UTC", "2019-10-01 00:00:00 GMT", "2019-10-01T00:00:00 Z"], [1569888000] * 3, 10**6),
        (["2019-10-01 02:00:00+0200", "2019-10-01 02:00 +02", "2019-10-01 02 +02:00"], [1569888000] * 3, 10**6),
        (
            ["2019-09-30 19:00:00 -0500", "2019-10-01 +05", "2019-10-01 00:00:00z"],
            [1569888000, 1569870000, 1569888000],
            10**6,
        ),
        (["2019-10-01 00:00:00.999999999 UTC", "2019-10-01 00:00:00,5-00:30"], [1569888000, 1569889800], 10**6),
        (["2019-10-01 00:00:00.000000", "2019-10-01 00:00:00.500000Z", "2019-10-01"], [1569888000] * 3, 10**6),
        (["1970-01-01", "0000-01-01", "1900-02-29", "2000-02-29", "infinity"], [0, None, None, 951782400, None], 10**6),
        (
            ["1970-01-01", "1970-01-01 24:00", "1970-01-01 23:59:60", "1970-01-01 12:60", "1970-01-01 00:00:00 +24"],
            [0] + [None] * 4,
            10**6,
        ),
        (
            [
                "1970-01-01",
                "1970-01-01 00:00:00 CET",
                "1970-1-1",
                "1970/01/01",
                "10000-01-01 00:00:00",
                "1970-01-01-05",
            ],
            [0] + [None] * 5,
            10**6,
        ),
    ],
    ids=str,
)
def test_times(engine: Engine, values: list[str], seconds: list[int | None], per_second: int) -> None:
    table, bad = table_of(engine, *values), BadRows("skip")
    times = read_times(table, "time", bad)
    found, units = times_of(engine, *values)
    in_seconds = times.seconds(np.array(list(found.values()), np.int64)).tolist()
    by_place = dict(zip(found, in_seconds, strict=True))
    assert ([by_place.get(place) for place in range(len(values))], units) == (seconds, per_second)
    assert bad.skipped.get("bad_timestamp", 0) == seconds.count(None)
    assert len(table) == len(seconds) - seconds.count(None)


def test_fractions_of_seconds_keep_their_order(engine: Engine) -> None:
    times, _ = times_of(engine, "1.000002", "1.000001", "2")
    assert list(times.values()) == [1000002, 1000001, 2000000]


def test_large_whole_numbers_are_exact(engine: Engine) -> None:
    values = [2**53 + 1, 10**17 + 3, 10**18 + 1, 10**18, 2**62 - 1]
    times, _ = times_of(engine, str(10**17), *map(str, values))
    assert list(times.values())[1:] == values


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(-(10**13), 10**13), min_size=1, max_size=30))
def test_numbers_with_decimal_places(engine: Engine, micros: list[int]) -> None:
    written = ["0", *(f"{'-' * (time < 0)}{abs(time) // 10**6}.{abs(time) % 10**6:06}" for time in micros)]
    times, _ = times_of(engine, *written)
    assert list(times.values())[1:] == micros


@pytest.mark.parametrize(
    ("values", "line", "expected"),
    [
        (["", "7", "2019-11-12"], "2: expected a number in column time, found time ''; 2 of", "lines 2, 4;"),
        (["2019-11-12", "5"], "3: expected a date such as 2019-11-12 .*, found time '5'; 1 of", "line 3;"),
        (["x", "y"], "2: expected a time, as a number or a date .*, found time 'x'; 2 of", "lines 2, 3;"),
    ],
    ids=str,
)
def test_bad_times_are_errors_that_say_what_the_others_are(
    engine: Engine, values: list[str], line: str, expected: str
) -> None:
    with pytest.raises(DataError, match=rf"/raw/t.csv:{line} this kind \(bad_timestamp\) in all, on {expected}"):
        times_of(engine, *values, bad=BadRows("error"))


FORMATS = st.sampled_from(
    [
        "%Y-%m-%d %H:%M:%S",
        "%d/%m/%Y",
        "%m/%d/%y %H:%M",
        "%d.%m.%Y %H:%M:%S.%f",
        "%Y%m%d%H%M%S",
        "%b %d, %Y %I:%M %p",
        "%A, %d %B %Y %I:%M:%S %p",
        "%a %b %d %H:%M:%S %z %Y",
        "%Y-%jT%H:%M%z",
        "%y %B",
        "100%% %Y-%m-%d",
    ]
)
MOMENTS = st.datetimes(
    datetime(1969, 1, 1),
    datetime(2068, 12, 31),
    timezones=st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=30)), timezone(-timedelta(hours=9))]),
)


def by_datetime(written: str, form: str) -> int | None:
    """Microseconds since 1970, by the standard library."""
    try:
        moment = datetime.strptime(written, form)
    except ValueError:
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


@settings(deadline=None, max_examples=40)
@given(FORMATS, st.lists(MOMENTS, min_size=1, max_size=8), st.data())
def test_formats_as_datetime_reads_them(
    engine: Engine, form: str, moments: list[datetime], data: st.DataObject
) -> None:
    written = [moment.strftime(form) for moment in moments]
    # Damaged in one character, so that most of them are no dates of this form any more.
    place = data.draw(st.integers(0, len(written[0]) - 1))
    written.append(written[0][:place] + data.draw(st.sampled_from("0159 :-/x")) + written[0][place + 1 :])
    written = [text.strip() for text in written]
    found = times_of(engine, *written, time_format=form)[0]
    expected = [by_datetime(text, form) for text in written]
    assert [found.get(place) for place in range(len(written))] == expected


@pytest.mark.parametrize(
    ("form", "written", "seconds"),
    [
        ("%d/%m/%Y", ["01/02/2019", "1/2/2019", "31/02/2019", "02-01-2019"], [1548979200, 1548979200, None, None]),
        ("%m/%d/%Y %I:%M:%S %p", ["11/12/2019 2:14:46 PM", "11/12/2019 12:00:00 am"], [1573568086, 1573516800]),
        ("%d-%b-%y", ["12-NOV-19", "12-nov-68", "12-Nov-69"], [1573516800, 3119904000, -4320000]),
        ("%Y-%m-%d %H:%M:%S %Z", ["2019-10-01 00:00:00 utc", "2019-10-01 00:00:00 CET"], [1569888000, None]),
        ("%Y-%m-%dT%H:%M:%S%z", ["2019-10-01T02:00:00+02", "2019-10-01T00:00:00Z"], [1569888000, 1569888000]),
        ("%Y-%m-%d %H:%M:%S.%f", ["2019-10-01 00:00:00.123456789"], [1569888000]),
        ("%Y%m%d", ["20191001", "1569888000"], [1569888000, None]),
        (" %Y-%j ", ["2019-274", "2019-366", "2020-366", "2019-000"], [1569888000, None, 1609372800, None]),
        ("%Y-%m-%d %H:%M:%S", ["2019-10-01 24:00:00", "2019-10-01 23:59:60", ""], [None, None, None]),
    ],
)
def test_formats(engine: Engine, form: str, written: list[str], seconds: list[int | None]) -> None:
    found, _ = times_of(engine, *written, time_format=form)
    assert [found[place] // 10**6 if place in found else None for place in range(len(written))] == seconds


@pytest.mark.parametrize(
    ("form", "message"),
    [
        ("%d.%m.%Q", r"expected text and the directives %Y %y .*, found %Q in '%d.%m.%Q'; write it with these"),
        ("%c", r"found %c in '%c'"),
        ("%Y-%", r"found % in '%Y-%'"),
        ("%Y %y", r"expected each part of a time once, found '%Y %y' twice: year or short_year"),
        ("%Y %j %d", r"twice: day or day_of_year"),
        ("%H:%M", r"expected a year, %Y or %y, found '%H:%M', which has none; add it"),
        ("%d %Y", r"expected a month, %m, %b or %B, found '%d %Y', which has a day only; add it"),
    ],
)
def test_formats_that_are_none(form: str, message: str) -> None:
    with pytest.raises(ConfigError, match=f"--time-format: .*{message}"):
        pattern_of(form)


@pytest.mark.parametrize(
    ("values", "formats"),
    [
        (["01/02/2019", "03/04/2019"], "'%m/%d/%Y' or '%d/%m/%Y'"),
        (["01/02/2019", "13/04/2019"], "'%d/%m/%Y'"),
        (["11/12/2019 2:14:46 PM", "11/13/2019 2:14:46 AM"], "'%m/%d/%Y %I:%M:%S %p'"),
        (["Mon Sep 30 07:19:26 +0000 2019"], "'%a %b %d %H:%M:%S %z %Y'"),
        (["2019/10/01 00:00:00.5 UTC"], "'%Y/%m/%d %H:%M:%S.%f %Z' or '%Y/%d/%m %H:%M:%S.%f %Z'"),
        (["September 30, 2019"], "'%B %d, %Y'"),
        (["30.09.19 7:30"], "'%d.%m.%y %H:%M' or '%y.%m.%d %H:%M'"),
    ],
)
def test_a_format_is_suggested(engine: Engine, values: list[str], formats: str) -> None:
    form = f"say what form the times have with --time-format {formats}"
    for mode in ("error", "skip"):
        with pytest.raises(DataError, match=re.escape(form) + "$") as raised:
            read_times(table_of(engine, "", *values), "time", BadRows(mode), has_option=True)
        assert "t.csv:3: expected a time, as a number or a date such as" in str(raised.value)
        assert f"in column time, found {values[0]!r}; say" in str(raised.value)
    with pytest.raises(
        DataError, match=re.escape(f", or a --time-format that all times have ({formats} fits these), found")
    ) as raised:
        read_times(table_of(engine, "2019-10-01", *values), "time", BadRows("error"), has_option=True)
    with pytest.raises(DataError) as raised:
        read_times(table_of(engine, *values), "time", BadRows("error"))
    assert "--time-format" not in str(raised.value)


def test_dates_without_signs_get_a_warning(engine: Engine, caplog: pytest.LogCaptureFixture) -> None:
    read_times(table_of(engine, "20191001", "20200229"), "time", BadRows("error"), has_option=True)
    assert "times such as 20191001 in column time are read as seconds since 1970; if they are dates" in caplog.text
    caplog.clear()
    read_times(table_of(engine, "20191001", "20191099"), "time", BadRows("error"), has_option=True)
    assert caplog.text == ""
