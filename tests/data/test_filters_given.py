"""Filters of logs that bring a split: by hand, and against leave-one-out."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from small.data.logs import Events, asked, histories_left, log_of, trained_on
from tcf.common.errors import ConfigError, DataError
from tcf.config.prepare import PrepareConfig
from tcf.data.filters import Selected, select
from tcf.data.raw.raw_log import RawLog
from tcf.data.split import GivenSplit

RAW = Path("raw")
# Items by letter with their parts: 0 context, 1 training, 2 validation, 3 test.
GIVEN = {
    "A": ("abcdefg", "0112233"),
    "B": ("abcd", "1123"),
    "C": ("cba", "000"),
    "D": ("acb", "113"),
    "E": ("ab", "13"),
}
TIMES = {"A": [1, 5, 6, 2, 9, 5, 9], "B": [3, 4, 2, 4], "C": [1, 1, 1], "D": [9, 8, 7], "E": [1, 2]}


def selected(given: dict[str, tuple[str, str]], *, timed: bool = True, **settings: Any) -> tuple[RawLog, Selected]:
    events: Events = {user: list(zip(items, TIMES[user], strict=True)) for user, (items, _) in given.items()}
    parts = {user: [int(part) for part in parts] for user, (_, parts) in given.items()}
    log = log_of(events, "abcdefgh", timed=timed, parts=parts)
    return log, select(log, PrepareConfig(**{"min_history": 3, "keep_last": 9, **settings}), RAW)


@pytest.mark.parametrize("split", ["given", None])
def test_all_events_of_a_given_split_are_kept_with_their_parts(split: str | None) -> None:
    log, found = selected(GIVEN, split=split)
    assert histories_left(found, log) == {"A": [*"abcdefg"], "B": [*"abcd"], "C": [*"cba"], "D": [*"acb"]}
    assert trained_on(found, log) == {"A": ["b", "c"], "B": ["a", "b"], "C": [], "D": ["a", "c"]}
    assert asked(found, log, "validation") == {"A": ([*"abc"], "d"), "B": (["a", "b"], "c")}
    assert asked(found, log, "test") == {"A": ([*"abcde"], "f"), "B": ([*"abc"], "d"), "D": (["a", "c"], "b")}
    assert found.dropped == {
        "users_below_min_history": 1,
        "interactions_of_dropped_users": 2,
        "items_never_seen": 1,
    }
    # A's latest training item is of time 6, its first test target of 5; D's of 8 and 7, B's of 4 and 4.
    assert found.given == GivenSplit(trained_after_test=2)


@pytest.mark.parametrize(
    ("over", "histories"),
    [
        ("kept", {"A": [*"abcd"], "B": [*"abcd"], "C": [*"cba"], "D": [*"acb"]}),
        ("training", {"A": [*"abc"], "B": [*"abc"], "C": [*"cba"], "D": [*"acb"]}),  # d is never trained on
    ],
)
def test_rare_items_of_all_parts_or_of_training(over: str, histories: dict[str, list[str]]) -> None:
    log, found = selected(GIVEN, min_item_count=2, min_item_count_over=over)
    assert histories_left(found, log) == histories
    assert asked(found, log, "validation")["B"] == (["a", "b"], "c")


def test_without_times_nothing_is_known_of_training_after_the_test() -> None:
    assert selected(GIVEN, timed=False)[1].given == GivenSplit(None)


def test_another_split_does_not_use_that_of_the_files() -> None:
    log, found = selected(GIVEN, split="leave-one-out")
    assert asked(found, log, "test")["A"] == ([*"abcdef"], "g")
    assert found.given is None


def test_the_latest_items_are_counted_back_from_the_first_test_target() -> None:
    log, found = selected(GIVEN, keep_last=3)
    # A keeps three items up to f, and with them the second target of validation and of test.
    assert histories_left(found, log) == {"A": [*"cdefg"], "B": [*"bcd"], "C": [*"cba"], "D": [*"acb"]}
    assert asked(found, log, "test")["A"] == ([*"cde"], "f")
    assert trained_on(found, log)["A"] == ["c"]
    assert found.dropped["interactions_cut_by_keep_last"] == 3


def test_rare_items_leave_their_parts() -> None:
    log, found = selected(GIVEN, min_item_count=2)
    # e, f and g occur once: A loses a validation target and both test targets. C's items are those of others.
    assert histories_left(found, log) == {"A": [*"abcd"], "B": [*"abcd"], "C": [*"cba"], "D": [*"acb"]}
    assert asked(found, log, "validation") == {"A": ([*"abc"], "d"), "B": (["a", "b"], "c")}
    assert list(asked(found, log, "test")) == ["B", "D"]
    assert (found.dropped["items_below_min_item_count"], found.dropped["interactions_of_rare_items"]) == (3, 3)


def test_a_split_that_the_files_do_not_bring_is_refused() -> None:
    log = log_of({"A": [("a", 1), ("b", 2), ("c", 3)]}, "abc")
    with pytest.raises(
        ConfigError, match="--split given: expected files in raw that say .*, found none; .*--split-column"
    ):
        select(log, PrepareConfig(min_history=3, split="given"), RAW)


@pytest.mark.parametrize(
    ("parts", "found"),
    [
        ("0002", "found 0 events, 1 and 0 users"),
        ("1111", "found 4 events, 0 and 0 users"),
        ("3333", "found 0 events, 0 and 0 users"),
    ],
)
def test_a_split_without_training_or_targets_is_refused(parts: str, found: str) -> None:
    with pytest.raises(DataError, match=f"raw: expected a split with events for training, .* {found}; check the files"):
        selected({"B": ("abcd", parts)})


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ("1112", "no user with a test target after an earlier event, which `tcf evaluate`"),
        ("1133", "no user with a validation target after an earlier event, which `tcf train` needs"),
    ],
)
def test_a_split_without_a_part_is_warned_about(caplog: pytest.LogCaptureFixture, parts: str, said: str) -> None:
    with caplog.at_level(logging.WARNING):
        selected({"B": ("abcd", parts)})
    assert [said in record.getMessage() for record in caplog.records] == [True]


histories = st.dictionaries(
    st.sampled_from([f"u{n}" for n in range(9)]), st.lists(st.sampled_from("abcd"), min_size=2, max_size=9), min_size=4
)
filters = st.fixed_dictionaries(
    {
        "max_history": st.none() | st.integers(4, 8),
        "keep_last": st.integers(3, 6),
        "sample_users": st.none() | st.integers(1, 3),
    }
)


@settings(deadline=None, max_examples=40)
@given(histories, filters, st.none() | st.integers(1, 5))
def test_one_target_for_each_part_is_leave_one_out(
    users: dict[str, list[str]], filters: dict[str, Any], fewest: int | None
) -> None:
    events: Events = {user: [(item, time) for time, item in enumerate(items)] for user, items in users.items()}
    parts = {user: [1] * (len(items) - 2) + [2, 3] for user, items in users.items()}
    config = PrepareConfig(min_history=3, **filters, min_item_count=fewest)
    found: list[Selected | type[Exception]] = []
    for log in (log_of(events, "abcde"), log_of(events, "abcde", parts=parts)):
        try:
            found.append(select(log, config, RAW))
        except (ConfigError, DataError) as error:
            found.append(type(error))
    by_rule, given = found
    if not isinstance(by_rule, Selected):
        assert given is by_rule or by_rule is DataError  # rare items may leave a given split without a target
        return
    if by_rule.dropped.get("items_below_min_item_count"):
        return  # the next item is then the target of leave-one-out, and none is of a given split
    assert isinstance(given, Selected)
    assert given.dropped == by_rule.dropped
    np.testing.assert_array_equal(given.users, by_rule.users)
    np.testing.assert_array_equal(given.items, by_rule.items)
    np.testing.assert_array_equal(given.split.histories.items, by_rule.split.histories.items)
    np.testing.assert_array_equal(given.split.histories.offsets, by_rule.split.histories.offsets)
    for name, numbers in by_rule.split.numbers.items():
        np.testing.assert_array_equal(given.split.numbers[name], numbers)
