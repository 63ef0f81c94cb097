"""Filters, samples, warm subsets and splits of small logs, worked out by hand."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from small.data.logs import Events, asked, histories_left, log_of, trained_on
from tcf.common.errors import ConfigError, DataError
from tcf.config.prepare import PrepareConfig
from tcf.data.filters import Selected, select
from tcf.data.raw.raw_log import RawLog
from tcf.data.time_split import Periods

RAW = Path("raw")
# By the letters of items.
SPELLED = {"A": "abcd", "B": "abce", "C": "abf", "D": "dgh"}


def spelled(users: dict[str, str]) -> Events:
    return {user: [(item, time) for time, item in enumerate(items)] for user, items in users.items()}


def selected(
    events: Events, items: Sequence[str] = "abcdefgh", *, timed: bool = True, **settings: Any
) -> tuple[RawLog, Selected]:
    log = log_of(events, list(items), timed=timed)
    return log, select(log, PrepareConfig(**{"min_history": 3, "keep_last": 9, **settings}), RAW)


def test_longer_histories_are_dropped_and_counted() -> None:
    log, found = selected(spelled({**SPELLED, "E": "ab"}), max_history=3)
    assert histories_left(found, log) == {"C": ["a", "b", "f"], "D": ["d", "g", "h"]}
    assert found.dropped == {
        "users_below_min_history": 1,
        "interactions_of_dropped_users": 2,
        "users_above_max_history": 2,
        "interactions_of_users_above_max_history": 8,
        "items_never_seen": 2,  # c and e
    }


def test_every_user_is_as_likely_to_be_drawn() -> None:
    users = spelled({f"u{n}": "abc" for n in range(10)})
    drawn: Counter[str] = Counter()
    for seed in range(60):
        log, found = selected(users, sample_users=5, seed=seed)
        drawn.update(list(histories_left(found, log)))
    # 60 draws of probability 1/2 each: 30 expected, standard deviation 3.9.
    assert all(14 <= drawn[user] <= 46 for user in users)


def test_a_warm_subset_by_hand() -> None:
    log, found = selected(spelled(SPELLED), min_item_count=2)
    # e, f, g and h occur once. Without them C and D have two and one items. Without those users d occurs once.
    assert histories_left(found, log) == {"A": ["a", "b", "c"], "B": ["a", "b", "c"]}
    assert found.items.tolist() == [0, 1, 2]
    assert found.dropped == {
        "items_below_min_item_count": 5,
        "interactions_of_rare_items": 5,
        "users_short_without_rare_items": 2,
        "interactions_of_users_short_without_rare_items": 3,
    }


def test_a_subset_that_is_warm_in_training_by_hand() -> None:
    users = spelled({"A": "ababde", "B": "ababed"})
    log, found = selected(users, min_item_count=2)
    assert histories_left(found, log) == {"A": [*"ababde"], "B": [*"ababed"]}
    # d and e are only held out; without them the last a and b are.
    log, found = selected(users, min_item_count=2, min_item_count_over="training")
    assert histories_left(found, log) == {"A": [*"abab"], "B": [*"abab"]}
    assert trained_on(found, log) == {"A": ["a", "b"], "B": ["a", "b"]}
    assert found.dropped == {
        "items_below_min_item_count": 2,
        "interactions_of_rare_items": 4,
        "items_never_seen": 4,
    }


def test_the_latest_interactions_with_warm_items_are_kept() -> None:
    log, found = selected(spelled({"A": "dabce", "B": "abc", "C": "abc"}), min_item_count=2, keep_last=3)
    assert histories_left(found, log) == {user: ["a", "b", "c"] for user in "ABC"}
    # d was never among the last three; it is cut off, not too rare.
    assert found.dropped == {
        "items_below_min_item_count": 1,
        "interactions_of_rare_items": 1,
        "interactions_cut_by_keep_last": 1,
        "items_never_seen": 4,
    }


def test_a_count_of_one_is_no_filter() -> None:
    log, found = selected(spelled(SPELLED), min_item_count=1)
    assert histories_left(found, log) == {user: list(items) for user, items in SPELLED.items()}
    assert found.dropped == {}


def test_nothing_warm_is_refused() -> None:
    with pytest.raises(
        DataError, match="raw: .* kept 4 times or more, found none among 4 users; lower --min-item-count"
    ):
        selected(spelled(SPELLED), min_item_count=4)


def test_a_sample_does_not_depend_on_the_order_of_users() -> None:
    users = {f"u{n}": "abcd" for n in range(40)}
    drawn = []
    for order in (list(users), list(reversed(users))):
        log, found = selected(spelled({user: users[user] for user in order}), sample_users=12, seed=3)
        assert found.users.tolist() == sorted(found.users.tolist())
        drawn.append({log.user_ids[user].as_py() for user in found.users.tolist()})
    assert drawn[0] == drawn[1]
    assert len(drawn[0]) == 12


def test_a_warm_subset_is_one_of_the_sample() -> None:
    users = {f"u{n:02}": "efgh" if n % 3 else "abcd" for n in range(40)}
    _, sampled = selected(spelled(users), sample_users=12, seed=3)
    _, warm = selected(spelled(users), sample_users=12, seed=3, min_item_count=5)
    assert len(sampled.users) == 12
    often = [user for user in sampled.users.tolist() if user % 3]
    assert 5 <= len(often) <= 11
    assert warm.users.tolist() == often  # the other four items occur at most 12 - len(often) times
    assert 12 - len(often) < 5
    assert warm.dropped["users_not_sampled"] == 28


# Validation from 10, test from 20.
TIMED: Events = {
    "A": [("a", 1), ("b", 2), ("c", 10), ("d", 11), ("e", 20), ("f", 21), ("g", 22)],
    "B": [("a", 3), ("b", 9), ("h", 25)],
    "C": [("c", 12), ("a", 12), ("e", 19)],
    "D": [("a", 1), ("b", 20), ("c", 21), ("d", 22)],  # two items up to the target
    "E": [("b", 4), ("c", 5), ("d", 9), ("a", 10), ("e", 30)],
}
BY_TIME: dict[str, Any] = {"split": "time", "test_from": "20", "validation_from": "10"}


def test_a_split_by_time_by_hand() -> None:
    log, found = selected(TIMED, **BY_TIME)
    assert histories_left(found, log) == {"A": [*"abcde"], "B": [*"abh"], "C": [*"cae"], "E": [*"bcdae"]}
    assert trained_on(found, log) == {"A": ["a", "b"], "B": ["a", "b"], "C": [], "E": [*"bcd"]}
    # C's validation target is its first item.
    assert asked(found, log, "validation") == {"A": (["a", "b"], "c"), "E": ([*"bcd"], "a")}
    assert asked(found, log, "test") == {"A": ([*"abcd"], "e"), "B": (["a", "b"], "h"), "E": ([*"bcda"], "e")}
    assert found.dropped == {
        "users_below_min_history": 1,
        "interactions_of_dropped_users": 4,
        "interactions_after_test_target": 2,
        "items_never_seen": 2,  # f and g
    }
    assert found.periods is not None
    assert (found.periods.first, found.periods.last) == (1, 30)


def test_the_latest_items_end_with_the_test_target() -> None:
    log, found = selected(TIMED, **BY_TIME, keep_last=3)
    assert histories_left(found, log) == {"A": [*"cde"], "B": [*"abh"], "C": [*"cae"], "E": [*"dae"]}
    # A's validation target has lost its earlier items.
    assert asked(found, log, "validation") == {"E": (["d"], "a")}
    assert asked(found, log, "test")["A"] == (["c", "d"], "e")
    assert found.dropped["interactions_cut_by_keep_last"] == 4
    assert found.dropped["interactions_after_test_target"] == 2


def test_without_rare_items_the_next_event_of_the_period_is_the_target() -> None:
    events = {**TIMED, "A": [("a", 1), ("b", 2), ("c", 10), ("g", 20), ("b", 21), ("a", 22)]}
    log, found = selected(events, **BY_TIME, min_item_count=2)
    # h, g and D, who is too short, go at first, and with h B, who then has two items. In A, b takes the place of g.
    assert asked(found, log, "test") == {"A": ([*"abc"], "b"), "E": ([*"bcda"[:2], "a"], "e")}
    assert histories_left(found, log) == {"A": [*"abcb"], "C": [*"cae"], "E": [*"bcae"]}


def test_the_periods_are_those_of_the_whole_log() -> None:
    events = {
        f"u{n}": sorted([("a", 5 * n), ("b", 50), ("c", 96 + n // 5)], key=lambda event: event[1]) for n in range(20)
    }
    whole = selected(events, split="time", test_from="0.8")[1].periods
    sampled = selected(events, split="time", test_from="0.8", sample_users=15, min_item_count=2)[1]
    # Of 60 events 40 are before 96, nine of them at 55, 60, ... 95; five each are at 96 to 99. The event with 48
    # before it is at 97, that with 36 at 80.
    assert whole == sampled.periods == Periods(80, 97, 0, 99, None)
    assert len(sampled.users) == 15


def test_a_log_without_times_is_refused() -> None:
    with pytest.raises(ConfigError, match="--split: expected times in raw to split by, found none; use leave-one-out"):
        selected(TIMED, **BY_TIME, timed=False)


@pytest.mark.parametrize(
    ("events", "found"),
    [
        ({"A": [("a", 1), ("b", 2), ("c", 20)]}, "found 2 interactions, 0 and 1 users"),
        ({"A": [("a", 1), ("b", 2), ("c", 10)], "short": [("a", 30)]}, "found 2 interactions, 1 and 0 users"),
        ({"A": [("c", 10), ("b", 12), ("c", 20)], "short": [("a", 1)]}, "found 0 interactions, 0 and 1 users"),
    ],
    ids=["validation", "test", "training"],
)
def test_an_empty_part_is_refused(events: Events, found: str) -> None:
    with pytest.raises(DataError, match=f"raw: expected interactions before 10 .* from 20 on, {found}; choose"):
        selected(events, **BY_TIME)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"split": "time"}, "--split time: expected --test-from as well, found none"),
        ({"test_from": "0.9"}, "--test-from: expected --split time, found none"),
        ({"split": "given", "test_from": "0.9"}, "--test-from: expected --split time, found --split given"),
        ({"validation_from": "0.9"}, "--validation-from: expected --split time"),
        ({"min_history": 6, "max_history": 5}, r"--max-history: expected at least --min-history \(6\), found 5"),
        ({"min_item_count_over": "training"}, "--min-item-count-over: expected --min-item-count as well, found none;"),
        ({"min_item_count": 0}, "--min-item-count: expected at least 1, found 0"),
        ({"max_history": 2}, "--max-history: expected at least 3, found 2"),
    ],
)
def test_settings_that_do_not_go_together(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        PrepareConfig(**settings)


def test_a_sample_larger_than_what_is_left_names_the_filters() -> None:
    with pytest.raises(ConfigError, match="at most 2, the number of users with at least 3 .* interactions, found 3;"):
        selected(spelled(SPELLED), max_history=3, sample_users=3)
    with pytest.raises(DataError, match="at least 5 and at most 6 interactions, found none .*, raise --max-history or"):
        selected(spelled(SPELLED), min_history=5, max_history=6)
