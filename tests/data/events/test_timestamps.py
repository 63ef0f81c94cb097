"""Times of raw files: numbers of every unit, dates, and what is neither."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tcf.common.errors import DataError
from tcf.data.events.timestamps import read_times
from tcf.data.tables.bad_rows import BadRows
from tcf.data.tables.engine import Engine
from tcf.data.tables.table import RawTable


def table_of(engine: Engine, *values: str) -> RawTable:
    name = engine.add("rows", pa.table({"c0": pa.array(values, pa.large_string())}))
    return RawTable.of_file(engine, name, Path("/raw/t.csv"), "line", {"time": "c0"}, lambda row: row + 2, "")


def times_of(engine: Engine, *values: str, bad: BadRows | None = None) -> tuple[dict[int, int], int]:
    """The time of every row that has one, by its place, and the units in a second."""
    table = table_of(engine, *values)
    times = read_times(table, "time", bad or BadRows("skip"))
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
