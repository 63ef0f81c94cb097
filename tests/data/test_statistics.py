"""Counts of a dataset, by hand."""

import numpy as np
import pyarrow as pa
import pytest

from small.train.runs import csr
from tcf.data.split import by_time, leave_one_out
from tcf.data.statistics import dataset_statistics

TEXTS = pa.array(["one", "two", "one", "three"], pa.large_string())


@pytest.mark.parametrize("at_once", [1, 2, 3, 4, 5, 100])
def test_repeats_are_counted_some_users_at_a_time(monkeypatch: pytest.MonkeyPatch, at_once: int) -> None:
    monkeypatch.setattr("tcf.data.statistics._AT_ONCE", at_once)
    # Two repeats of user 0, none of the others, who have the same items.
    split = leave_one_out(csr([[0, 1, 0, 0, 2], [0, 1, 2], [], [2, 1, 0], [3]]))
    assert dataset_statistics(split, TEXTS, {})["repeated_interactions"] == 2


def test_repeats_of_many_users_and_items() -> None:
    # More pairs of a user and an item than 32 bits tell apart: (65536, 0) is 2**32 after (0, 65536).
    n = (1 << 16) + 1
    split = leave_one_out(csr([[n - 1], *([item] for item in range(1, n - 1)), [0, n - 1, n - 1]]))
    texts = pa.array([str(item) for item in range(n)], pa.large_string())
    assert dataset_statistics(split, texts, {})["repeated_interactions"] == 1


@pytest.mark.parametrize("at_once", [1, 4, 100])
def test_duplicates_are_repeats_of_what_was_kept(monkeypatch: pytest.MonkeyPatch, at_once: int) -> None:
    monkeypatch.setattr("tcf.data.statistics._AT_ONCE", at_once)
    split = leave_one_out(csr([[0, 1, 1, 0], [2, 3, 2, 2], [0, 0, 0]]))
    # Of user 1 the first event duplicates one that was cut off, and the third is a repeat at another time.
    duplicates = np.array([0, 0, 1, 0, 1, 0, 0, 1, 0, 0, 1], bool)
    found = dataset_statistics(split, TEXTS, {}, duplicates=duplicates)
    assert (found["repeated_interactions"], found["duplicate_interactions"]) == (6, 3)
    assert found["targets_like_the_item_before"] == {
        "test": {"targets": 3, "equal": 2, "duplicates": 2},
        "validation": {"targets": 3, "equal": 2, "duplicates": 1},
    }
    assert dataset_statistics(split, TEXTS, {})["duplicate_interactions"] is None


def test_parts_of_a_split_by_time() -> None:
    # Validation from 10, test from 20.
    split = by_time(csr([[0, 1, 2, 3], [1, 2], [0]]), np.array([1, 10, 11, 20, 10, 20, 5]), 10, 20)
    found = dataset_statistics(split, TEXTS, {"reason": 1})
    assert {**found["split"], "kind": "any"} == {
        "kind": "any",
        "training": 2,
        "training_users": 2,
        "validation": 1,  # not the first item of user 1
        "test": 2,
        "between": 1,
        "targets_without_earlier_items": 1,
    }
    assert (found["items_without_training"], found["duplicate_texts"], found["skipped"]) == (3, 1, {"reason": 1})
