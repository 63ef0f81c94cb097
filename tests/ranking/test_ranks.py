import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from small.score_tables import table_ranker
from tcf.common.errors import RunError
from tcf.data.dataset import Histories
from tcf.data.histories import one_each
from tcf.ranking import count_ranks, faiss_ranker
from tcf.ranking.catalogue import Catalogue
from tcf.ranking.faiss_ranker import FaissRanker
from tcf.ranking.metrics import VALIDATION_METRICS, hit_rate, means, ndcg
from tcf.ranking.ranker import Ranker
from tcf.ranking.ranks import Policy, Ranks, rank_targets
from tcf.ranking.scorers import InnerProduct
from tcf.ranking.task import RankingTask

F32 = npt.NDArray[np.float32]
I64 = npt.NDArray[np.int64]


def histories_of(*users: list[int]) -> Histories:
    offsets = np.cumsum([0] + [len(u) for u in users]).astype(np.int64)
    return Histories(offsets, np.array([i for u in users for i in u], np.int32))


def ranker_of(vectors: F32, states: F32, counted: bool = False) -> Ranker:
    """A ranker by inner product: with FAISS lists, or from a table of scores, which only counting can rank."""
    return table_ranker(states @ vectors.T) if counted else FaissRanker(InnerProduct(Catalogue.build(vectors), states))


def random_seen(rng: np.random.Generator, n_users: int, n_items: int, most: int) -> Histories:
    return histories_of(*(rng.integers(0, n_items, rng.integers(0, most + 1)).tolist() for _ in range(n_users)))


def brute_force(scores_UN: npt.NDArray[np.float64], seen: Histories, targets: I64, policy: Policy) -> list[list[int]]:
    """Greater, equal and candidates of every user, one item after the other."""
    counts = []
    for user, target in enumerate(targets):
        excluded = set(seen.of(user).tolist()) - ({int(target)} if policy == "keep" else set())
        candidates = [i for i in range(scores_UN.shape[1]) if i not in excluded]
        own = scores_UN[user, target]
        greater = sum(scores_UN[user, i] > own for i in candidates)
        equal = sum(scores_UN[user, i] == own for i in candidates if i != target)
        if target in excluded:
            greater, equal = len(candidates), 0
        counts.append([int(greater), int(equal), len(candidates)])
    return counts


def as_lists(ranks: Ranks) -> list[list[int]]:
    return [list(user) for user in zip(ranks.greater, ranks.equal, ranks.candidates, strict=True)]


def to_depth(counts: list[list[int]], depth: int) -> list[list[int]]:
    return [[g, e, c] if g < depth or g == c else [depth, 0, c] for g, e, c in counts]


def product(vectors: F32, states: F32) -> npt.NDArray[np.float64]:
    return states.astype(np.float64) @ vectors.astype(np.float64).T


@pytest.mark.parametrize("counted", [False, True])
def test_by_hand(counted: bool) -> None:
    vectors = np.array([[5], [4], [4], [3], [3], [3]], np.float32)
    states = np.ones((4, 1), np.float32)
    ranker = ranker_of(vectors, states, counted)
    seen = histories_of([], [0, 0, 4], [1], [0, 1, 2, 3, 4])
    targets = np.array([3, 3, 2, 5])
    ranks = rank_targets(ranker, seen, one_each(targets))
    assert as_lists(ranks) == [[3, 2, 6], [2, 1, 4], [1, 0, 5], [0, 0, 1]]
    assert ranks.rank.tolist() == [5, 3.5, 2, 1]
    assert len(ranks) == 4


@pytest.mark.parametrize("counted", [False, True])
def test_a_target_seen_before_stays_or_is_masked(counted: bool) -> None:
    vectors = np.array([[3], [2], [1], [0]], np.float32)
    states = np.ones((2, 1), np.float32)
    ranker = ranker_of(vectors, states, counted)
    seen, targets = histories_of([1, 0, 1], [0]), np.array([1, 1])
    kept, masked = (rank_targets(ranker, seen, one_each(targets), policy=policy) for policy in ("keep", "mask"))
    assert as_lists(kept) == [[0, 0, 3], [0, 0, 3]]
    assert as_lists(masked) == [[2, 0, 2], [0, 0, 3]]
    assert masked.rank.tolist() == [3, 1]
    assert hit_rate(kept, 10).tolist() == [1, 1]
    assert hit_rate(masked, 10).tolist() == ndcg(masked, 10).tolist() == [0, 1]
    assert as_lists(rank_targets(ranker, seen, one_each(targets), policy="mask", depth=1)) == [[2, 0, 2], [0, 0, 3]]


