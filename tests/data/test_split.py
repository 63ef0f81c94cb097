"""All kinds of split, by hand and by property."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcf.common.errors import DataError
from tcf.data.histories import Histories, first_occurrences, latest, occurrences, per_user
from tcf.data.split import (
    Queries,
    Split,
    by_parts,
    by_time,
    further_targets_words,
    held_out,
    leave_one_out,
    training_counts,
    training_histories,
)


def histories(*lists: list[int]) -> Histories:
    offsets = np.cumsum([0, *map(len, lists)]).astype(np.int64)
    return Histories(offsets, np.array([item for items in lists for item in items], np.int32))


def lists_of(found: Histories) -> list[list[int]]:
    return [found.of(user).tolist() for user in range(len(found))]


def firsts(queries: Queries) -> list[int]:
    """The first target of every query."""
    return [int(queries.targets.of(place)[0]) for place in range(len(queries))]


HISTORIES = histories([0, 1, 2, 1, 3], [4, 4, 4], [2, 0, 5, 6])
LAST = leave_one_out(HISTORIES)


def test_training_leaves_the_last_two_out() -> None:
    assert lists_of(training_histories(LAST)) == [[0, 1, 2], [4], [2, 0]]


def test_short_histories_train_on_nothing() -> None:
    split = leave_one_out(histories([], [1], [1, 2], [1, 2, 3]))
    assert lists_of(training_histories(split)) == [[], [], [], [1]]
    # Only a target after an earlier item is asked about.
    test, validation = held_out(split, "test"), held_out(split, "validation")
    assert (test.users.tolist(), firsts(test), lists_of(test.earlier)) == ([2, 3], [2, 3], [[1], [1, 2]])
    assert (validation.users.tolist(), firsts(validation), lists_of(validation.earlier)) == ([3], [2], [[1]])


def test_the_test_query_sees_the_validation_item() -> None:
    queries = held_out(LAST, "test")
    assert queries.users.tolist() == [0, 1, 2]
    assert firsts(queries) == [3, 4, 6]
    assert lists_of(queries.earlier) == [[0, 1, 2, 1], [4, 4], [2, 0, 5]]


def test_the_validation_query_sees_training_items_only() -> None:
    queries = held_out(LAST, "validation")
    assert firsts(queries) == [1, 4, 5]
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
    assert split.validation.tolist() == [1, 0, 1, 1, 0, 0, 0]
    assert split.test.tolist() == [1, 1, 0, 1, 0, 1, 0]
    assert training_counts(split, 9).tolist() == [1, 2, 0, 0, 1, 2, 1, 0, 0]
    validation, test = held_out(split, "validation"), held_out(split, "test")
    assert validation.users.tolist() == [0, 2]
    assert firsts(validation) == [2, 8]
    assert lists_of(validation.earlier) == [[0, 1], [1]]
    assert test.users.tolist() == [0, 1, 3]
    assert firsts(test) == [4, 7, 0]
    # What lies between the targets is read and was not trained on.
    assert lists_of(test.earlier) == [[0, 1, 2, 3], [5, 6], [2, 3]]
    assert (len(validation), len(test)) == (2, 3)
    # The third of its validation targets and the last of its test targets are not evaluated.
    assert split.target_positions("validation").tolist() == [2, -1, 9, 10, -1, -1, -1]
    assert split.target_positions("test").tolist() == [4, 7, -1, 12, -1, 15, -1]


def test_a_refit_trains_on_all_that_is_neither_context_nor_tested() -> None:
    timed_again = timed().with_validation_in_training()
    # Of the first user also the item between the targets: its time, 15, is before the test period.
    assert lists_of(training_histories(timed_again)) == [[0, 1, 2, 3], [5, 6], [1, 8], [2, 3], [4, 5], [], []]
    assert not timed_again.validation.any()
    test, before = held_out(timed_again, "test"), held_out(timed(), "test")
    assert (test.users.tolist(), firsts(test)) == (before.users.tolist(), firsts(before))
    assert lists_of(test.earlier) == lists_of(before.earlier)
    last = LAST.with_validation_in_training()
    assert lists_of(training_histories(last)) == [[0, 1, 2, 1], [4, 4], [2, 0, 5]]
    assert training_counts(last, 8).tolist() == [2, 2, 2, 0, 2, 1, 0, 0]
    # Context, training, two for validation and two for test; context alone; validation alone.
    told = by_parts(histories([0, 1, 2, 3, 4, 5], [6], [7]), np.array([0, 1, 2, 2, 3, 3, 0, 2], np.int8))
    told = told.with_validation_in_training()
    assert lists_of(training_histories(told)) == [[1, 2, 3], [], [7]]
    assert (told.context.tolist(), told.test.tolist()) == ([1, 1, 0], [2, 0, 0])


def test_a_history_ends_with_its_test_target() -> None:
    with pytest.raises(DataError, match=r"user 1 \(counted from 0\): expected one event from 20 on, found 2"):
        by_time(histories([0], [0, 1, 2]), np.array([30, 1, 20, 21]), 10, 20)


def test_marked_events_a_user() -> None:
    marked = np.array([True, False, True, True])
    assert per_user(marked, np.array([0, 0, 3, 3, 4, 4])).tolist() == [0, 2, 0, 1, 0]
    assert per_user(marked[:0], np.array([0, 0])).tolist() == [0]


@pytest.mark.parametrize(
    ("part", "numbers", "found"),
    [
        (
            "training",
            [3, 1],
            "at most the 3 items of user 0 .*, found 0 for context, 3 for training, 0 for .*, 1 for test",
        ),
        ("context", [0, 2], "at most the 2 items of user 1 .*, found 2 for context, 0 for training"),
        ("training", [0, -1], "user 1 .*, found .* -1 for training"),
        ("test", [1], "int32 numbers of test items for 2 users, found int32 of shape 1"),
        ("validation", [True, False], "int32 numbers of validation items for 2 users, found bool of shape 2"),
        ("training", [1.0, 1.0], "int32 numbers of training items for 2 users, found float64"),
    ],
)
def test_parts_that_do_not_fit_are_refused(part: str, numbers: list[float], found: str) -> None:
    wrong = np.array(numbers)
    parts = {"context": [0, 0], "training": [0, 0], "validation": [0, 0], "test": [1, 1]}
    arrays = {name: np.array(values, np.int32) for name, values in parts.items()}
    arrays[part] = wrong.astype(np.int32) if wrong.dtype == np.int64 else wrong
    with pytest.raises(DataError, match=f"split: expected .*{found}"):
        Split(histories([0, 1, 2], [0, 1]), **arrays)


# Parts of events, by `EventPart`: 0 context, 1 training, 2 validation, 3 test.
GIVEN = {
    "all parts": ([0, 1, 2, 3, 4, 5, 6], [0, 0, 1, 1, 2, 3, 3]),
    "context only": ([7, 8], [0, 0]),
    "nothing": ([], []),
    "several validation targets, no training": ([1, 2, 3], [0, 2, 2]),
    "test only": ([3], [3]),
    "one of each": ([5, 6, 7], [1, 2, 3]),
}


def by_parts_of(cases: dict[str, tuple[list[int], list[int]]]) -> Split:
    lists, parts = zip(*cases.values(), strict=True)
    return by_parts(histories(*lists), np.array([part for row in parts for part in row], np.int8))


def test_a_given_split_by_hand() -> None:
    split = by_parts_of(GIVEN)
    assert {name: numbers.tolist() for name, numbers in split.numbers.items()} == {
        "context": [2, 2, 0, 1, 0, 0],
        "training": [2, 0, 0, 0, 0, 1],
        "validation": [1, 0, 0, 2, 0, 1],
        "test": [2, 0, 0, 0, 1, 1],
    }
    assert lists_of(training_histories(split)) == [[2, 3], [], [], [], [], [5]]
    assert training_counts(split, 9).tolist() == [0, 0, 1, 1, 0, 1, 0, 0, 0]
    # All targets of each user, after everything before the first.
    validation, test = held_out(split, "validation"), held_out(split, "test")
    assert (validation.users.tolist(), firsts(validation)) == ([0, 3, 5], [4, 2, 6])
    assert lists_of(validation.targets) == [[4], [2, 3], [6]]
    assert lists_of(held_out(split, "validation", "first").targets) == [[4], [2], [6]]
    assert lists_of(test.targets) == [[5, 6], [7]]
    assert lists_of(validation.earlier) == [[0, 1, 2, 3], [1], [5]]
    assert (test.users.tolist(), firsts(test)) == ([0, 5], [5, 7])
    assert lists_of(test.earlier) == [[0, 1, 2, 3, 4], [5, 6]]
    assert split.target_positions("validation").tolist() == [4, -1, -1, 10, -1, 14]
    assert split.target_positions("test").tolist() == [5, -1, -1, -1, 12, 15]
    assert split.event_parts().tolist() == [part for _, parts in GIVEN.values() for part in parts]


def test_a_repeated_target_is_one_target() -> None:
    split = by_parts_of({"a": ([1, 2, 3, 2, 4, 3], [1, 3, 3, 3, 3, 3]), "b": ([3, 3, 3], [1, 2, 3])})
    assert lists_of(held_out(split, "test").targets) == [[2, 3, 4], [3]]


@given(st.lists(st.lists(st.integers(0, 4), max_size=9), max_size=6))
def test_first_occurrences_one_item_after_the_other(lists: list[list[int]]) -> None:
    assert lists_of(first_occurrences(histories(*lists))) == [list(dict.fromkeys(items)) for items in lists]


def test_further_targets_are_said_not_to_be_evaluated() -> None:
    split = by_parts_of({**GIVEN, "many": ([1, 2, 3, 4, 5], [1, 3, 3, 3, 3])})
    assert further_targets_words(split, "test") == (
        "2 users have several test targets, of which the first is evaluated; 4 further ones are not"
    )
    assert further_targets_words(LAST, "test") is None


def test_the_parts_of_other_splits() -> None:
    assert leave_one_out(histories([1, 2, 3, 4], [1])).event_parts().tolist() == [1, 1, 2, 3, 2]
    # What lies between the targets has no part.
    assert timed().event_parts().tolist() == [1, 1, 2, -1, 3, 1, 1, 3, 1, 2, 2, -1, 3, 1, 1, 3]


@pytest.mark.parametrize(("parts", "user"), [([1, 1, 3, 2, 3], 2), ([2, 1, 1, 1, 1], 0), ([3, 3, 1, 1, 0], 2)])
def test_parts_in_another_order_are_refused(parts: list[int], user: int) -> None:
    with pytest.raises(
        DataError, match=rf"user {user} \(counted from 0\): expected the parts of the split in the order"
    ):
        by_parts(histories([0, 1], [], [2, 3, 4]), np.array(parts, np.int8))


@given(st.lists(st.lists(st.integers(0, 9), min_size=3, max_size=9), max_size=6), st.integers(1, 6))
def test_parts_put_together_are_the_history(lists: list[list[int]], most: int) -> None:
    split = leave_one_out(histories(*lists))
    training = lists_of(training_histories(split))
    validation, test = held_out(split, "validation"), held_out(split, "test")
    parts = zip(training, firsts(validation), firsts(test), strict=True)
    assert [[*items, second, last] for items, second, last in parts] == lists
    assert validation.users.tolist() == test.users.tolist() == list(range(len(lists)))
    assert lists_of(validation.earlier) == training
    assert lists_of(test.earlier) == [items[:-1] for items in lists]
    assert lists_of(latest(test.earlier, most)) == [items[:-1][-most:] for items in lists]
    expected = np.bincount([item for items in training for item in items], minlength=10)
    np.testing.assert_array_equal(training_counts(split, 10), expected)
