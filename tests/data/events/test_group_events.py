"""Events to histories: order, unknown items, repeats and times."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tcf.common.errors import DataError
from tcf.data.events.group_events import Grouped, group_events, with_ids
from tcf.data.events.items import Items, read_items
from tcf.data.events.timestamps import read_times
from tcf.data.tables.bad_rows import BadRows
from tcf.data.tables.engine import Engine
from tcf.data.tables.table import RawTable

Event = tuple[str, str, int]
PATH = Path("/raw/events.csv")
ITEMS = (("a", "A"), ("untold", ""), ("b", "B"), ("c", "C"))


def table_of(engine: Engine, path: Path, names: str, rows: list[tuple[str, ...]]) -> RawTable:
    values = list(zip(*rows, strict=True)) or [()] * len(names.split())
    columns = {f"c{at}": pa.array(column, pa.large_string()) for at, column in enumerate(values)}
    named = dict(zip(names.split(), columns, strict=True))
    return RawTable.of_file(engine, engine.add("rows", pa.table(columns)), path, "line", named, lambda row: row + 2, "")


def items_of(engine: Engine) -> Items:
    table = table_of(engine, Path("/raw/items.csv"), "id text", list(ITEMS))
    return read_items(table, table["id"], table["text"], BadRows("skip"))


def grouped(
    engine: Engine,
    events: list[Event],
    bad: BadRows | None = None,
    *,
    timed: bool = True,
    keep_times: bool = True,
    once: str | None = None,
) -> Grouped:
    bad = bad or BadRows("error")
    rows: list[tuple[str, ...]] = [(user, item, str(time)) for user, item, time in events]
    table = table_of(engine, PATH, "user item time", rows)
    times = read_times(table, "time", bad) if timed else None
    return group_events(table, "user", "item", times, items_of(engine), bad, keep_times=keep_times, once=once)


def as_lists(log: Grouped) -> dict[str, list[tuple[str, int]]]:
    times = np.zeros(len(log.items), np.int64) if log.times is None else log.times
    pairs = list(zip(["abc"[item] for item in log.items], times.tolist(), strict=True))
    bounds = log.offsets.tolist()
    return {user: pairs[bounds[row] : bounds[row + 1]] for row, user in enumerate(log.user_ids.to_pylist())}


events = st.tuples(st.sampled_from("uvw"), st.sampled_from("abc"), st.integers(-2, 2))


@settings(deadline=None, max_examples=30)
@given(st.lists(events, min_size=1, max_size=30), st.booleans())
def test_histories_are_by_time_then_in_file_order(engine: Engine, found: list[Event], timed: bool) -> None:
    log = grouped(engine, found, timed=timed)
    expected: dict[str, list[tuple[str, int]]] = {}
    for user, item, time in found:
        expected.setdefault(user, []).append((item, time if timed else 0))
    lists = as_lists(log)
    assert list(lists) == list(expected)
    assert lists == {user: sorted(pairs, key=lambda pair: pair[1]) for user, pairs in expected.items()}
    assert (log.times is None) is not timed
    untimed = grouped(engine, found, timed=timed, keep_times=False)
    assert untimed.times is None
    np.testing.assert_array_equal(untimed.items, log.items)
    np.testing.assert_array_equal(untimed.offsets, log.offsets)
    assert log.items.dtype == np.int32


def test_the_order_of_many_events_of_few_users(engine: Engine) -> None:
    """More than the engine handles at once; many times are the same."""
    draws = np.random.default_rng(3)
    n, users = 300_000, np.array(["u", "v", "w", "000", "NaN"])
    owners, codes, times = draws.integers(5, size=n), draws.integers(3, size=n), draws.integers(1000, size=n)
    rows = zip(users[owners].tolist(), np.array(["a", "b", "c"])[codes].tolist(), times.tolist(), strict=True)
    log = grouped(engine, list(rows))
    _, first = np.unique(owners, return_index=True)
    order = owners[np.sort(first)]
    assert log.user_ids.to_pylist() == users[order].tolist()
    for row, owner in enumerate(order):
        mine = np.flatnonzero(owners == owner)
        mine = mine[np.argsort(times[mine], kind="stable")]
        part = slice(log.offsets[row], log.offsets[row + 1])
        np.testing.assert_array_equal(log.items[part], codes[mine])
        assert log.times is not None
        np.testing.assert_array_equal(log.times[part], times[mine])


@pytest.mark.parametrize("times", [(1, 2, 0, 3), (1, 0, 2, 3), (0, 1, 1, 2)])
def test_times_that_are_not_kept_order_events(engine: Engine, times: tuple[int, int, int, int]) -> None:
    found = [("u", item, time) for item, time in zip("abca", times, strict=True)]
    log = grouped(engine, found, keep_times=False)
    expected = [item for _, item, _ in sorted(found, key=lambda event: event[2])]
    assert ["abc"[item] for item in log.items] == expected


@pytest.mark.parametrize("spread", [1, 2**61 // 10**6], ids=["near", "far apart"])
def test_order_is_stable_for_times_of_any_size(engine: Engine, spread: int) -> None:
    found = [("v", "a", 1), ("u", "a", 1), ("v", "b", -1), ("v", "c", 1), ("u", "b", 0), ("v", "b", 0)]
    # A small time comes first, which decides the unit.
    log = grouped(engine, [("w", "a", 0), *((user, item, time * spread) for user, item, time in found)])
    lists = {user: [(item, time // spread) for item, time in pairs] for user, pairs in as_lists(log).items()}
    assert lists == {
        "w": [("a", 0)],
        "v": [("b", -1), ("b", 0), ("a", 1), ("c", 1)],
        "u": [("b", 0), ("a", 1)],
    }


def test_unknown_items_are_counted_by_reason_and_their_users_stay(engine: Engine) -> None:
    found = [("u", "a", 1), ("v", "nowhere", 1), ("u", "untold", 2), ("u", "b", 0), ("v", "nowhere", 9)]
    bad = BadRows("skip")
    assert as_lists(grouped(engine, found, bad)) == {"u": [("b", 0), ("a", 1)], "v": []}
    assert bad.skipped == {"event_of_skipped_item": 1, "unknown_item": 2}


def test_unknown_items_stop_with_their_lines(engine: Engine) -> None:
    found = [("u", "a", 1), ("v", "nowhere", 1), ("u", "b", 0), ("v", "gone", 9)]
    with pytest.raises(DataError) as raised:
        grouped(engine, found)
    assert str(raised.value).startswith(
        f"{PATH}:3: expected an item id of /raw/items.csv, found 'nowhere'; 2 of this kind (unknown_item) in all, on "
        "lines 3, 5;"
    )


def test_no_item_known_at_all_is_another_error(engine: Engine) -> None:
    with pytest.raises(DataError, match="no event names an item of that file"):
        grouped(engine, [("u", "q", 1)], BadRows("skip"))


def test_no_event_at_all_is_an_error(engine: Engine) -> None:
    with pytest.raises(DataError, match="expected events, found none that can be used"):
        grouped(engine, [], BadRows("skip"))


@settings(deadline=None, max_examples=30)
@given(st.lists(events, min_size=1, max_size=20), st.booleans())
@example([("u", "a", 1), ("u", "b", 1), ("u", "a", 1)], True)
def test_the_first_of_repeats_at_one_time_stays(engine: Engine, found: list[Event], keep_times: bool) -> None:
    whole, bad = as_lists(grouped(engine, found)), BadRows("error")
    kept = grouped(engine, found, bad, once="repeat", keep_times=keep_times)
    expected = {user: list(dict.fromkeys(pairs)) for user, pairs in whole.items()}
    if not keep_times:
        expected = {user: [(item, 0) for item, _ in pairs] for user, pairs in expected.items()}
    assert as_lists(kept) == expected
    assert bad.skipped.get("repeat", 0) == len(found) - sum(map(len, expected.values()))


Part = tuple[str, str, int, int]
parts = st.tuples(st.sampled_from("uv"), st.sampled_from("abc"), st.integers(0, 2), st.integers(0, 3))


@settings(deadline=None, max_examples=30)
@given(st.lists(parts, min_size=1, max_size=20), st.booleans(), st.booleans(), st.booleans())
@example([("u", "a", 1, 3), ("u", "b", 2, 1), ("u", "a", 1, 3), ("u", "a", 1, 2)], True, True, True)
def test_parts_order_events_before_their_times_do(
    engine: Engine, found: list[Part], timed: bool, keep_times: bool, once: bool
) -> None:
    rows: list[tuple[str, ...]] = [(user, item, str(time), str(part)) for user, item, time, part in found]
    table, bad = table_of(engine, PATH, "user item time part", rows), BadRows("error")
    times = read_times(table, "time", bad) if timed else None
    part = f"{table['part']}::int"
    log = group_events(
        table,
        "user",
        "item",
        times,
        items_of(engine),
        bad,
        keep_times=keep_times,
        once="repeat" if once else None,
        part=part,
    )
    wanted: dict[str, list[tuple[int, int, str]]] = {}
    for user, item, time, number in found:
        event = (number, time if timed else 0, item)
        if not (once and timed) or event not in wanted.get(user, []):
            wanted.setdefault(user, []).append(event)
    lists = {user: sorted(events, key=lambda event: event[:2]) for user, events in wanted.items()}
    assert log.user_ids.to_pylist() == list(lists)
    events = [event for user in lists.values() for event in user]
    exact = [event in user[:place] for user in lists.values() for place, event in enumerate(user)]
    assert (None if log.duplicates is None else log.duplicates.tolist()) == (exact if timed else None)
    assert log.parts is not None
    assert log.parts.dtype == np.int8
    assert log.parts.tolist() == [number for number, _, _ in events]
    assert ["abc"[item] for item in log.items] == [item for _, _, item in events]
    assert log.offsets.tolist() == np.cumsum([0, *map(len, lists.values())]).tolist()
    assert (log.times is not None) is (timed and keep_times)
    if log.times is not None:
        assert log.times.tolist() == [time for _, time, _ in events]
    assert bad.skipped.get("repeat", 0) == len(found) - len(events)


def test_events_without_ids_are_rejected(engine: Engine) -> None:
    rows: list[tuple[str, ...]] = [("u", "a"), ("", "a"), ("v", ""), ("u", "b")]
    table, bad = table_of(engine, PATH, "user item", rows), BadRows("skip")
    with_ids(table, "user", "item", bad)
    assert bad.skipped == {"empty_id": 2}
    assert as_lists(group_events(table, "user", "item", None, items_of(engine), bad)) == {"u": [("a", 0), ("b", 0)]}
    with pytest.raises(DataError, match="events.csv:3: expected a user id and an item id, .* on lines 3, 4;"):
        with_ids(table_of(engine, PATH, "user item", rows), "user", "item", BadRows("error"))
