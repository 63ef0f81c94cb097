import math

import numpy as np
import numpy.typing as npt
import pytest

from tcf.config.evaluate import Baseline
from tcf.data.dataset import Histories
from tcf.data.split import Queries, held_out, leave_one_out
from tcf.evaluate.baselines import CoOccurrence, Popularity, Random, baseline
from tcf.ranking.metrics import hit_rate
from tcf.ranking.ranks import rank_targets


def histories_of(*users: list[int]) -> Histories:
    offsets = np.cumsum([0] + [len(u) for u in users]).astype(np.int64)
    return Histories(offsets, np.array([i for u in users for i in u], np.int32))


def everyone(histories: Histories) -> npt.NDArray[np.int64]:
    return np.arange(len(histories))


def test_popularity_counts_training_interactions_only() -> None:
    histories = histories_of([0, 1, 0, 2, 3], [1, 0, 3, 3])
    scores = Popularity.learn(leave_one_out(histories), 2, 5).scores(everyone(histories))
    assert scores.tolist() == [[3, 2, 0, 0, 0]] * 2
    assert scores.dtype == np.float32


def test_popularity_ties_are_shared_out() -> None:
    histories = histories_of([0, 1, 2], [0, 3, 4])
    queries = held_out(leave_one_out(histories), "test")
    scorer = baseline("popularity", leave_one_out(histories), queries, 6)
    ranks = rank_targets(scorer, queries.earlier, queries.targets)
    assert ranks.greater.tolist() == [0, 0]
    assert ranks.equal.tolist() == [3, 3]  # items 2, 3, 4 and 5 less the one target, for both
    assert hit_rate(ranks, 1).tolist() == [0.25, 0.25]


def test_co_occurrence_by_hand() -> None:
    # Training parts: [0, 1, 2] and [2, 0]; items 3 and 4 are held out.
    histories = histories_of([0, 1, 2, 3, 4], [2, 0, 3, 4])
    earlier = histories_of([0, 1], [2])
    scores = CoOccurrence.learn(leave_one_out(histories), earlier, 5).scores(everyone(histories)) / 60
    near = {(0, 1): 1, (1, 2): 1, (0, 2): 1 / 2 + 1}

    def count(first: int, second: int) -> float:
        return near.get((min(first, second), max(first, second)), 0)

    # User 0 saw item 1 last and item 0 before it; the counts of item 0 weigh half. User 1 saw item 2 last.
    expected = [[(count(1, i) + count(0, i) / 2) * 60 for i in range(5)], [count(2, i) * 60 for i in range(5)]]
    assert scores.tolist() == expected


def test_co_occurrence_reaches_five_positions_and_five_items() -> None:
    histories = histories_of([0, 1, 2, 3, 4, 5, 6, 9, 9])
    earlier = histories_of([7, 0, 8, 8, 8, 8])
    scores = CoOccurrence.learn(leave_one_out(histories), earlier, 10).scores(np.array([0])) / 3600
    assert scores[0] == pytest.approx([0, *(1 / 5 / d for d in range(1, 6)), 0, 0, 0, 0])


def test_co_occurrence_does_not_cross_users() -> None:
    histories = histories_of([0, 1, 8, 8], [2, 3, 8, 8])
    scores = CoOccurrence.learn(leave_one_out(histories), histories_of([1], [2]), 9).scores(np.array([0, 1]))
    assert np.flatnonzero(scores[0]).tolist() == [0]
    assert np.flatnonzero(scores[1]).tolist() == [3]


