import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tcf.common.errors import RunError
from tcf.data.dataset import Histories
from tcf.ranking import faiss_ranker
from tcf.ranking.catalogue import Catalogue
from tcf.ranking.faiss_ranker import FaissRanker
from tcf.ranking.ranked_lists import RankedLists
from tcf.ranking.ranker import DenseRanker, Ranker, top_k
from tcf.ranking.scorers import InnerProduct


def histories_of(*users: list[int]) -> Histories:
    offsets = np.cumsum([0] + [len(u) for u in users]).astype(np.int64)
    return Histories(offsets, np.array([i for u in users for i in u], np.int32))


def brute_force(
    vectors: npt.NDArray[np.float32], states: npt.NDArray[np.float32], seen: Histories, k: int
) -> RankedLists:
    """By sorting all candidates of one user after the other, in float64."""
    lists = RankedLists.empty(len(states), k)
    for user, state in enumerate(states):
        scores = vectors.astype(np.float64) @ state.astype(np.float64)
        candidates = [item for item in range(len(vectors)) if item not in seen.of(user)]
        best = sorted(candidates, key=lambda item: (-scores[item], item))[:k]
        lists.items_UK[user, : len(best)] = best
        lists.scores_UK[user, : len(best)] = scores[best]
    return lists


def ranker_of(vectors: npt.NDArray[np.float32], states: npt.NDArray[np.float32]) -> Ranker:
    return FaissRanker(InnerProduct(Catalogue.build(vectors), states))


def assert_same(ours: RankedLists, expected: RankedLists) -> None:
    assert np.array_equal(ours.items_UK, expected.items_UK)
    assert np.array_equal(ours.scores_UK, expected.scores_UK)
    assert ours.items_UK.dtype == np.int32
    assert ours.scores_UK.dtype == np.float32


def test_by_hand() -> None:
    catalogue = Catalogue.build(np.array([[1], [3], [2], [3], [0]], np.float32))
    lists = top_k(
        FaissRanker(InnerProduct(catalogue, np.array([[2], [-1]], np.float32))), histories_of([1, 1], [4, 0]), 3
    )
    assert lists.items_UK.tolist() == [[3, 2, 0], [2, 1, 3]]
    assert lists.scores_UK.tolist() == [[6, 4, 2], [-2, -3, -3]]


def test_all_scores_of_few_users_are_in_memory_where_many_items_share_a_vector() -> None:
    product = InnerProduct(Catalogue.build(np.ones((2**21, 1), np.float32)), np.ones((3, 1), np.float32))
    told: list[int] = []
    lists = top_k(DenseRanker(product), histories_of([0], [1], []), 2, told.append)
    assert told == [2, 1]
    assert lists.items_UK.tolist() == [[1, 2], [0, 2], [0, 1]]


def test_fewer_candidates_than_places() -> None:
    catalogue = Catalogue.build(np.array([[1], [1], [2]], np.float32))
    lists = top_k(
        FaissRanker(InnerProduct(catalogue, np.ones((3, 1), np.float32))), histories_of([0], [0, 1, 2], []), 5
    )
    assert lists.items_UK.tolist() == [[2, 1, -1, -1, -1], [-1] * 5, [2, 0, 1, -1, -1]]
    assert lists.scores_UK[0].tolist() == [2, 1, -np.inf, -np.inf, -np.inf]


def test_constant_scores_list_the_first_unseen_items() -> None:
    vectors = np.random.default_rng(0).standard_normal((500, 4), dtype=np.float32)
    lists = top_k(ranker_of(vectors, np.zeros((2, 4), np.float32)), histories_of([0, 2], []), 4)
    assert lists.items_UK.tolist() == [[1, 3, 4, 5], [0, 1, 2, 3]]


def test_ties_at_the_edge_of_a_search_are_listed_by_item_not_by_row() -> None:
    # Vectors that several items share are searched first, though the items of the others come before them.
    vectors = np.concatenate([np.arange(10), np.repeat(np.arange(10, 20), 2)]).astype(np.float32)[:, None]
    lists = top_k(ranker_of(vectors, np.zeros((2, 1), np.float32)), histories_of([], [1]), 3)
    assert lists.items_UK.tolist() == [[0, 1, 2], [0, 2, 3]]


