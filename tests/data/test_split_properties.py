"""What holds of every selection and every split, and the same worked out by plain Python, one user after the other."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from small.data.logs import Events, asked, histories_left, log_of, recbole_folder, seen_by, trained_on
from small.data.raw import histories_of, texts_of
from tcf.common.errors import ConfigError, DataError
from tcf.config.prepare import PrepareConfig
from tcf.data.dataset import Dataset
from tcf.data.filters import Selected, select
from tcf.data.prepare import prepare
from tcf.data.raw.raw_log import RawLog

ITEMS = list("abcdefg")
NOT_WARM = {"min_item_count": None, "min_item_count_over": "kept"}
events_of_a_user = st.lists(st.tuples(st.sampled_from(ITEMS), st.integers(0, 30)), min_size=2, max_size=10).map(
    lambda events: sorted(events, key=lambda event: event[1])
)
logs = st.dictionaries(st.sampled_from([f"u{n}" for n in range(12)]), events_of_a_user, min_size=4)
OVER = st.sampled_from(["kept", "training"])
spans = st.fixed_dictionaries(
    {
        "min_history": st.integers(3, 4),
        "max_history": st.none() | st.integers(4, 9),
        "keep_last": st.integers(3, 8),
        "sample_users": st.none() | st.integers(1, 4),
        "seed": st.integers(0, 3),
    }
)
warmth = st.one_of(
    st.just({"min_item_count": None}),
    st.fixed_dictionaries({"min_item_count": st.integers(1, 4), "min_item_count_over": OVER}),
)
filters = st.tuples(spans, warmth).map(lambda both: {**both[0], **both[1]})
times = st.fixed_dictionaries(
    {"split": st.just("time"), "test_from": st.just("20"), "validation_from": st.integers(8, 18).map(str)}
)
splits = st.just({"split": "leave-one-out"}) | times


def selected(events: Events, settings: dict[str, Any]) -> tuple[RawLog, Selected] | None:
    """None if nothing is left, or too little for a sample or a part."""
    log = log_of(events, ITEMS)
    try:
        return log, select(log, PrepareConfig(**settings), Path("raw"))
    except (ConfigError, DataError):
        return None


def until_target(events: list[tuple[str, int]], settings: dict[str, Any]) -> list[tuple[str, int]]:
    late = [place for place, (_, time) in enumerate(events) if settings["split"] == "time" and time >= 20]
    return events[: late[0] + 1] if late else events


def counted(kept: dict[str, list[tuple[str, int]]], settings: dict[str, Any]) -> dict[str, list[tuple[str, int]]]:
    """The events that make an item frequent."""
    match settings.get("min_item_count_over", "kept"), settings["split"]:
        case "kept", _:
            return kept
        case _, "time":
            until = int(settings["validation_from"])
            return {user: [row for row in rows if row[1] < until] for user, rows in kept.items()}
        case _:
            return {user: rows[:-2] for user, rows in kept.items()}


def expected(events: Events, users: list[str], settings: dict[str, Any]) -> dict[str, list[tuple[str, int]]]:
    """What is left of sampled users, with the filters applied again and again until nothing changes."""
    left = {user: list(events[user]) for user in users}
    while True:
        left = {u: rows for u, rows in left.items() if len(until_target(rows, settings)) >= settings["min_history"]}
        kept = {u: until_target(rows, settings)[-settings["keep_last"] :] for u, rows in left.items()}
        counts = Counter(item for rows in counted(kept, settings).values() for item, _ in rows)
        there = {item for rows in kept.values() for item, _ in rows}
        rare = {item for item in there if counts[item] < (settings["min_item_count"] or 0)}
        if not rare:
            return kept
        left = {u: [row for row in rows if row[0] not in rare] for u, rows in left.items()}


@settings(deadline=None, max_examples=150)
@given(events=logs, filters=filters, split=splits)
def test_a_selection_is_what_plain_python_makes_of_it(
    events: Events, filters: dict[str, Any], split: dict[str, Any]
) -> None:
    config = {**filters, **split}
    done = selected(events, config)
    sample = selected(events, {**config, "split": "leave-one-out", "test_from": None, "validation_from": None})
    if done is None or (config["split"] == "time" and sample is None):
        return
    log, found = done
    lengths = {user: len(until_target(list(rows), config)) for user, rows in events.items()}
    most = config["max_history"] or 99
    eligible = [user for user in events if config["min_history"] <= lengths[user] <= most]
    if config["sample_users"] is not None:
        # The sample itself: without the filter that comes after it.
        unfiltered = selected(events, {**config, **NOT_WARM})
        if unfiltered is None:
            return  # --keep-last cuts off all of a part, which rare items left out would have moved in
        sampled = [str(log.user_ids[user].as_py()) for user in unfiltered[1].users.tolist()]
        assert set(sampled) <= set(eligible)
        assert len(sampled) == config["sample_users"]
        eligible = sampled
    wanted = expected(events, eligible, config)
    assert histories_left(found, log) == {user: [item for item, _ in rows] for user, rows in wanted.items()}
    assert list(histories_left(found, log)) == [user for user in events if user in wanted]
    kept = {item for rows in wanted.values() for item, _ in rows}
    assert [ITEMS[row] for row in found.items.tolist()] == [item for item in ITEMS if item in kept]
    _check_parts(log, found, wanted, config)
    _check_seen(seen_by(found, log), events, wanted, config)
    _check_counts(found, events, wanted)


def _check_parts(log: RawLog, found: Selected, kept: dict[str, list[tuple[str, int]]], config: dict[str, Any]) -> None:
    validation, test = asked(found, log, "validation"), asked(found, log, "test")
    trained = trained_on(found, log)
    for user, rows in kept.items():
        names = [item for item, _ in rows]
        if config["split"] == "leave-one-out":
            assert trained[user] == names[:-2]
            assert validation[user] == (names[:-2], names[-2])
            assert test[user] == (names[:-1], names[-1])
            continue
        early = [item for item, time in rows if time < int(config["validation_from"])]
        between = [item for item, time in rows if int(config["validation_from"]) <= time < 20]
        late = [item for item, time in rows if time >= 20]
        assert len(late) <= 1  # so no training event is after any test event
        assert trained[user] == early
        assert validation.get(user) == ((early, between[0]) if early and between else None)
        assert test.get(user) == ((early + between, late[0]) if late else None)


def _check_seen(
    seen: dict[str, tuple[str, str]], events: Events, kept: dict[str, list[tuple[str, int]]], config: dict[str, Any]
) -> None:
    """What is not kept of a user's events with items of the dataset was before or after what is kept."""
    catalogue = {item for rows in kept.values() for item, _ in rows}
    for user, rows in kept.items():
        whole = [row for row in events[user] if row[0] in catalogue]
        ended = until_target(whole, config)
        before, after = ended[: len(ended) - len(rows)], whole[len(ended) :]
        assert seen[user] == tuple("".join(sorted({item for item, _ in some})) for some in (before, after))


