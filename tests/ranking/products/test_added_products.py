"""Products with added scores, ranked exactly: compared with the scores of all items, counted one by one."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from small.rankings import brute_force, brute_lists, copied, histories_of, pairs, random_task, same
from tcf.common.errors import RunError
from tcf.common.ragged import offsets_from
from tcf.ranking.added_scores import Added
from tcf.ranking.catalogue import Catalogue
from tcf.ranking.products.block_products import BlockShape
from tcf.ranking.products.torch_ranker import TorchRanker
from tcf.ranking.scorers import InnerProduct
from tcf.ranking.task import RankingTask

F32 = npt.NDArray[np.float32]
CPU = torch.device("cpu")
SHAPES = [None, BlockShape(7, 1000, 90), BlockShape(1000, 50, 13), BlockShape(9, 300, 300)]


@dataclass(frozen=True)
class Dense:
    """Added scores from a matrix; 0 is no added score, unless `named` says otherwise."""

    values_UN: F32
    named_UN: npt.NDArray[np.bool_]

    @property
    def n_users(self) -> int:
        return len(self.values_UN)

    @property
    def n_items(self) -> int:
        return len(self.values_UN.T)

    def of(self, users: npt.NDArray[np.int64]) -> Added:
        owner, items = np.nonzero(self.named_UN[users])
        lengths = np.bincount(owner, minlength=len(users))
        return Added(offsets_from(lengths), items.astype(np.int32), self.values_UN[users][owner, items])


def drawn(rng: np.random.Generator, n_users: int, n_items: int, values: list[float]) -> Dense:
    """About a third of the items get one of a few values, some of them 0."""
    named = rng.random((n_users, n_items)) < rng.choice([0.0, 0.3, 1.0], (n_users, 1), p=[0.2, 0.6, 0.2])
    return Dense(np.where(named, rng.choice(np.array(values, np.float32), named.shape), np.float32(0)), named)


def test_by_hand() -> None:
    vectors = np.array([[5], [4], [4], [3], [3], [3]], np.float32)
    values = np.zeros((4, 6), np.float32)
    values[0, [1, 4]] = 1, 2.5  # 5, 5, 4, 3, 5.5, 3
    values[1, [1, 2]] = -2, -1  # 5, 2, 3, 3, 3, 3
    values[2, [3, 4, 5]] = 1  # 5, 4, 4, 4, 4, 4
    added = Dense(values, values != 0)
    ranker = TorchRanker(InnerProduct(Catalogue.build(vectors), np.ones((4, 1), np.float32)), CPU, added=added)
    task = RankingTask(histories_of([[1, 3, 4], [2, 1], [5], []]), histories_of([[0], [], [4], [0]]))
    counts, lists = ranker.count_and_list(task, 3)
    assert pairs(counts) == [(1, 0), (3, 1), (0, 0), (1, 3), (5, 0), (1, 3)]
    assert lists.items_UK.tolist() == [[4, 1, 2], [0, 2, 3], [0, 1, 2], [1, 2, 3]]
    assert lists.scores_UK.tolist() == [[5.5, 5, 4], [5, 3, 3], [5, 4, 4], [4, 4, 3]]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("n_items", "k"), [(900, 10), (60, 70)])
@pytest.mark.parametrize("equal", [False, True])
def test_counts_and_lists_are_those_of_the_scores_of_all_items(
    shape: BlockShape | None, n_items: int, k: int, equal: bool
) -> None:
    rng = np.random.default_rng(4)
    vectors = rng.integers(-9, 10, (n_items, 6)).astype(np.float32)
    vectors = copied(rng, vectors) if equal else vectors + np.arange(n_items, dtype=np.float32)[:, None]
    product = InnerProduct(Catalogue.build(vectors), rng.integers(-9, 10, (40, 6)).astype(np.float32))
    assert (product.rows.n_shared > 0) == equal
    added, task = drawn(rng, 40, n_items, [-40, -0.5, 0, 0.25, 3, 20]), random_task(rng, 40, n_items, 3, 50)
    scores = product.states_UD.astype(np.float64) @ vectors.astype(np.float64).T + added.values_UN
    counts, lists = TorchRanker(product, CPU, shape, added).count_and_list(task, k)
    assert pairs(counts) == brute_force(scores, task)
    assert same(lists, brute_lists(scores, task.excluded, k))
    assert pairs(TorchRanker(product, CPU, shape, added).count(task)) == pairs(counts)
    assert same(TorchRanker(product, CPU, shape, added).lists(task.excluded, k), lists)


@settings(max_examples=120, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    n_items=st.integers(1, 40),
    width=st.integers(1, 3),
    k=st.integers(1, 12),
    shape=st.builds(BlockShape, st.integers(1, 6), st.integers(1, 50), st.integers(1, 50)),
)
def test_any_small_case_equals_brute_force(seed: int, n_items: int, width: int, k: int, shape: BlockShape) -> None:
    rng = np.random.default_rng(seed)
    vectors = rng.integers(-1, 2, (n_items, width)).astype(np.float32)
    product = InnerProduct(Catalogue.build(vectors), rng.integers(-1, 2, (4, width)).astype(np.float32))
    added, task = drawn(rng, 4, n_items, [-1, 0, 1]), random_task(rng, 4, n_items, 4, n_items)
    scores = product.states_UD.astype(np.float64) @ vectors.astype(np.float64).T + added.values_UN
    counts, lists = TorchRanker(product, CPU, shape, added).count_and_list(task, k)
    assert pairs(counts) == brute_force(scores, task)
    assert same(lists, brute_lists(scores, task.excluded, k))


@pytest.mark.parametrize("whole", [True, False])
def test_scores_are_float32_sums_of_the_products_and_what_is_added(whole: bool) -> None:
    # Products of two numbers are the same in every block; sums are rounded once.
    rng = np.random.default_rng(5)
    vectors = copied(rng, rng.standard_normal((300, 1), dtype=np.float32))
    states = rng.standard_normal((30, 1), dtype=np.float32)
    named = rng.random((30, 300)) < 0.3
    added = Dense(rng.standard_normal((30, 300), dtype=np.float32) * named, named)
    task = random_task(rng, 30, 300, 3, 20)
    scores = (states @ vectors.T) + added.values_UN
    assert scores.dtype == np.float32
    ranker = TorchRanker(
        InnerProduct(Catalogue.build(vectors), states), CPU, None if whole else BlockShape(8, 40, 16), added
    )
    counts, lists = ranker.count_and_list(task, 20)
    assert pairs(counts) == brute_force(scores, task)
    assert same(lists, brute_lists(scores, task.excluded, 20))


@pytest.mark.parametrize("shape", [None, BlockShape(16, 250, 80)])
def test_nothing_added_changes_no_bit(shape: BlockShape | None) -> None:
    rng = np.random.default_rng(6)
    vectors = copied(rng, rng.standard_normal((700, 24), dtype=np.float32))
    product = InnerProduct(Catalogue.build(vectors), rng.standard_normal((60, 24), dtype=np.float32))
    task, nothing = random_task(rng, 60, 700, 3, 20), np.zeros((60, 700), np.float32)
    counts, lists = TorchRanker(product, CPU, shape).count_and_list(task, 30)
    for named in (nothing > 0, rng.random(nothing.shape) < 0.2):
        found = TorchRanker(product, CPU, shape, Dense(nothing, named)).count_and_list(task, 30)
        assert pairs(found[0]) == pairs(counts)
        assert same(found[1], lists)


@pytest.mark.parametrize("shape", [None, BlockShape(16, 250, 80)])
def test_constant_scores_list_the_first_candidates_whatever_shares_rows(shape: BlockShape | None) -> None:
    vectors = np.random.default_rng(0).standard_normal((1500, 4), dtype=np.float32)
    vectors[[3, 700, 5, 9]] = vectors[[900, 1499, 1200, 1201]]
    named = np.zeros((20, 1500), bool)
    named[:, [3, 5, 6, 700]] = True  # by 0: they are scored by themselves, and tie with all others
    added = Dense(np.zeros((20, 1500), np.float32), named)
    product = InnerProduct(Catalogue.build(vectors), np.zeros((20, 4), np.float32))
    lists = TorchRanker(product, CPU, shape, added).lists(histories_of([[0, 2, 3], []] * 10), 5)
    assert lists.items_UK.tolist() == [[1, 4, 5, 6, 7], [0, 1, 2, 3, 4]] * 10


def test_an_item_scored_by_itself_is_listed_below_all_rows() -> None:
    product = InnerProduct(Catalogue.build(np.ones((4, 1), np.float32)), np.ones((1, 1), np.float32))
    values = np.array([[0, -3, 0, 0]], np.float32)
    lists = TorchRanker(product, CPU, added=Dense(values, values != 0)).lists(histories_of([[2]]), 4)
    assert lists.items_UK.tolist() == [[0, 3, 1, -1]]
    assert lists.scores_UK.tolist() == [[1, 1, -2, -np.inf]]


@pytest.mark.parametrize("value", [np.nan, np.inf, -2e30])
def test_an_added_score_that_float32_cannot_hold_is_refused(value: float) -> None:
    product = InnerProduct(Catalogue.build(np.eye(3, dtype=np.float32)), np.ones((2, 3), np.float32))
    values = np.array([[0, 1, 0], [0, 0, value]], np.float32)
    ranker = TorchRanker(product, CPU, added=Dense(values, values != 0))
    with pytest.raises(RunError, match=r"user 1, item 2: expected an added score from -1e30 .*, one of 1 in"):
        ranker.lists(histories_of([[], []]), 2)


def test_added_scores_of_other_users_or_items_are_refused() -> None:
    product = InnerProduct(Catalogue.build(np.eye(3, dtype=np.float32)), np.ones((2, 3), np.float32))
    for shape in ((3, 3), (2, 4)):
        nothing = np.zeros(shape, np.float32)
        with pytest.raises(RunError, match=rf"expected 2 users and 3 items, .*found {shape[0]} and {shape[1]}"):
            TorchRanker(product, CPU, added=Dense(nothing, nothing > 0))
