"""What users have had besides their kept histories."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from small.data.logs import Events, log_of, seen_by
from small.train.runs import csr
from tcf.common.errors import DataError
from tcf.config.prepare import PrepareConfig
from tcf.data.filters import select
from tcf.data.seen import SeenItems, distinct_items, renumbered

RAW = Path("raw")
# Validation from 10, test from 20.
TIMED: Events = {
    "A": [("a", 1), ("b", 2), ("a", 3), ("c", 10), ("d", 11), ("e", 20), ("b", 21), ("x", 22), ("b", 23)],
    "B": [("a", 3), ("b", 9), ("e", 25)],
    "C": [("c", 12), ("a", 12), ("e", 19), ("d", 20), ("c", 21)],
    "D": [("a", 1), ("b", 2), ("c", 11)],
}
BY_TIME = {"split": "time", "test_from": "20", "validation_from": "10"}


def seen(settings: dict[str, Any], events: Events = TIMED) -> dict[str, tuple[str, str]]:
    log = log_of(events, list("abcdex"))
    return seen_by(select(log, PrepareConfig(**{"min_history": 3, **settings}), RAW), log)


def test_what_keep_last_cuts_off_is_had_earlier() -> None:
    assert seen({"keep_last": 3}) == {"A": ("abcde", ""), "B": ("", ""), "C": ("ac", ""), "D": ("", "")}
    assert seen({"keep_last": 4}) == {"A": ("abcd", ""), "B": ("", ""), "C": ("c", ""), "D": ("", "")}
    assert seen({"keep_last": 9}) == dict.fromkeys("ABCD", ("", ""))


def test_what_follows_the_test_target_is_had_too() -> None:
    # x is in no kept history, so it is an item of the dataset only if such items are kept.
    assert seen({**BY_TIME, "keep_last": 3}) == {"A": ("ab", "b"), "B": ("", ""), "C": ("c", "c"), "D": ("", "")}
    unseen = {**BY_TIME, "keep_last": 9, "keep_unseen_items": True}
    assert seen(unseen) == {"A": ("", "bx"), "B": ("", ""), "C": ("", "c"), "D": ("", "")}


@pytest.mark.parametrize(("unseen", "earlier"), [(False, "a"), (True, "acx")])
def test_rare_items_are_none_of_the_dataset(unseen: bool, earlier: str) -> None:
    events = {user: [(item, 0) for item in items] for user, items in {"A": "dcxabebd", "B": "abe", "C": "dabe"}.items()}
    found = seen({"keep_last": 3, "min_item_count": 2, "keep_unseen_items": unseen}, events)
    assert found == {"A": (earlier, ""), "B": ("", ""), "C": ("", "")}  # d is kept once


def test_what_is_cut_off_a_given_split_is_had_earlier() -> None:
    events = {"A": [(item, 0) for item in "abacde"], "B": [("b", 1), ("a", 1)]}
    # Two context events, then training, a validation target and two test targets; of B the second is a test target.
    log = log_of(events, list("abcdex"), parts={"A": [0, 0, 1, 2, 3, 3], "B": [1, 3]})
    found = select(log, PrepareConfig(min_history=1, keep_last=3), RAW)
    assert seen_by(found, log) == {"A": ("ab", ""), "B": ("", "")}


@settings(deadline=None, max_examples=40)
@given(
    log=st.lists(st.tuples(*[st.lists(st.integers(0, 6), max_size=5)] * 2), max_size=6),
    at_once=st.integers(1, 9),
)
def test_distinct_items_of_several_parts(log: list[tuple[list[int], list[int]]], at_once: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tcf.data.seen._AT_ONCE", at_once)
        found = distinct_items(csr([first for first, _ in log]), csr([second for _, second in log]))
    assert [found.of(user).tolist() for user in range(len(found))] == [sorted({*a, *b}) for a, b in log]
    assert (str(found.items.dtype), str(found.offsets.dtype)) == ("int32", "int64")


def test_distinct_items_of_more_pairs_than_32_bits_tell_apart() -> None:
    n = (1 << 16) + 1
    rows = [[n - 1], *([0] for _ in range(n - 2)), [0, n - 1, n - 1]]
    found = distinct_items(csr(rows))
    assert (found.of(0).tolist(), found.of(n - 1).tolist(), len(found.items)) == ([n - 1], [0, n - 1], n + 1)


def test_renumbered_items() -> None:
    found = renumbered(csr([[2, 0, 1], [1], [], [0, 0]]), np.array([5, -1, 0], np.int32))
    assert [found.of(user).tolist() for user in range(4)] == [[0, 5], [], [], [5, 5]]


@pytest.mark.parametrize(
    ("earlier", "others", "message"),
    [
        ([[0], [1, 1]], [[], []], r"distinct and rising items of each user \(earlier\), found others of user 1"),
        ([[], []], [[], [2, 1]], r"distinct and rising items of each user \(others\), found others of user 1"),
        ([[0], [0]], [[0]], "both parts of the same users, found 2 and 1"),
    ],
)
def test_seen_items_of_another_form(earlier: list[list[int]], others: list[list[int]], message: str) -> None:
    assert len(SeenItems(csr([[], [3, 4], [0], [], [2]]), csr([[1], [0, 2], [], [], [1]]))) == 5
    with pytest.raises(DataError, match=message):
        SeenItems(csr(earlier), csr(others))
