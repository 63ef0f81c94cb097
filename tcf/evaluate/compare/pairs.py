"""Paired statistics of rankings over the same users.

Shapes: N rankings, P pairs of them, S seeds of a ranking, U users.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from tcf.evaluate.intervals import Interval, are_hits
from tcf.evaluate.statistics.binomial import mcnemar, wilson
from tcf.evaluate.statistics.bootstrap import bootstrap_intervals
from tcf.evaluate.statistics.crossed import crossed_statistics
from tcf.evaluate.statistics.detectable import smallest_detectable_difference
from tcf.evaluate.statistics.sign_flip import sign_flip

__all__ = ["Draws", "PairStatistics", "metric_statistics", "pairs_of"]


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
        return round(1 - self.confidence, 12)  # 0.05 of 0.95, not a little more

    def too_few(self, tests: int, *, crossed: bool) -> str:
        """Say so if the smallest p-value of these draws is above the level once adjusted; empty if it is not.

        Args:
            tests: number of tests that are adjusted together.
            crossed: whether resamples decide a p-value as well as flips do.
        """
        fewest = min(self.flips, self.resamples) if crossed else self.flips
        if tests <= self.level * (fewest + 1):
            return ""
        return (
            f"nothing can be told apart: p is at least 1 / {fewest + 1:,}, and {tests:,} tests together ask for "
            f"{self.level / tests:.2g}; give at least {math.ceil(tests / self.level) - 1:,} flips"
            + (" and resamples" if crossed else "")
        )


@dataclass(frozen=True)
class PairStatistics:
    """What is known of a pair of rankings by one metric.

    Attributes:
        difference: the mean of the first less that of the second.
        low: lower end of its interval.
        high: upper end.
        p: p-value of the sign-flip test over users.
        p_mcnemar: p-value of McNemar's test, if values are hits.
        p_seeds: p-value over users crossed with seeds; None where both have one seed.
        error: standard error of the difference.
        users: number of users.
    """

    difference: float
    low: float
    high: float
    p: float
    p_mcnemar: float | None
    p_seeds: float | None
    error: float
    users: int

    @property
    def p_of_both(self) -> float:
        """The p-value that decides: two settings differ if both tests say so, those over users and over seeds, too."""
        return max(self.p, self.p_seeds or 0.0)

    def detectable(self, level: float) -> float | None:
        """The smallest true difference that a test of this level finds with a probability of 80 %.

        None where all users have the same difference: how far others would be from it cannot be told.
        """
        if not self.error:
            return None
        deviation = self.error * math.sqrt(self.users)
        return smallest_detectable_difference(deviation, self.users, level=level)


def pairs_of(n_rankings: int) -> list[tuple[int, int]]:
    """Return all pairs of rankings, in order.

    >>> pairs_of(3)
    [(0, 1), (0, 2), (1, 2)]
    """
    return list(combinations(range(n_rankings), 2))


def metric_statistics(
    values: Sequence[npt.NDArray[np.float64]], draws: Draws, *, hits: bool
) -> tuple[list[PairStatistics], list[Interval]]:
    """Compare all pairs of rankings by one metric; return what is known of each, and the intervals of the means.

    The sign-flip test pairs users: a user's difference is that of the means over each ranking's seeds. What it asks is
    whether these runs, as they are, serve users alike. Whether another training would say the same is a matter of the
    interval and the second p-value, which cross users with seeds. Means have the intervals of their evaluations:
    Wilson's where all values are hits.

    Args:
        values: each user's values under each seed, (S, U), of each ranking; S is the same, or 1.
        draws: what is drawn.
        hits: whether the metric is a hit rate, for the intervals of Wilson and the test of McNemar.
    """
    pairs = pairs_of(len(values))
    differences = [values[first] - values[second] for first, second in pairs]
    ends, p_seeds = _intervals([*differences, *values], draws)
    differences_UP = np.stack([values_SU.mean(axis=0) for values_SU in differences], axis=1)
    p_values = sign_flip(differences_UP, flips=draws.flips, seed=draws.seed)
    of_means = [
        wilson(int(values_SU.sum()), values_SU.shape[1], draws.confidence)
        if hits and _are_sure(values_SU)
        else interval
        for values_SU, interval in zip(values, ends[len(pairs) :], strict=True)
    ]
    found = [
        _pair(values_SU, interval, float(p), _mcnemar(values[first], values[second]) if hits else None, p_both, draws)
        for (first, second), values_SU, interval, p, p_both in zip(
            pairs, differences, ends, p_values, p_seeds, strict=False
        )
    ]
    return found, of_means


def _pair(
    differences_SU: npt.NDArray[np.float64],
    interval: Interval,
    p: float,
    p_mcnemar: float | None,
    p_seeds: float | None,
    draws: Draws,
) -> PairStatistics:
    n_seeds, n_users = differences_SU.shape
    deviation = float(differences_SU[0].std(ddof=1)) if np.ptp(differences_SU) else 0.0  # free of rounding
    error = deviation / math.sqrt(n_users)
    if n_seeds > 1:  # that which the width of the interval would have if it were normal
        error = (interval[1] - interval[0]) / 2 / NormalDist().inv_cdf((1 + draws.confidence) / 2)
    return PairStatistics(
        difference=float(differences_SU.mean()),
        low=interval[0],
        high=interval[1],
        p=p,
        p_mcnemar=p_mcnemar,
        p_seeds=p_seeds,
        error=error,
        users=n_users,
    )


def _intervals(values: Sequence[npt.NDArray[np.float64]], draws: Draws) -> tuple[list[Interval], list[float | None]]:
    """Return the intervals of means: over users where there is one seed, otherwise over users crossed with seeds.

    With the latter come the p-values of means of 0.

    Args:
        values: the values to take the mean of, (S, U), all of the same users.
        draws: what is drawn.
    """
    found = np.empty((2, len(values)))
    p_seeds: list[float | None] = [None] * len(values)
    for n_seeds in sorted({len(values_SU) for values_SU in values}):
        places = [place for place, values_SU in enumerate(values) if len(values_SU) == n_seeds]
        values_SUM = np.stack([values[place] for place in places], axis=2)
        if n_seeds == 1:
            found[:, places] = bootstrap_intervals(
                values_SUM[0], confidence=draws.confidence, resamples=draws.resamples, seed=draws.seed
            )
            continue
        found[:, places], p_values = crossed_statistics(
            values_SUM, confidence=draws.confidence, resamples=draws.resamples, seed=draws.seed
        )
        for place, p in zip(places, p_values.tolist(), strict=True):
            p_seeds[place] = p
    return [(float(low), float(high)) for low, high in found.T], p_seeds


def _mcnemar(first_SU: npt.NDArray[np.float64], second_SU: npt.NDArray[np.float64]) -> float | None:
    """McNemar's p-value; None unless each user has a hit or none of either ranking."""
    if not (_are_sure(first_SU) and _are_sure(second_SU)):
        return None
    return mcnemar(int((first_SU > second_SU).sum()), int((first_SU < second_SU).sum()))


def _are_sure(values_SU: npt.NDArray[np.float64]) -> bool:
    """Whether there is one seed, and each user has a hit or none."""
    return len(values_SU) == 1 and are_hits(values_SU)