@pytest.mark.parametrize("depth", [None, 1, 10])
def test_constant_scores_give_the_expected_value_of_chance(depth: int | None) -> None:
    rng = np.random.default_rng(0)
    catalogue = Catalogue.build(rng.standard_normal((200, 4), dtype=np.float32))
    ranker = FaissRanker(InnerProduct(catalogue, np.zeros((6, 4), np.float32)))
    seen = histories_of(*([0, 1, 2, 3, 4][:n] for n in range(6)))
    ranks = rank_targets(ranker, seen, one_each(np.arange(10, 16)), depth=depth)
    candidates = 200 - np.arange(6)
    assert ranks.equal.tolist() == (candidates - 1).tolist()
    k = depth or 10
    assert hit_rate(ranks, k) == pytest.approx(k / candidates)


def test_one_vector_for_all_items_ties_them_all() -> None:
    vectors = np.tile(np.random.default_rng(1).standard_normal((1, 64), dtype=np.float32), (3001, 1))
    ranker = ranker_of(vectors, np.random.default_rng(2).standard_normal((5, 64), dtype=np.float32))
    ranks = rank_targets(ranker, histories_of([], [0], [1, 2], [], []), one_each(np.array([0, 3000, 5, 1, 2])))
    assert as_lists(ranks) == [[0, 3000, 3001], [0, 2999, 3000], [0, 2998, 2999], [0, 3000, 3001], [0, 3000, 3001]]


@pytest.mark.parametrize("depth", [None, 10])
def test_copies_tie_exactly_wherever_they_stand(depth: int | None) -> None:
    rng = np.random.default_rng(3)
    vectors = rng.standard_normal((2049, 97), dtype=np.float32)
    copies = [0, 1, 7, 1023, 1024, 1025, 2047, 2048]
    states = rng.standard_normal((41, 97), dtype=np.float32)
    vectors[copies] = states[:1] * 3  # for user 0 these are the best of all
    states[1:] = states[0] + 0.1 * states[1:]
    ranker = ranker_of(vectors, states)
    targets = np.resize(copies, 41)
    ranks = rank_targets(ranker, histories_of(*([[copies[3]]] * 41)), one_each(targets), depth=depth)
    of_copy_3 = targets == copies[3]
    assert (ranks.greater == 0).all()
    assert ranks.equal.tolist() == np.where(of_copy_3, 7, 6).tolist()
    assert ranks.candidates.tolist() == np.where(of_copy_3, 2049, 2048).tolist()