def test_scores_without_ties_need_no_second_look(monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at: list[int] = []
    monkeypatch.setattr(faiss_ranker, "place_best_of_all", lambda *arguments: looked_at.append(len(arguments[3])))
    rng = np.random.default_rng(4)
    vectors, states = (rng.standard_normal((n, 8), dtype=np.float32) for n in (300, 20))
    best = np.argsort(-states @ vectors.T, axis=1)
    seen = histories_of(*(best[user, : user % 8].tolist() for user in range(20)))
    lists = top_k(ranker_of(vectors, states), seen, 5)
    assert looked_at == []
    assert lists.items_UK.tolist() == [best[user, user % 8 :][:5].tolist() for user in range(20)]


def test_random_vectors_with_copies_across_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faiss_ranker, "USERS_AT_ONCE", 13)
    rng = np.random.default_rng(2)
    vectors = rng.integers(-3, 4, (700, 6)).astype(np.float32)
    vectors[rng.permutation(700)[:300]] = vectors[rng.integers(0, 700, 300)]
    states = rng.integers(-3, 4, (40, 6)).astype(np.float32)
    seen = histories_of(*(rng.integers(0, 700, n).tolist() for n in rng.integers(0, 60, 40)))
    assert_same(top_k(ranker_of(vectors, states), seen, 7), brute_force(vectors, states, seen, 7))


def test_a_user_who_has_seen_nearly_all() -> None:
    rng = np.random.default_rng(3)
    vectors = rng.integers(-9, 10, (1500, 8)).astype(np.float32)
    states = rng.integers(-9, 10, (3, 8)).astype(np.float32)
    seen = histories_of(rng.permutation(1500)[:1497].tolist(), [5], [])
    assert_same(top_k(ranker_of(vectors, states), seen, 4), brute_force(vectors, states, seen, 4))


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 2**32), n_items=st.integers(1, 14), width=st.integers(1, 3), k=st.integers(1, 16))
def test_any_small_case_equals_brute_force(seed: int, n_items: int, width: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    vectors = rng.integers(-2, 3, (n_items, width)).astype(np.float32)
    states = rng.integers(-2, 3, (5, width)).astype(np.float32)
    seen = histories_of(*(rng.integers(0, n_items, rng.integers(0, 6)).tolist() for _ in range(5)))
    expected = brute_force(vectors, states, seen, k)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(faiss_ranker, "USERS_AT_ONCE", 2)
        patch.setattr(faiss_ranker, "LONGEST_LIST", int(rng.integers(1, 15)))
        assert_same(top_k(ranker_of(vectors, states), seen, k), expected)


def test_mistakes_are_named() -> None:
    catalogue = Catalogue.build(np.ones((3, 2), np.float32))
    states, nobody = np.ones((2, 2), np.float32), histories_of([], [])
    ranker = FaissRanker(InnerProduct(catalogue, states))
    with pytest.raises(RunError, match="k: expected at least 1"):
        top_k(ranker, nobody, 0)
    with pytest.raises(RunError, match="expected width 2, .* found 3"):
        InnerProduct(catalogue, np.ones((2, 3), np.float32))
    with pytest.raises(RunError, match="expected 2 users, found 1"):
        top_k(ranker, histories_of([]), 1)
    with pytest.raises(RunError, match=r"expected items 0\.\.2, found 0\.\.3"):
        top_k(ranker, histories_of([0], [3]), 1)
    states[1, 0] = np.nan
    with pytest.raises(RunError, match="user 1: expected finite values, .* in 1 of 2"):
        InnerProduct(catalogue, states)


def test_scores_beyond_float32_are_an_error() -> None:
    catalogue = Catalogue.build(np.full((2, 2), 1e30, np.float32))
    states = np.array([[1, 1], [1e30, -1e30]], np.float32)
    with pytest.raises(RunError, match="user 1: expected scores within float32"):
        InnerProduct(catalogue, states)
