import math

import numpy as np
import numpy.typing as npt
import pytest

from tcf.config.evaluate import Baseline
from tcf.data.dataset import Histories
from tcf.data.histories import one_each
from tcf.data.split import Queries, held_out, leave_one_out
from tcf.evaluate.baselines.baseline import baseline
from tcf.evaluate.baselines.co_occurrence import CoOccurrence
from tcf.evaluate.baselines.popularity import Popularity
from tcf.evaluate.baselines.random_scores import Random
from tcf.ranking.metrics import hit_rate
from tcf.ranking.ranked_items import RankedItems
from tcf.ranking.ranker import Ranker
from tcf.ranking.ranks import rank_targets


def histories_of(*users: list[int]) -> Histories:
    offsets = np.cumsum([0] + [len(u) for u in users]).astype(np.int64)
    return Histories(offsets, np.array([i for u in users for i in u], np.int32))


def first_items(n_items: int) -> RankedItems:
    return RankedItems.where(np.ones(n_items, np.bool_))


def scores_of(ranker: Ranker) -> npt.NDArray[np.float32]:
    """The score of every item for every user, as its lists of all items have it, (U, N)."""
    lists = ranker.lists(histories_of(*([] for _ in range(ranker.n_users))), ranker.n_items)
    scores = np.empty((ranker.n_users, ranker.n_items), np.float32)
    np.put_along_axis(scores, lists.items_UK.astype(np.int64), lists.scores_UK, axis=1)
    return scores


def test_popularity_counts_training_interactions_only() -> None:
    histories = histories_of([0, 1, 0, 2, 3], [1, 0, 3, 3])
    assert scores_of(Popularity.learn(leave_one_out(histories), 2, 5)).tolist() == [[3, 2, 0, 0, 0]] * 2


def test_popularity_ties_are_shared_out() -> None:
    histories = histories_of([0, 1, 2], [0, 3, 4])
    queries = held_out(leave_one_out(histories), "test")
    ranker = baseline("popularity", leave_one_out(histories), queries, first_items(6))
    ranks = rank_targets(ranker, queries.earlier, queries.targets)
    assert ranks.greater.tolist() == [0, 0]
    assert ranks.equal.tolist() == [3, 3]  # items 2, 3, 4 and 5 less the one target, for both
    assert hit_rate(ranks, 1).tolist() == [0.25, 0.25]


def test_co_occurrence_by_hand() -> None:
    # Training parts: [0, 1, 2] and [2, 0]; items 3 and 4 are held out.
    histories = histories_of([0, 1, 2, 3, 4], [2, 0, 3, 4])
    earlier = histories_of([0, 1], [2])
    scores = scores_of(CoOccurrence.learn(leave_one_out(histories), earlier, 5)) / 60
    near = {(0, 1): 1, (1, 2): 1, (0, 2): 1 / 2 + 1}

    def count(first: int, second: int) -> float:
        return near.get((min(first, second), max(first, second)), 0)

    # User 0 saw item 1 last and item 0 before it; the counts of item 0 weigh half. User 1 saw item 2 last.
    expected = [[(count(1, i) + count(0, i) / 2) * 60 for i in range(5)], [count(2, i) * 60 for i in range(5)]]
    assert scores.tolist() == expected


def test_co_occurrence_reaches_five_positions_and_five_items() -> None:
    histories = histories_of([0, 1, 2, 3, 4, 5, 6, 9, 9])
    earlier = histories_of([7, 0, 8, 8, 8, 8])
    scores = scores_of(CoOccurrence.learn(leave_one_out(histories), earlier, 10)) / 3600
    assert scores[0] == pytest.approx([0, *(1 / 5 / d for d in range(1, 6)), 0, 0, 0, 0])


def test_co_occurrence_does_not_cross_users() -> None:
    histories = histories_of([0, 1, 8, 8], [2, 3, 8, 8])
    scores = scores_of(CoOccurrence.learn(leave_one_out(histories), histories_of([1], [2]), 9))
    assert np.flatnonzero(scores[0]).tolist() == [0]
    assert np.flatnonzero(scores[1]).tolist() == [3]


def test_equal_evidence_in_another_order_ties_exactly() -> None:
    # Items 10 and 11 each stand 1 to 5 positions from item 0, in five histories, the other way round.
    def history(item: int, distance: int) -> list[int]:
        return [0, *range(20, 19 + distance), item, 99, 99]

    distances = range(1, 6)
    users = [history(10, d) for d in distances] + [history(11, d) for d in reversed(distances)]
    scores = scores_of(CoOccurrence.learn(leave_one_out(histories_of(*users)), histories_of([0]), 100))[0]
    assert scores[10] == scores[11] == 60 * sum(60 // d for d in distances)


def test_random_scores_do_not_depend_on_the_block() -> None:
    scorer = Random(np.arange(30), np.arange(50), 3)
    together = scorer.scores(np.arange(30))
    assert np.array_equal(together[[7, 3, 29]], scorer.scores(np.array([7, 3, 29])))


@pytest.mark.parametrize("name", ["popularity", "co-occurrence"])
@pytest.mark.parametrize("split", ["test", "validation"])
def test_held_out_items_teach_nothing(name: Baseline, split: str) -> None:
    rng = np.random.default_rng(1)
    users = [rng.integers(0, 20, 8).tolist() for _ in range(10)]
    other = [user[:-2] + [int(i) for i in rng.integers(0, 20, 2)] for user in users]
    queries = Queries(np.arange(10), histories_of(*(user[:-2] for user in users)), one_each(np.zeros(10, np.int64)))
    first, second = (baseline(name, leave_one_out(histories_of(*u)), queries, first_items(20)) for u in (users, other))
    assert np.array_equal(scores_of(first), scores_of(second))


def test_random_scores_look_uniform_and_independent() -> None:
    scores = Random(np.arange(400), np.arange(500), 0).scores(np.arange(400)).astype(np.float64)
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
        rank_targets(baseline("random", split, queries, first_items(100), seed=seed), queries.earlier, queries.targets)
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
        ranker = baseline(name, leave_one_out(histories), queries, first_items(80))
        hits[name] = hit_rate(rank_targets(ranker, queries.earlier, queries.targets), 1).mean()
    assert hits["co-occurrence"] > 0.9
    assert hits["popularity"] < 0.1
