import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from small.rankings import brute_force, brute_lists, copied, histories_of, pairs, random_task, same, scores_of
from tcf.common.errors import RunError
from tcf.data.histories import one_each
from tcf.ranking.catalogue import Catalogue
from tcf.ranking.faiss_ranker import FaissRanker
from tcf.ranking.products.block_products import BlockShape
from tcf.ranking.products.torch_ranker import TorchRanker
from tcf.ranking.ranks import rank_and_list
from tcf.ranking.scorers import InnerProduct
from tcf.ranking.task import RankingTask

CPU = torch.device("cpu")
SHAPES = [None, BlockShape(7, 1000, 90), BlockShape(1000, 50, 13), BlockShape(9, 300, 300)]


def test_by_hand() -> None:
    vectors = np.array([[5], [4], [4], [3], [3], [3]], np.float32)
    ranker = TorchRanker(InnerProduct(Catalogue.build(vectors), np.ones((4, 1), np.float32)), CPU)
    task = RankingTask(histories_of([[3, 0], [], [2], [5]]), histories_of([[4], [1], [1], [0, 1, 2, 3, 4]]))
    counts, lists = ranker.count_and_list(task, 3)
    assert pairs(counts) == [(3, 1), (0, 0), (1, 0), (0, 0)]
    assert lists.items_UK.tolist() == [[0, 1, 2], [0, 2, 3], [0, 2, 3], [5, -1, -1]]
    assert lists.scores_UK[3].tolist() == [3, -np.inf, -np.inf]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("n_items", "depth"), [(900, 10), (60, 70)])
def test_counts_and_lists_are_those_of_faiss_and_brute_force(
    shape: BlockShape | None, n_items: int, depth: int
) -> None:
    rng = np.random.default_rng(4)
    vectors = copied(rng, rng.integers(-9, 10, (n_items, 12)).astype(np.float32))
    product = InnerProduct(Catalogue.build(vectors), rng.integers(-9, 10, (40, 12)).astype(np.float32))
    task = random_task(rng, 40, n_items, 3, 50)
    scores = scores_of(vectors, product.states_UD)
    ranker, faiss = TorchRanker(product, CPU, shape), FaissRanker(product)
    expected, best = brute_force(scores, task), brute_lists(scores, task.excluded, depth)
    counts, lists = ranker.count_and_list(task, depth)
    assert pairs(counts) == pairs(ranker.count(task)) == pairs(faiss.count(task)) == expected
    assert same(lists, best)
    assert same(ranker.lists(task.excluded, depth), best)
    assert same(faiss.lists(task.excluded, depth), best)


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    n_items=st.integers(1, 60),
    width=st.integers(1, 3),
    k=st.integers(1, 12),
    shape=st.builds(BlockShape, st.integers(1, 6), st.integers(1, 80), st.integers(1, 80)),
)
def test_any_small_case_equals_brute_force(seed: int, n_items: int, width: int, k: int, shape: BlockShape) -> None:
    rng = np.random.default_rng(seed)
    vectors = rng.integers(-1, 2, (n_items, width)).astype(np.float32)
    product = InnerProduct(Catalogue.build(vectors), rng.integers(-1, 2, (5, width)).astype(np.float32))
    task = random_task(rng, 5, n_items, 4, n_items)
    scores = scores_of(vectors, product.states_UD)
    counts, lists = TorchRanker(product, CPU, shape).count_and_list(task, k)
    assert pairs(counts) == brute_force(scores, task)
    assert same(lists, brute_lists(scores, task.excluded, k))


@pytest.mark.parametrize("shape", [None, BlockShape(100, 700, 256)])
def test_on_real_numbers_only_what_lies_within_rounding_may_differ(shape: BlockShape | None) -> None:
    rng = np.random.default_rng(5)
    vectors = rng.standard_normal((3000, 64), dtype=np.float32)
    vectors[1000:2000] = vectors[:1000] * np.float32(1 + 1e-6)  # scores that are hard to tell apart
    product = InnerProduct(Catalogue.build(vectors), rng.standard_normal((50, 64), dtype=np.float32))
    task = random_task(rng, 50, 3000, 2, 20)
    scores = scores_of(vectors, product.states_UD)
    lengths = np.linalg.norm(product.states_UD, axis=1)[:, None] * np.linalg.norm(vectors, axis=1)
    error = 64 * 2.0**-24 * lengths  # Higham, Accuracy and Stability of Numerical Algorithms, section 3.1
    surely, perhaps = [], []
    for user in range(50):
        candidates = np.setdiff1d(np.arange(3000), task.excluded.of(user))
        for target in task.targets.of(user):
            others = candidates[candidates != target]
            room = error[user, others] + error[user, target]
            surely.append((scores[user, others] - scores[user, target] > room).sum())
            perhaps.append((scores[user, others] - scores[user, target] >= -room).sum())
    greater, equal = TorchRanker(product, CPU, shape).count(task)
    assert (np.array(surely) <= greater).all()
    assert (greater + equal <= np.array(perhaps)).all()
    assert 0 < (np.array(perhaps) - np.array(surely)).mean() < 5