def _check_counts(found: Selected, events: Events, kept: dict[str, list[tuple[str, int]]]) -> None:
    """Every user, item and interaction is kept or counted once."""
    dropped = Counter(found.dropped)
    users = (
        "users_below_min_history",
        "users_above_max_history",
        "users_not_sampled",
        "users_short_without_rare_items",
    )
    assert len(events) == len(kept) + sum(dropped[reason] for reason in users)
    assert sum(map(len, events.values())) == sum(map(len, kept.values())) + sum(
        number for reason, number in dropped.items() if reason.startswith("interactions_")
    )
    assert len(ITEMS) == len(found.items) + dropped["items_never_seen"] + dropped["items_below_min_item_count"]
    assert min(dropped.values(), default=1) > 0


@settings(deadline=None, max_examples=100)
@given(events=logs, filters=spans, split=splits, fewest=st.integers(2, 4), over=OVER)
@example(
    events={f"u{n}": [("b", 0), ("a", 1), ("a", 2), ("a", 3)] for n in range(4)},
    filters={"min_history": 4, "max_history": None, "keep_last": 3, "sample_users": None, "seed": 0},
    split={"split": "leave-one-out"},
    fewest=2,
    over="kept",
)
def test_warm_subsets_are_warm_and_as_if_the_rest_had_never_been(
    events: Events, filters: dict[str, Any], split: dict[str, Any], fewest: int, over: str
) -> None:
    warm = {"min_item_count": fewest, "min_item_count_over": over}
    config = {**filters, **split, **warm, "max_history": None, "sample_users": None}
    done = selected(events, config)
    if done is None:
        return
    log, found = done
    histories = histories_left(found, log)
    counts = Counter(item for items in histories.values() for item in items)
    often = counts if over == "kept" else Counter(item for items in trained_on(found, log).values() for item in items)
    assert min(often[item] for item in counts) >= fewest
    assert min(map(len, histories.values())) >= min(config["min_history"], config["keep_last"])
    never_seen = set(ITEMS) - set(counts)
    rest = {u: [row for row in events[u] if row[0] not in never_seen] for u in histories}
    # Without the items that --keep-last alone cut off, a history may be as short as that.
    shortest = min(config["min_history"], config["keep_last"])
    again = selected(rest, {**config, "min_history": shortest, **NOT_WARM})
    assert again is not None
    assert histories_left(again[1], again[0]) == histories
    assert trained_on(again[1], again[0]) == trained_on(found, log)
    assert asked(again[1], again[0], "test") == asked(found, log, "test")


