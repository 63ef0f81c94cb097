"""Paired statistics of rankings over the same users.

Shapes: N rankings, P pairs of them, S seeds of a ranking, U users.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from tcf.evaluate.intervals import are_hits
from tcf.evaluate.statistics.binomial import mcnemar, wilson
from tcf.evaluate.statistics.bootstrap import bootstrap_intervals
from tcf.evaluate.statistics.crossed import crossed_intervals
from tcf.evaluate.statistics.detectable import smallest_detectable_difference
from tcf.evaluate.statistics.sign_flip import sign_flip

__all__ = ["Draws", "PairStatistics", "intervals_of_means", "pair_statistics", "pairs_of"]


@dataclass(frozen=True)
class Draws:
    """What is drawn at random, and how sure intervals and tests are.

    Attributes:
        resamples: of the bootstrap.
        flips: of the sign-flip test.
        seed: of both.
        confidence: the probability of the intervals; 1 less this is the level of the tests.
    """

    resamples: int
    flips: int
    seed: int
    confidence: float

    @property
    def level(self) -> float:
        """How often a true null may be rejected."""
        return 1 - self.confidence


@dataclass(frozen=True)
class PairStatistics:
    """What is known of a pair of rankings by one metric.

    Attributes:
        difference: the mean of the first less that of the second.
        low: lower end of its interval.
        high: upper end.
        p: p-value of the sign-flip test over users.
        p_mcnemar: p-value of McNemar's test, if values are hits.
        error: standard error of the difference.
        users: number of users.
        crossed: whether the interval is of users crossed with seeds.
    """

    difference: float
    low: float
    high: float
    p: float
    p_mcnemar: float | None
    error: float
    users: int
    crossed: bool

    def told_apart(self, p_adjusted: float, level: float) -> bool:
        """Whether the two differ: by the corrected test over users and, with seeds, also by the interval over both."""
        return p_adjusted <= level and not (self.crossed and self.low <= 0 <= self.high)

    def detectable(self, level: float) -> float:
        """The smallest true difference that a test of this level finds with a probability of 80 %."""
        deviation = self.error * math.sqrt(self.users)
        return smallest_detectable_difference(deviation, self.users, level=level)


def pairs_of(n_rankings: int) -> list[tuple[int, int]]:
    """Return all pairs of rankings, in order.

    >>> pairs_of(3)
    [(0, 1), (0, 2), (1, 2)]
    """
    return list(combinations(range(n_rankings), 2))


def pair_statistics(values: Sequence[npt.NDArray[np.float64]], draws: Draws, *, hits: bool) -> list[PairStatistics]:
    """Compare all pairs of rankings by one metric.

    The sign-flip test pairs users: a user's difference is that of the means over each ranking's seeds. What it asks is
    whether these runs, as they are, serve users alike. Whether another training would say the same is a matter of the
    interval, which crosses users with seeds.

    Args:
        values: each user's values under each seed, (S, U), of each ranking; S is the same, or 1.
        draws: what is drawn.
        hits: whether the metric is a hit rate, for McNemar's test.
    """
    pairs = pairs_of(len(values))
    if not pairs:
        return []
    means_NU = np.stack([values_SU.mean(axis=0) for values_SU in values])
    differences_UP = np.stack([means_NU[first] - means_NU[second] for first, second in pairs], axis=1)
    p_values = sign_flip(differences_UP, flips=draws.flips, seed=draws.seed)
    ends = _intervals([values[first] - values[second] for first, second in pairs], draws)
    found = []
    for place, (first, second) in enumerate(pairs):
        low, high = ends[place]
        crossed = len(values[first]) > 1 or len(values[second]) > 1
        found.append(
            PairStatistics(
                difference=float(differences_UP[:, place].mean()),
                low=low,
                high=high,
                p=float(p_values[place]),
                p_mcnemar=_mcnemar(values[first], values[second]) if hits else None,
                error=_error(differences_UP[:, place], (low, high) if crossed else None, draws.confidence),
                users=len(differences_UP),
                crossed=crossed,
            )
        )
    return found


def intervals_of_means(
    values: Sequence[npt.NDArray[np.float64]], draws: Draws, *, hits: bool
) -> list[tuple[float, float]]:
    """Return the interval of the mean of each ranking, as evaluations have it: Wilson's where all values are hits.

    Args:
        values: each user's values under each seed, (S, U), of each ranking.
        draws: what is drawn.
        hits: whether the metric is a hit rate.
    """
    return [
        wilson(int(values_SU.sum()), values_SU.shape[1], draws.confidence)
        if hits and len(values_SU) == 1 and are_hits(values_SU)
        else ends
        for values_SU, ends in zip(values, _intervals(values, draws), strict=True)
    ]


def _intervals(values: Sequence[npt.NDArray[np.float64]], draws: Draws) -> list[tuple[float, float]]:
    """Return the intervals of means: over users where there is one seed, otherwise over users crossed with seeds.

    Args:
        values: the values to take the mean of, (S, U), all of the same users.
        draws: what is drawn.
    """
    found = np.empty((2, len(values)))
    for n_seeds in sorted({len(values_SU) for values_SU in values}):
        places = [place for place, values_SU in enumerate(values) if len(values_SU) == n_seeds]
        values_SUM = np.stack([values[place] for place in places], axis=2)
        intervals = (
            partial(bootstrap_intervals, values_SUM[0]) if n_seeds == 1 else partial(crossed_intervals, values_SUM)
        )
        found[:, places] = intervals(confidence=draws.confidence, resamples=draws.resamples, seed=draws.seed)
    return [(float(low), float(high)) for low, high in found.T]


def _error(differences_U: npt.NDArray[np.float64], crossed: tuple[float, float] | None, confidence: float) -> float:
    """The standard error over users; with seeds, that which the width of the interval would have if it were normal."""
    over_users = float(differences_U.std(ddof=1)) / math.sqrt(len(differences_U)) if len(differences_U) > 1 else 0.0
    if crossed is None:
        return over_users
    return (crossed[1] - crossed[0]) / 2 / NormalDist().inv_cdf((1 + confidence) / 2)


def _mcnemar(first_SU: npt.NDArray[np.float64], second_SU: npt.NDArray[np.float64]) -> float | None:
    """McNemar's p-value; None unless each user has a hit or none of either ranking."""
    if len(first_SU) > 1 or len(second_SU) > 1 or not (are_hits(first_SU) and are_hits(second_SU)):
        return None
    return mcnemar(int((first_SU > second_SU).sum()), int((first_SU < second_SU).sum()))