def test_items_of_equal_vectors_tie_with_a_target_in_every_block() -> None:
    rng = np.random.default_rng(6)
    vectors = rng.standard_normal((500, 33), dtype=np.float32)
    vectors[100:400] = vectors[100:101]
    product = InnerProduct(Catalogue.build(vectors), rng.standard_normal((9, 33), dtype=np.float32))
    task = RankingTask(histories_of([[100, 350]] * 9), histories_of([[101, 102]] * 9))
    for shape in SHAPES:
        assert TorchRanker(product, CPU, shape).count(task)[1].tolist() == [297] * 18


@pytest.mark.parametrize("shape", [None, BlockShape(16, 250, 80)])
def test_constant_scores_list_the_first_candidates(shape: BlockShape | None) -> None:
    vectors = np.random.default_rng(0).standard_normal((1500, 4), dtype=np.float32)
    vectors[[3, 700]] = vectors[[900, 1499]]
    product = InnerProduct(Catalogue.build(vectors), np.zeros((20, 4), np.float32))
    excluded = histories_of([[0, 2, 3], []] * 10)
    lists = TorchRanker(product, CPU, shape).lists(excluded, 4)
    assert lists.items_UK.tolist() == [[1, 4, 5, 6], [0, 1, 2, 3]] * 10


def test_users_are_told_as_they_are_finished() -> None:
    rng = np.random.default_rng(7)
    product = InnerProduct(
        Catalogue.build(rng.standard_normal((90, 4), dtype=np.float32)), rng.standard_normal((33, 4), dtype=np.float32)
    )
    task, told = random_task(rng, 33, 90, 2, 5), [0]
    ranker = TorchRanker(product, CPU, BlockShape(5, 20, 20))
    ranker.count(task, told.append)
    assert sum(told) == 33
    ranker.lists(task.excluded, 3, told.append)
    assert sum(told) == 66
    assert max(told[-7:]) == 5


def test_a_target_is_at_the_place_of_its_rank_where_scores_differ_by_rounding() -> None:
    rng = np.random.default_rng(10)
    vectors = rng.standard_normal((4000, 24), dtype=np.float32)
    vectors[2000:] = vectors[:2000] * np.float32(1 + 1e-7)
    product = InnerProduct(Catalogue.build(vectors), rng.standard_normal((90, 24), dtype=np.float32))
    ranker, nobody = TorchRanker(product, CPU, BlockShape(32, 1500, 256)), histories_of([[]] * 90)
    targets = ranker.lists(nobody, 50).items_UK[:, 20]
    ranks, lists = rank_and_list(ranker, nobody, one_each(targets), 50)
    alone = ranks.equal == 0
    assert alone.sum() > 60
    assert (lists.items_UK[alone, ranks.greater[alone]] == targets[alone]).all()
    with pytest.raises(RunError, match="k: expected at least 1, found 0"):
        rank_and_list(ranker, nobody, one_each(targets), 0)


def test_the_number_of_threads_decides_nothing() -> None:
    rng = np.random.default_rng(8)
    vectors = rng.standard_normal((5000, 48), dtype=np.float32)
    product = InnerProduct(Catalogue.build(vectors), rng.standard_normal((300, 48), dtype=np.float32))
    task, threads = random_task(rng, 300, 5000, 2, 9), torch.get_num_threads()
    found = []
    try:
        for number in (1, 2, 3):
            torch.set_num_threads(number)
            found.append(TorchRanker(product, CPU, BlockShape(128, 4096, 1024)).count_and_list(task, 20))
    finally:
        torch.set_num_threads(threads)
    for counts, lists in found[1:]:
        assert pairs(counts) == pairs(found[0][0])
        assert same(lists, found[0][1])


def test_no_users_and_no_targets() -> None:
    catalogue = Catalogue.build(np.eye(3, dtype=np.float32))
    product = InnerProduct(catalogue, np.ones((2, 3), np.float32))
    greater, equal = TorchRanker(product, CPU).count(RankingTask(histories_of([[], []]), histories_of([[], []])))
    assert len(greater) == len(equal) == 0
    assert TorchRanker(product, CPU).lists(histories_of([[0, 1, 2], [1]]), 2).items_UK.tolist() == [[-1, -1], [0, 2]]


def test_a_row_whose_first_item_is_excluded_hides_no_other_row_that_ties() -> None:
    vectors = np.random.default_rng(9).standard_normal((60, 2), dtype=np.float32)
    vectors[50], vectors[2] = vectors[0], vectors[1]
    product = InnerProduct(Catalogue.build(vectors), np.zeros((1, 2), np.float32))
    assert TorchRanker(product, CPU).lists(histories_of([[0]]), 1).items_UK.tolist() == [[1]]


def test_a_target_that_ties_at_the_end_of_a_list_is_not_lost_by_rounding() -> None:
    # Added up one after another in float32, the target's products make 0; its score is computed by itself, and is 1.
    vectors = np.array([[2**24, 1, -(2**24)], *([a, 1, -a] for a in range(39))], np.float32)
    product = InnerProduct(Catalogue.build(vectors), np.ones((1, 3), np.float32))
    ranker = TorchRanker(product, CPU, BlockShape(1, 15, 15))
    counts, lists = ranker.count_and_list(RankingTask(histories_of([[0]]), histories_of([[]])), 5)
    assert pairs(counts) == [(0, 39)]
    assert lists.items_UK.tolist() == [[0, 1, 2, 3, 4]]