@pytest.mark.parametrize("policy", ["keep", "mask"])
@pytest.mark.parametrize("longest", [1024, 40, 0])
def test_lists_and_counting_agree_with_brute_force(
    policy: Policy, longest: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(faiss_ranker, "LONGEST_LIST", longest)
    monkeypatch.setattr(faiss_ranker, "USERS_AT_ONCE", 17)
    monkeypatch.setattr(count_ranks, "_SCORES_AT_ONCE", 9000)
    rng = np.random.default_rng(4)
    vectors = rng.integers(-4, 5, (900, 5)).astype(np.float32)
    states = rng.integers(-4, 5, (60, 5)).astype(np.float32)
    seen, targets = random_seen(rng, 60, 900, 50), rng.integers(0, 900, 60)
    targets[:20] = [seen.of(u)[0] if len(seen.of(u)) else 0 for u in range(20)]
    expected = brute_force(product(vectors, states), seen, targets, policy)
    ranker = ranker_of(vectors, states)
    assert as_lists(rank_targets(ranker, seen, one_each(targets), policy=policy)) == expected
    shallow = rank_targets(ranker, seen, one_each(targets), policy=policy, depth=10)
    assert as_lists(shallow) == to_depth(expected, 10)


def test_ranks_to_a_depth_give_the_same_metrics_on_real_valued_scores() -> None:
    rng = np.random.default_rng(5)
    vectors = rng.standard_normal((600, 16), dtype=np.float32)
    vectors[rng.permutation(600)[:200]] = vectors[rng.integers(0, 600, 200)]
    targets = rng.integers(0, 600, 300)
    states = vectors[targets] + rng.standard_normal((300, 16), dtype=np.float32)
    ranker, seen = ranker_of(vectors, states), random_seen(rng, 300, 600, 30)
    full, shallow = (rank_targets(ranker, seen, one_each(targets), depth=depth) for depth in (None, 10))
    assert 0.2 < hit_rate(full, 10).mean() < 0.9
    assert means(shallow, VALIDATION_METRICS) == means(full, VALIDATION_METRICS)
    assert as_lists(shallow) == to_depth(as_lists(full), 10)


def test_hardly_any_user_needs_counting_for_ranks_to_a_depth(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(6)
    vectors, states = (rng.standard_normal((n, 8), dtype=np.float32) for n in (500, 50))
    counted: list[int] = []
    real = count_ranks.count_ranks

    def spy(product: InnerProduct, task: RankingTask, advance: None, only_with_targets: bool) -> tuple[I64, I64]:
        counted.extend(np.flatnonzero(task.targets.lengths).tolist())
        return real(product, task, advance, only_with_targets=only_with_targets)

    monkeypatch.setattr(faiss_ranker, "count_ranks", spy)
    seen, targets = random_seen(rng, 50, 500, 20), rng.integers(0, 500, 50)
    rank_targets(ranker_of(vectors, states), seen, one_each(targets), depth=10)
    assert counted == []
    rank_targets(ranker_of(vectors, states), seen, one_each(targets))
    assert 0 < len(counted) < 50


@pytest.mark.parametrize("policy", ["keep", "mask"])
@pytest.mark.parametrize("depth", [None, 10])
def test_every_user_is_counted_once_as_ranked(policy: Policy, depth: int | None) -> None:
    rng = np.random.default_rng(6)
    vectors, states = (rng.standard_normal((n, 8), dtype=np.float32) for n in (500, 50))
    seen, targets = random_seen(rng, 50, 500, 20), rng.integers(0, 500, 50)
    targets[:5] = [seen.of(user)[0] if len(seen.of(user)) else 7 for user in range(5)]
    told: list[int] = []
    ranker = ranker_of(vectors, states)
    rank_targets(ranker, seen, one_each(targets), policy=policy, depth=depth, advance=told.append)
    assert sum(told) == 50


@settings(max_examples=200, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    n_items=st.integers(1, 30),
    width=st.integers(1, 3),
    policy=st.sampled_from(["keep", "mask"]),
    depth=st.none() | st.integers(1, 16),
    counted=st.booleans(),
)
def test_any_small_case_equals_brute_force(
    seed: int, n_items: int, width: int, policy: Policy, depth: int | None, counted: bool
) -> None:
    rng = np.random.default_rng(seed)
    vectors = rng.integers(-2, 3, (n_items, width)).astype(np.float32)
    states = rng.integers(-2, 3, (6, width)).astype(np.float32)
    seen, targets = random_seen(rng, 6, n_items, 8), rng.integers(0, n_items, 6)
    scores = product(vectors, states)
    expected = brute_force(scores, seen, targets, policy)
    ranker = ranker_of(vectors, states, counted)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(faiss_ranker, "_LIST", 1)
        patch.setattr(faiss_ranker, "USERS_AT_ONCE", 4)
        patch.setattr(count_ranks, "_SCORES_AT_ONCE", 25)
        ranks = rank_targets(ranker, seen, one_each(targets), policy=policy, depth=depth)
    assert as_lists(ranks) == (expected if depth is None else to_depth(expected, depth))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_scores_that_are_not_finite_are_an_error(bad: float) -> None:
    table = np.ones((3, 4), np.float32)
    table[1, 2] = bad
    with pytest.raises(RunError, match="user 1: expected finite scores"):
        rank_targets(table_ranker(table), histories_of([], [], []), one_each(np.zeros(3, np.int64)))
    with pytest.raises(RunError, match="user 1: expected finite values"):
        InnerProduct(Catalogue.build(np.ones((3, 4), np.float32)), table)


def test_mistakes_are_named() -> None:
    ranker, nobody = table_ranker(np.ones((2, 3))), histories_of([], [])
    with pytest.raises(RunError, match="targets: expected one item or more for each of 2 users, found 3 items"):
        rank_targets(ranker, nobody, one_each(np.zeros(3, np.int64)))
    with pytest.raises(RunError, match="for each of 2 users, found 1 items for 1 users"):
        rank_targets(ranker, nobody, histories_of([1], []))
    with pytest.raises(RunError, match=r"targets: expected items 0\.\.2, or -1 for none of them, found 0\.\.3"):
        rank_targets(ranker, nobody, one_each(np.array([0, 3])))
    with pytest.raises(RunError, match="expected 2 users, found 1"):
        rank_targets(ranker, histories_of([]), one_each(np.zeros(2, np.int64)))
    with pytest.raises(RunError, match="depth: expected at least 1"):
        rank_targets(ranker, nobody, one_each(np.zeros(2, np.int64)), depth=0)
