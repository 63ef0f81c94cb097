import doctest
import math
from fractions import Fraction
from typing import get_args

import numpy as np
import numpy.typing as npt
import pytest

from tcf.common.errors import RunError
from tcf.config.train import Monitor
from tcf.ranking import metrics
from tcf.ranking.metrics import (
    VALIDATION_DEPTH,
    VALIDATION_METRICS,
    hit_rate,
    means,
    measured_among,
    ndcg,
    rank_metrics,
    reciprocal_rank,
)
from tcf.ranking.ranks import Ranks


def ranks_of(*users: tuple[int, int, int], depth: int | None = None) -> Ranks:
    greater, equal, candidates = np.array(users, np.int64).reshape(-1, 3).T
    return Ranks(greater, equal, candidates, depth)


def test_the_examples_in_the_docstrings_hold() -> None:
    outcome = doctest.testmod(metrics)
    assert outcome.attempted >= 7
    assert outcome.failed == 0


def test_ties_give_the_mean_over_all_their_positions() -> None:
    for greater in range(6):
        for equal in range(6):
            ranks = ranks_of((greater, equal, 12))
            positions = range(greater + 1, greater + equal + 2)
            for k in (1, 3, 5, 20):
                hits = Fraction(sum(p <= k for p in positions), equal + 1)
                gain = sum(1 / math.log2(1 + p) for p in positions if p <= k) / (equal + 1)
                assert hit_rate(ranks, k)[0] == pytest.approx(float(hits), abs=1e-15)
                assert ndcg(ranks, k)[0] == pytest.approx(gain, abs=1e-14)
            mean = sum(Fraction(1, p) for p in positions) / (equal + 1)
            assert reciprocal_rank(ranks, 10**7)[0] == pytest.approx(float(mean), abs=1e-14)


def test_constant_scores_earn_what_chance_earns() -> None:
    ranks = ranks_of((0, 999, 1000))
    assert hit_rate(ranks, 10)[0] == pytest.approx(10 / 1000)
    assert ndcg(ranks, 10)[0] == pytest.approx(sum(1 / math.log2(p + 1) for p in range(1, 11)) / 1000)
    assert ranks.rank[0] == 500.5


def test_a_million_ties() -> None:
    ranks = ranks_of((0, 10**6 - 1, 10**6), (10**6 - 1, 0, 10**6))
    euler = 0.57721566490153286
    assert reciprocal_rank(ranks, 10**7)[0] == pytest.approx((math.log(10**6) + euler + 0.5e-6) / 10**6, rel=1e-12)
    assert reciprocal_rank(ranks, 10**7)[1] == 1e-6
    assert hit_rate(ranks, 10).tolist() == [1e-5, 0]
    assert hit_rate(ranks, 10**7).tolist() == [1, 1]


def test_a_target_that_is_no_candidate_earns_nothing_even_with_fewer_candidates_than_k() -> None:
    ranks = ranks_of((4, 0, 4), (0, 0, 0))
    assert not ranks.is_candidate.any()
    for values in (hit_rate(ranks, 10), ndcg(ranks, 10), reciprocal_rank(ranks, 10)):
        assert values.tolist() == [0, 0]
    assert ranks.rank.tolist() == [5, 1]


def test_ranks_to_a_depth_give_no_metric_beyond_it() -> None:
    ranks = ranks_of((0, 1, 20), (5, 0, 20), depth=5)
    assert means(ranks, rank_metrics([5])[:2]) == {"hr@5": 0.5, "ndcg@5": pytest.approx((1 + 1 / math.log2(3)) / 4)}
    with pytest.raises(RunError, match="at most 5"):
        hit_rate(ranks, 6)
    with pytest.raises(RunError, match="at most 5"):
        ndcg(ranks, 6)
    with pytest.raises(RunError, match="expected exact ranks"):
        means(ranks, rank_metrics([5])[-1:])


def test_nothing_to_average_over_is_an_error() -> None:
    with pytest.raises(RunError, match="found none"):
        means(ranks_of(), rank_metrics([10]))
    with pytest.raises(RunError, match="at least 1, found 0"):
        hit_rate(ranks_of((0, 0, 1)), 0)


@pytest.mark.parametrize("counts", [(-1, 0, 5), (0, -1, 5), (3, 2, 5), (6, 0, 5)])
def test_counts_that_cannot_be_are_refused(counts: tuple[int, int, int]) -> None:
    with pytest.raises(RunError, match="ranks: expected counts of equal length"):
        ranks_of(counts)


def test_counts_of_different_lengths_are_refused() -> None:
    zeros: npt.NDArray[np.int64] = np.zeros(3, np.int64)
    with pytest.raises(RunError, match="ranks: expected counts of equal length"):
        Ranks(zeros, zeros[:2], zeros + 1)


def test_what_is_measured_where() -> None:
    assert [metric.name for metric in rank_metrics([10])] == ["hr@10", "ndcg@10", "mrr@10", "mrr"]
    deep = rank_metrics([1, 20], several=True)
    names = [metric.name for metric in deep]
    assert names == ["hr@1", "recall@1", "ndcg@1", "mrr@1", "hr@20", "recall@20", "ndcg@20", "mrr@20", "mrr"]
    assert [metric.name for metric in measured_among([*reversed(names), "users", "hr@", "hr", "hr@x"])] == names
    assert [(metric.name, metric.key) for metric in VALIDATION_METRICS] == [("hr@10", "hr"), ("ndcg@10", "ndcg")]
    assert [*get_args(Monitor)] == [metric.name for metric in VALIDATION_METRICS]
    assert VALIDATION_DEPTH == 10
