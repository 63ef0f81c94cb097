"""Intervals and tests of hits: values of 0 or 1 for each user, as HR has without ties."""

import math
import sys
from statistics import NormalDist

import numpy as np

from tcf.common.errors import RunError
from tcf.evaluate.statistics.checks import check_at_least, check_probability

__all__ = ["mcnemar", "wilson"]


def wilson(successes: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return the score interval of a share (Wilson, Probable inference, JASA 1927), without continuity correction.

    It holds for shares near 0 and 1 too, where one of plus and minus a standard error does not. The example is row a of
    table I of Newcombe (Stat. Med. 1998).

    >>> [round(end, 4) for end in wilson(81, 263)]
    [0.2553, 0.3662]

    Args:
        successes: users with a hit.
        n: users, at least 1.
        confidence: the probability of the interval.

    Raises:
        RunError: there are no users or fewer than successes, or the confidence is not between 0 and 1.
    """
    check_at_least(1, n, "users")
    check_probability(confidence, "confidence")
    if not 0 <= successes <= n:
        raise RunError(f"successes: expected 0 to {n}, the number of users, found {successes}; count whole hits alone")
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    centre = (successes + z**2 / 2) / (n + z**2)
    half = z / (n + z**2) * math.sqrt(successes * (n - successes) / n + z**2 / 4)
    # At the borders the ends are exact: 0 and 1.
    return (0.0 if successes == 0 else centre - half), (1.0 if successes == n else centre + half)


def mcnemar(only_first: int, only_second: int) -> float:
    """Return the exact two-sided p-value of McNemar's test (Psychometrika 1947): do two rankings hit equally often?

    Only users whom one ranking alone serves tell; under the null each is the first's or the second's with probability
    1/2. p is twice the smaller binomial tail, at most 1. As every exact test of counts it rejects a true null a little
    less often than its level. Where p is smaller than any ordinary float64, the smallest one is returned, never 0.

    Of 10 such users 2 are the first's: 2 * (1 + 10 + 45) / 2^10.

    >>> round(mcnemar(2, 8), 6), round(mcnemar(8, 2), 6), mcnemar(0, 100_000) > 0
    (0.109375, 0.109375, True)

    Args:
        only_first: users with a hit of the first ranking and none of the second, at least 0.
        only_second: the other way round, at least 0.

    Raises:
        RunError: one of them is negative.
    """
    check_at_least(0, min(only_first, only_second), "users whom one ranking alone serves")
    n, few = only_first + only_second, min(only_first, only_second)
    # Terms of the tail relative to its last, from there down: C(n, i - 1) / C(n, i) = i / (n - i + 1).
    from_last = np.arange(few, 0, -1)
    relative = 1 + float(np.cumprod(from_last / (n - from_last + 1)).sum())
    log_last = math.lgamma(n + 1) - math.lgamma(few + 1) - math.lgamma(n - few + 1) - n * math.log(2)
    return min(1.0, max(sys.float_info.min, 2 * math.exp(log_last) * relative))
