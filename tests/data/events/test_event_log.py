"""Events to histories: order, unknown items, repeats and times."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tcf.common.errors import DataError
from tcf.data.events import sort_events
from tcf.data.events.checked_items import Items
from tcf.data.events.drop_repeats import without_repeats
from tcf.data.events.event_log import EventLog, Grouped, LineNumbers
from tcf.data.events.sort_events import order_by_user, stable_order
from tcf.data.events.timestamps import TimeReader
from tcf.data.tables.bad_rows import BadRows

Event = tuple[str, str, int]
PATH = Path("/raw/events.csv")


def strings(*values: str) -> "pa.LargeStringArray":
    return pa.array(values, pa.large_string())


ITEMS = Items(Path("/raw/items.csv"), strings("a", "b", "c"), strings("A", "B", "C"), strings("untold"))


def grouped(blocks: list[list[Event]], bad: BadRows, *, timed: bool = True, keep_times: bool = True) -> Grouped:
    line = 2
    with EventLog(PATH, "line") as log:
        for block in blocks:
            lines = np.arange(line, line + len(block))
            times = np.array([event[2] for event in block], np.int64) if timed else None
            log.add(lines, strings(*(event[0] for event in block)), strings(*(event[1] for event in block)), times)
            line += len(block)
        return log.histories(ITEMS, bad, keep_times=keep_times)


def as_lists(log: Grouped) -> dict[str, list[tuple[str, int]]]:
    times = np.zeros(len(log.items), np.int64) if log.times is None else log.times
    pairs = list(zip(["abc"[item] for item in log.items], times.tolist(), strict=True))
    bounds = log.offsets.tolist()
    return {user: pairs[bounds[row] : bounds[row + 1]] for row, user in enumerate(log.user_ids.to_pylist())}


events = st.tuples(st.sampled_from("uvw"), st.sampled_from("abc"), st.integers(-2, 2))


@settings(deadline=None, max_examples=60)
@given(st.lists(st.lists(events, min_size=1, max_size=6), min_size=1, max_size=5), st.booleans())
def test_histories_are_by_time_then_in_file_order(blocks: list[list[Event]], timed: bool) -> None:
    log = grouped(blocks, BadRows("error"), timed=timed)
    expected: dict[str, list[tuple[str, int]]] = {}
    for user, item, time in (event for block in blocks for event in block):
        expected.setdefault(user, []).append((item, time if timed else 0))
    found = as_lists(log)
    assert list(found) == list(expected)
    assert found == {user: sorted(pairs, key=lambda pair: pair[1]) for user, pairs in expected.items()}
    assert (log.times is None) is not timed
    untimed = grouped(blocks, BadRows("error"), timed=timed, keep_times=False)
    assert untimed.times is None
    np.testing.assert_array_equal(untimed.items, log.items)
    np.testing.assert_array_equal(untimed.offsets, log.offsets)


@pytest.mark.parametrize("times", [(1, 2, 0, 3), (1, 0, 2, 3), (0, 1, 1, 2)])
def test_times_that_are_not_kept_order_events_across_blocks(times: tuple[int, int, int, int]) -> None:
    events = [("u", item, time) for item, time in zip("abca", times, strict=True)]
    log = grouped([events[:2], events[2:]], BadRows("error"), keep_times=False)
    expected = [item for _, item, _ in sorted(events, key=lambda event: event[2])]
    assert ["abc"[item] for item in log.items] == expected


def test_unknown_items_are_counted_by_reason_and_their_users_stay() -> None:
    blocks = [[("u", "a", 1), ("v", "nowhere", 1)], [("u", "untold", 2), ("u", "b", 0), ("v", "nowhere", 9)]]
    bad = BadRows("skip")
    assert as_lists(grouped(blocks, bad)) == {"u": [("b", 0), ("a", 1)], "v": []}
    assert bad.skipped == {"event_of_skipped_item": 1, "unknown_item": 2}


def test_unknown_items_stop_with_their_lines() -> None:
    blocks = [[("u", "a", 1), ("v", "nowhere", 1)], [("u", "b", 0), ("v", "gone", 9)]]
    with pytest.raises(DataError) as raised:
        grouped(blocks, BadRows("error"))
    assert str(raised.value).startswith(
        f"{PATH}:3: expected an item id of /raw/items.csv, found 'nowhere'; 2 of this kind (unknown_item) in all, on "
        "lines 3, 5;"
    )


def test_no_item_known_at_all_is_another_error() -> None:
    with pytest.raises(DataError, match="no event names an item of that file"):
        grouped([[("u", "q", 1)]], BadRows("skip"))


def test_no_event_at_all_is_an_error() -> None:
    with pytest.raises(DataError, match="expected events, found none that can be used"):
        grouped([], BadRows("skip"))


def test_lines_of_events_after_gaps() -> None:
    numbers = LineNumbers()
    for lines in ([2, 3, 4], [], [7, 9], [10]):
        numbers.add(np.array(lines, np.int64))
    assert numbers.at(np.array([0, 2, 3, 4, 5])).tolist() == [2, 4, 7, 9, 10]
    assert numbers.at(np.array([4])).tolist() == [9]
    assert numbers.at(np.zeros(0, np.int64)).tolist() == []


FAR = 2**62


@pytest.mark.parametrize("spread", [1, FAR], ids=["packed", "too far apart to pack"])
def test_order_is_stable_for_times_of_any_size(spread: int) -> None:
    owners = np.array([1, 0, 1, 1, 0, 1], np.int32)
    times = np.array([1, 1, -1, 1, 0, 0], np.int64) * spread
    offsets, order = order_by_user(owners, 3, times)
    assert offsets.tolist() == [0, 2, 6, 6]
    assert order.positions().tolist() == [4, 1, 2, 5, 0, 3]
    assert order.take(times).tolist() == times[[4, 1, 2, 5, 0, 3]].tolist()


@settings(deadline=None, max_examples=100)
@given(st.lists(st.tuples(st.integers(-2, 2), st.integers(1, 4)), max_size=12), st.sampled_from([1, 2**61]))
def test_order_of_keys_in_runs_and_without(runs: list[tuple[int, int]], spread: int) -> None:
    keys = np.array([key * spread for key, length in runs for _ in range(length)], np.int64)
    assert stable_order(keys).tolist() == sorted(range(len(keys)), key=keys.tolist().__getitem__)


@settings(deadline=None, max_examples=100)
@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(1, 9)), min_size=1, max_size=12),
    st.sampled_from([1, 3, 8, 1 << 19]),
)
def test_values_in_order_a_few_at_a_time(runs: list[tuple[int, int]], at_once: int) -> None:
    owners = np.array([owner for owner, length in runs for _ in range(length)], np.int32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sort_events, "_AT_ONCE", at_once)
        _, order = order_by_user(owners, 3, None)
        taken = order.take(np.arange(len(owners)) * 10)
    assert taken.tolist() == [10 * at for at in sorted(range(len(owners)), key=owners.tolist().__getitem__)]


@settings(deadline=None, max_examples=60)
@given(st.lists(events, min_size=1, max_size=20), st.sampled_from([3, 2**60]))
def test_the_first_of_repeats_at_one_time_stays(found: list[Event], n_items: int) -> None:
    log = grouped([found], BadRows("error"))
    kept, left_out = without_repeats(log, n_items)
    expected = {user: list(dict.fromkeys(pairs)) for user, pairs in as_lists(log).items()}
    assert as_lists(kept) == expected
    assert left_out == len(log.items) - sum(map(len, expected.values()))


def read_times(*values: str) -> tuple[list[int | None], int]:
    reader = TimeReader()
    times, usable = reader.read(strings(*values))
    seconds: npt.NDArray[np.int64] = reader.seconds(times)
    return [int(time) if good else None for time, good in zip(seconds, usable, strict=True)], reader.per_second


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
    ],
    ids=str,
)
def test_times(values: list[str], seconds: list[int | None], per_second: int) -> None:
    assert read_times(*values) == (seconds, per_second)


def test_fractions_of_seconds_keep_their_order() -> None:
    times, _ = TimeReader().read(strings("1.000002", "1.000001", "2"))
    assert times.tolist() == [1000002, 1000001, 2000000]


def test_the_first_block_decides_for_the_next() -> None:
    reader = TimeReader()
    reader.read(strings("", "2019-11-12"))
    _, usable = reader.read(strings("5", "2019-11-13"))
    assert usable.tolist() == [False, True]
    assert "date" in reader.expected