def test_equal_evidence_in_another_order_ties_exactly() -> None:
    # Items 10 and 11 each stand 1 to 5 positions from item 0, in five histories, the other way round.
    def history(item: int, distance: int) -> list[int]:
        return [0, *range(20, 19 + distance), item, 99, 99]

    distances = range(1, 6)
    users = [history(10, d) for d in distances] + [history(11, d) for d in reversed(distances)]
    scorer = CoOccurrence.learn(leave_one_out(histories_of(*users)), histories_of(*([[0]] * 10)), 100)
    scores = scorer.scores(np.array([0]))[0]
    assert scores[10] == scores[11] == 60 * sum(60 // d for d in distances)


@pytest.mark.parametrize("name", ["popularity", "random", "co-occurrence"])
def test_scores_do_not_depend_on_the_block(name: Baseline) -> None:
    rng = np.random.default_rng(0)
    histories = histories_of(*(rng.integers(0, 50, n).tolist() for n in rng.integers(3, 20, 30)))
    scorer = baseline(name, leave_one_out(histories), held_out(leave_one_out(histories), "test"), 50, seed=3)
    together = scorer.scores(np.arange(30))
    assert together.shape == (30, 50)
    assert np.isfinite(together).all()
    assert np.array_equal(together[[7, 3, 29]], scorer.scores(np.array([7, 3, 29])))
    assert scorer.n_users == 30
    assert scorer.rows.n_items == 50


@pytest.mark.parametrize("name", ["popularity", "co-occurrence"])
@pytest.mark.parametrize("split", ["test", "validation"])
def test_held_out_items_teach_nothing(name: Baseline, split: str) -> None:
    rng = np.random.default_rng(1)
    users = [rng.integers(0, 20, 8).tolist() for _ in range(10)]
    other = [user[:-2] + [int(i) for i in rng.integers(0, 20, 2)] for user in users]
    queries = Queries(np.arange(10), histories_of(*(user[:-2] for user in users)), np.zeros(10, np.int64))
    first, second = (baseline(name, leave_one_out(histories_of(*u)), queries, 20) for u in (users, other))
    assert np.array_equal(first.scores(np.arange(10)), second.scores(np.arange(10)))


def test_random_scores_look_uniform_and_independent() -> None:
    scores = Random(np.arange(400), 500, 0).scores(np.arange(400)).astype(np.float64)
    assert scores.min() >= 0
    assert scores.max() < 1
    histogram = np.histogram(scores, 20, (0, 1))[0]
    assert ((histogram - 10_000) ** 2 / 10_000).sum() < 50  # chi-squared of 19 degrees; 43.8 at one in a thousand
    for matrix in (scores, scores.T):
        correlations = np.asarray(np.corrcoef(matrix))[np.triu_indices(len(matrix), 1)]
        assert np.abs(correlations.mean()) < 1e-3
        assert correlations.std() == pytest.approx(1 / math.sqrt(matrix.shape[1]), rel=0.05)


def test_random_ranks_are_uniform_and_follow_the_seed() -> None:
    histories = histories_of(*([[u % 7, 8 + u % 5, 20 + u % 3] for u in range(3000)]))
    split = leave_one_out(histories)
    queries = held_out(split, "test")
    first, again, other = (
        rank_targets(baseline("random", split, queries, 100, seed=seed), queries.earlier, queries.targets)
        for seed in (0, 0, 1)
    )
    assert np.array_equal(first.greater, again.greater)
    assert not np.array_equal(first.greater, other.greater)
    assert first.rank.mean() == pytest.approx(49.5, abs=4 * 28.3 / math.sqrt(3000))
    assert hit_rate(first, 10).mean() == pytest.approx(10 / 98, abs=4 * 0.303 / math.sqrt(3000))


def test_co_occurrence_finds_a_rule_that_popularity_cannot() -> None:
    # Item 2 i + 1 follows item 2 i; every history ends with such a pair.
    rng = np.random.default_rng(2)
    users = [np.repeat(2 * rng.permutation(40)[:4], 2) + np.tile([0, 1], 4) for _ in range(500)]
    histories = histories_of(*(u.tolist() for u in users))
    queries = held_out(leave_one_out(histories), "test")
    hits = {}
    for name in ("popularity", "co-occurrence"):
        scorer = baseline(name, leave_one_out(histories), queries, 80)
        hits[name] = hit_rate(rank_targets(scorer, queries.earlier, queries.targets), 1).mean()
    assert hits["co-occurrence"] > 0.9
    assert hits["popularity"] < 0.1
