"""Leave-one-out, by hand and by property."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tcf.data.dataset import Histories
from tcf.data.split import held_out, latest, training_counts, training_histories


def histories(*lists: list[int]) -> Histories:
    offsets = np.cumsum([0, *map(len, lists)]).astype(np.int64)
    return Histories(offsets, np.array([item for items in lists for item in items], np.int32))


def lists_of(found: Histories) -> list[list[int]]:
    return [found.of(user).tolist() for user in range(len(found))]


HISTORIES = histories([0, 1, 2, 1, 3], [4, 4, 4], [2, 0, 5, 6])


def test_training_leaves_the_last_two_out() -> None:
    assert lists_of(training_histories(HISTORIES)) == [[0, 1, 2], [4], [2, 0]]


def test_short_histories_train_on_nothing() -> None:
    assert lists_of(training_histories(histories([], [1], [1, 2], [1, 2, 3]))) == [[], [], [], [1]]


def test_the_test_query_sees_the_validation_item() -> None:
    queries = held_out(HISTORIES, "test")
    assert queries.targets.tolist() == [3, 4, 6]
    assert lists_of(queries.earlier) == [[0, 1, 2, 1], [4, 4], [2, 0, 5]]
    assert queries.targets.dtype == np.int64


def test_the_validation_query_sees_training_items_only() -> None:
    queries = held_out(HISTORIES, "validation")
    assert queries.targets.tolist() == [1, 4, 5]
    assert lists_of(queries.earlier) == lists_of(training_histories(HISTORIES))


def test_latest_keeps_the_end_and_shorter_histories_whole() -> None:
    assert lists_of(latest(HISTORIES, 4)) == [[1, 2, 1, 3], [4, 4, 4], [2, 0, 5, 6]]
    assert lists_of(latest(HISTORIES, 1)) == [[3], [4], [6]]


def test_training_counts_know_every_item_and_no_target() -> None:
    assert training_counts(HISTORIES, 8).tolist() == [2, 1, 2, 0, 1, 0, 0, 0]


@given(st.lists(st.lists(st.integers(0, 9), min_size=3, max_size=9), max_size=6), st.integers(1, 6))
def test_parts_put_together_are_the_history(lists: list[list[int]], most: int) -> None:
    whole = histories(*lists)
    training = lists_of(training_histories(whole))
    validation, test = held_out(whole, "validation"), held_out(whole, "test")
    parts = zip(training, validation.targets.tolist(), test.targets.tolist(), strict=True)
    assert [[*items, second, last] for items, second, last in parts] == lists
    assert lists_of(validation.earlier) == training
    assert lists_of(test.earlier) == [items[:-1] for items in lists]
    assert lists_of(latest(test.earlier, most)) == [items[:-1][-most:] for items in lists]
    expected = np.bincount([item for items in training for item in items], minlength=10)
    np.testing.assert_array_equal(training_counts(whole, 10), expected)
