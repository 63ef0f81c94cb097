import doctest
import math
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from tcf.common.errors import RunError
from tcf.ranking import list_metrics
from tcf.ranking.list_metrics import coverage, diversity, novelty, popularity

CUTOFFS = (1, 3, 7, 20)  # the last one is beyond the lists
N_ITEMS = 40


def lists(users: int = 600, places: int = 12) -> npt.NDArray[np.int32]:
    """Lists of distinct items, of which every fifth is shorter and some are empty."""
    rng = np.random.default_rng(4)
    items_UK = rng.permuted(np.tile(np.arange(N_ITEMS, dtype=np.int32), (users, 1)), axis=1)[:, :places]
    lengths = np.where(np.arange(users) % 5 == 0, rng.integers(0, places, users), places)
    return np.where(np.arange(places) < lengths[:, None], items_UK, -1).astype(np.int32)


def cut(row: npt.NDArray[np.int32], k: int) -> list[int]:
    return [item for item in row[:k].tolist() if item >= 0]


def mean(values: list[float]) -> float:
    return math.fsum(values) / len(values) if values else 0.0


def cosine(first: npt.NDArray[Any], second: npt.NDArray[Any]) -> float:
    lengths = math.hypot(*first.tolist()) * math.hypot(*second.tolist())
    return math.fsum((first.astype(float) * second.astype(float)).tolist()) / lengths if lengths else 0.0


def test_the_examples_in_the_docstrings_hold() -> None:
    outcome = doctest.testmod(list_metrics)
    assert outcome.attempted >= 5
    assert outcome.failed == 0


def test_coverage_item_by_item() -> None:
    items_UK = lists(4, 5)
    listed = [len({item for row in items_UK for item in cut(row, k)}) for k in CUTOFFS]
    assert listed[0] < listed[1] < listed[2] == listed[3]
    assert coverage(items_UK, CUTOFFS, N_ITEMS).tolist() == [number / N_ITEMS for number in listed]


def test_popularity_and_novelty_item_by_item() -> None:
    items_UK, rng = lists(), np.random.default_rng(5)
    counts, users = rng.integers(0, 50, N_ITEMS), rng.integers(0, 30, N_ITEMS)
    users[:3] = 0, 1, 30
    popular = [[mean([counts[item] for item in cut(row, k)]) for k in CUTOFFS] for row in items_UK]
    bits = [[mean([-math.log2(max(users[item], 1) / 30) for item in cut(row, k)]) for k in CUTOFFS] for row in items_UK]
    assert (items_UK[:, 0] < 0).sum() > 3
    assert popularity(items_UK, CUTOFFS, counts) == pytest.approx(np.array(popular), rel=1e-12)
    assert novelty(items_UK, CUTOFFS, users, 30) == pytest.approx(np.array(bits), rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("table_bytes", [2**27, 700])  # all columns of the vectors at once, or four at a time
@pytest.mark.parametrize("type", [np.float16, np.float32])
def test_diversity_pair_by_pair(monkeypatch: pytest.MonkeyPatch, table_bytes: int, type: type[Any]) -> None:
    monkeypatch.setattr(list_metrics, "_TABLE_BYTES", table_bytes)
    items_UK, vectors = lists(300), np.random.default_rng(6).normal(size=(N_ITEMS, 10)).astype(type)
    vectors[3] = 0
    vectors[4] = 2 * vectors[5]
    distances = [[1 - cosine(first, second) for second in vectors] for first in vectors]
    expected = [[mean([distances[a][b] for a, b in combinations(cut(row, k), 2)]) for k in CUTOFFS] for row in items_UK]
    found = diversity(items_UK, CUTOFFS, vectors.__getitem__)
    assert found == pytest.approx(np.array(expected), abs=1e-6)
    assert found[:, 1].std() > 0.1  # users are told apart


def test_lists_of_equal_vectors_have_no_diversity_and_of_opposite_ones_the_largest() -> None:
    vectors = np.array([[3, 4], [6, 8], [-3, -4], [0, 0]], np.float32)
    pairs = np.array([[0, 1], [0, 2], [0, 3], [0, -1], [-1, -1]], np.int32)
    assert diversity(pairs, [2], vectors.__getitem__)[:, 0] == pytest.approx([0, 2, 1, 0, 0], abs=1e-6)
    many = np.tile(np.arange(50, dtype=np.int32), (2, 1))
    equal = np.tile(np.random.default_rng(1).normal(size=300).astype(np.float32), (50, 1))
    found = diversity(many, [50], equal.__getitem__)[:, 0]
    assert found == pytest.approx([0, 0], abs=1e-6)
    assert (found >= 0).all()


def test_only_vectors_of_listed_items_are_read() -> None:
    vectors = np.ones((5, 2), np.float32)
    vectors[4] = np.nan
    assert diversity(np.array([[0, 3]], np.int32), [2], vectors.__getitem__)[0, 0] == pytest.approx(0, abs=1e-6)
    vectors[3, 1] = np.inf
    message = r"item 3: expected a vector of finite numbers, found NaN or infinity, in 2 of 3 vectors; check the cache"
    with pytest.raises(RunError, match=message):
        diversity(np.array([[0, 3, 4]], np.int32), [2], vectors.__getitem__)


def test_nobody_has_a_list() -> None:
    nothing = np.full((2, 3), -1, np.int32)
    assert coverage(nothing, [1, 3], 5).tolist() == [0, 0]
    assert popularity(nothing, [1, 3], np.ones(5, np.int64)).tolist() == [[0, 0], [0, 0]]
    assert diversity(nothing, [3], np.ones((5, 2), np.float32).__getitem__).tolist() == [[0], [0]]