def prepared(path: Path, lines: list[tuple[str, str, int]], config: dict[str, Any], name: str) -> Dataset | None:
    raw = recbole_folder(path / f"{name}-raw", lines, ITEMS)
    try:
        return prepare("recbole", raw, path / name, PrepareConfig(**config))
    except (ConfigError, DataError):
        return None


@settings(deadline=None, max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(events=logs, filters=filters, split=splits, draw=st.randoms(use_true_random=False))
def test_the_order_of_rows_decides_only_the_order_of_users(
    tmp_path_factory: pytest.TempPathFactory, events: Events, filters: dict[str, Any], split: dict[str, Any], draw: Any
) -> None:
    config = {**filters, **split}
    path = tmp_path_factory.mktemp("orders")
    by_user = [[(user, item, time) for item, time in rows] for user, rows in events.items()]
    first = prepared(path, [row for rows in by_user for row in rows], config, "first")
    # Another interleaving of the users, which leaves each one's rows in their order.
    turns = [place for place, rows in enumerate(by_user) for _ in rows]
    draw.shuffle(turns)
    rest = [iter(rows) for rows in by_user]
    second = prepared(path, [next(rest[place]) for place in turns], config, "second")
    if first is None or second is None:
        assert first is second
        return
    assert histories_of(first) == histories_of(second)
    assert list(texts_of(first).items()) == list(texts_of(second).items())
    assert texts_of(first) == {item: f"Text of {item}" for item in ITEMS if item in texts_of(first)}
    assert first.training_interactions.tolist() == second.training_interactions.tolist()
    assert {**first.statistics, "history_lengths": 0} == {**second.statistics, "history_lengths": 0}


@settings(deadline=None, max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(events=logs, filters=filters, split=splits)
def test_the_same_settings_give_the_same_bytes(
    tmp_path_factory: pytest.TempPathFactory, events: Events, filters: dict[str, Any], split: dict[str, Any]
) -> None:
    path = tmp_path_factory.mktemp("bytes")
    lines = [(user, item, time) for user, rows in events.items() for item, time in rows]
    first, second = (prepared(path, lines, {**filters, **split}, name) for name in ("first", "second"))
    if first is None or second is None:
        assert first is second
        return
    names = sorted(file.name for file in first.path.iterdir())
    assert names == sorted(file.name for file in second.path.iterdir())
    assert all((first.path / name).read_bytes() == (second.path / name).read_bytes() for name in names)
