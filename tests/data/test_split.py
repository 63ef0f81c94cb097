"""Both kinds of split, by hand and by property."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcf.common.errors import DataError
from tcf.data.histories import Histories, latest, occurrences
from tcf.data.split import Split, by_time, held_out, leave_one_out, per_user, training_counts, training_histories


def histories(*lists: list[int]) -> Histories:
    offsets = np.cumsum([0, *map(len, lists)]).astype(np.int64)
    return Histories(offsets, np.array([item for items in lists for item in items], np.int32))


def lists_of(found: Histories) -> list[list[int]]:
    return [found.of(user).tolist() for user in range(len(found))]


HISTORIES = histories([0, 1, 2, 1, 3], [4, 4, 4], [2, 0, 5, 6])
LAST = leave_one_out(HISTORIES)


def test_training_leaves_the_last_two_out() -> None:
    assert lists_of(training_histories(LAST)) == [[0, 1, 2], [4], [2, 0]]


def test_short_histories_train_on_nothing() -> None:
    split = leave_one_out(histories([], [1], [1, 2], [1, 2, 3]))
    assert lists_of(training_histories(split)) == [[], [], [], [1]]
    # Only a target after an earlier item is asked about.
    test, validation = held_out(split, "test"), held_out(split, "validation")
    assert (test.users.tolist(), test.targets.tolist(), lists_of(test.earlier)) == ([2, 3], [2, 3], [[1], [1, 2]])
    assert (validation.users.tolist(), validation.targets.tolist(), lists_of(validation.earlier)) == ([3], [2], [[1]])


def test_the_test_query_sees_the_validation_item() -> None:
    queries = held_out(LAST, "test")
    assert queries.users.tolist() == [0, 1, 2]
    assert queries.targets.tolist() == [3, 4, 6]
    assert lists_of(queries.earlier) == [[0, 1, 2, 1], [4, 4], [2, 0, 5]]
    assert queries.targets.dtype == np.int64


def test_the_validation_query_sees_training_items_only() -> None:
    queries = held_out(LAST, "validation")
    assert queries.targets.tolist() == [1, 4, 5]
    assert lists_of(queries.earlier) == lists_of(training_histories(LAST))


def test_latest_keeps_the_end_and_shorter_histories_whole() -> None:
    assert lists_of(latest(HISTORIES, 4)) == [[1, 2, 1, 3], [4, 4, 4], [2, 0, 5, 6]]
    assert lists_of(latest(HISTORIES, 1)) == [[3], [4], [6]]


def test_training_counts_know_every_item_and_no_target() -> None:
    assert training_counts(LAST, 8).tolist() == [2, 1, 2, 0, 1, 0, 0, 0]


def test_items_are_counted_some_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tcf.data.histories._AT_ONCE", 3)
    assert occurrences(HISTORIES.items, 8).tolist() == [2, 2, 2, 1, 3, 1, 1, 0]
    assert occurrences(np.zeros(0, np.int32), 2).tolist() == [0, 0]


# Validation from 10, test from 20: items by user with their times.
TIMED = {
    "trained, validated, read on, tested": ([0, 1, 2, 3, 4], [1, 9, 10, 15, 20]),
    "tested only": ([5, 6, 7], [3, 3, 29]),
    "validated only": ([1, 8], [9, 19]),
    "validated without an earlier item": ([2, 3, 0], [10, 10, 20]),
    "trained only": ([4, 5], [0, 9]),
    "tested without an earlier item": ([6], [20]),
    "nothing": ([], []),
}


def timed() -> Split:
    lists, times = zip(*TIMED.values(), strict=True)
    return by_time(histories(*lists), np.array([time for row in times for time in row]), 10, 20)


def test_a_split_by_time_by_hand() -> None:
    split = timed()
    assert lists_of(training_histories(split)) == [[0, 1], [5, 6], [1], [], [4, 5], [], []]
    assert split.tested.tolist() == [True, True, False, True, False, True, False]
    assert training_counts(split, 9).tolist() == [1, 2, 0, 0, 1, 2, 1, 0, 0]
    validation, test = held_out(split, "validation"), held_out(split, "test")
    assert validation.users.tolist() == [0, 2]
    assert validation.targets.tolist() == [2, 8]
    assert lists_of(validation.earlier) == [[0, 1], [1]]
    assert test.users.tolist() == [0, 1, 3]
    assert test.targets.tolist() == [4, 7, 0]
    # What lies between the targets is read and was not trained on.
    assert lists_of(test.earlier) == [[0, 1, 2, 3], [5, 6], [2, 3]]
    assert (len(validation), len(test)) == (2, 3)
    # The third of its validation targets and the last of its test targets are not evaluated.
    assert split.target_positions("validation").tolist() == [2, -1, 9, 10, -1, -1, -1]
    assert split.target_positions("test").tolist() == [4, 7, -1, 12, -1, 15, -1]


def test_a_history_ends_with_its_test_target() -> None:
    with pytest.raises(DataError, match=r"user 1 \(counted from 0\): expected one event from 20 on, found 2"):
        by_time(histories([0], [0, 1, 2]), np.array([30, 1, 20, 21]), 10, 20)


def test_marked_events_a_user() -> None:
    marked = np.array([True, False, True, True])
    assert per_user(marked, np.array([0, 0, 3, 3, 4, 4])).tolist() == [0, 2, 0, 1, 0]
    assert per_user(marked[:0], np.array([0, 0])).tolist() == [0]


@pytest.mark.parametrize(
    ("training", "tested", "found"),
    [
        ([3, 1], [True, True], "at most the 3 items of user 0 .*, found 3 for training and 1 for test"),
        ([0, -1], [True, True], "user 1 .*, found -1 for training"),
        ([1], [True, True], "int32 numbers of training items for 2 users, found int32 of shape 1;"),
        ([1, 1], [True], "bool marks of test targets for 2 users, found bool of shape 1;"),
        ([1, 1], [1, 0], "bool marks of test targets for 2 users, found int64 of shape 2;"),
        ([1.0, 1.0], [True, True], "int32 numbers of training items for 2 users, found float64"),
    ],
)
def test_parts_that_do_not_fit_are_refused(training: list[float], tested: list[bool], found: str) -> None:
    numbers = np.array(training)
    numbers = numbers.astype(np.int32) if numbers.dtype == np.int64 else numbers
    with pytest.raises(DataError, match=f"split: expected .*{found}"):
        Split(histories([0, 1, 2], [0, 1]), numbers, np.array(tested))


@given(st.lists(st.lists(st.integers(0, 9), min_size=3, max_size=9), max_size=6), st.integers(1, 6))
def test_parts_put_together_are_the_history(lists: list[list[int]], most: int) -> None:
    split = leave_one_out(histories(*lists))
    training = lists_of(training_histories(split))
    validation, test = held_out(split, "validation"), held_out(split, "test")
    parts = zip(training, validation.targets.tolist(), test.targets.tolist(), strict=True)
    assert [[*items, second, last] for items, second, last in parts] == lists
    assert validation.users.tolist() == test.users.tolist() == list(range(len(lists)))
    assert lists_of(validation.earlier) == training
    assert lists_of(test.earlier) == [items[:-1] for items in lists]
    assert lists_of(latest(test.earlier, most)) == [items[:-1][-most:] for items in lists]
    expected = np.bincount([item for items in training for item in items], minlength=10)
    np.testing.assert_array_equal(training_counts(split, 10), expected)
