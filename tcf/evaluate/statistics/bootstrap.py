"""Intervals of means over users by the bootstrap.

Users are resampled with Poisson weights (Hanley and MacGibbon, Creating non-parametric bootstrap samples using Poisson
frequencies, Comput. Methods Programs Biomed. 2006; Chamandy, Muralidharan, Najmi and Naidu, Estimating uncertainty for
massive data streams, 2012): in a resample each user counts 0, 1, 2, ... times, independently by Poisson's
distribution of mean 1, and a mean is divided by the sum of the weights. Given that sum, this is drawing users with
replacement. Weights need no draw that depends on another user, come from a table, 16 random bits each (probabilities
are multiples of 2^-16), and weight all columns in one matrix product.

Users are taken in groups of 1,024. Up to 16 groups, every resample has its own weights throughout. Beyond, the weighted
sums of a group are drawn 1,024 times, and each resample takes one of them at random, for each group anew. A resample
alone is the same as before, and two of them share the weights of one user in 1,024. So 10,000 are worth nearly as much
as independent ones, for a tenth of the draws; at worst, where one group has all the variance, as much as 1,024. What
the draws of a group have in common, the difference between their mean and its known expected value, is subtracted (as
by Efron, More efficient bootstrap computations, JASA 1990).
"""

import numpy as np
import numpy.typing as npt

from tcf.common.random_streams import RandomStream, generator
from tcf.evaluate.statistics.checks import check_at_least, check_probability, check_values
from tcf.evaluate.statistics.exact_sums import DRAWS_AT_ONCE, weighted_sums, whole_units
from tcf.ranking.catalogue import blocks

__all__ = ["RESAMPLES", "bootstrap_intervals", "bootstrap_means"]

RESAMPLES = 10_000

_GROUP = 1024  # users
_FEW_GROUPS = 16
_SHARED_DRAWS = 1024
_WORD = 2**16
_WEIGHTS_A_DRAW = 4  # 64 random bits hold four words


def bootstrap_means(
    values_UM: npt.NDArray[np.float64], *, resamples: int = RESAMPLES, seed: int = 0
) -> npt.NDArray[np.float64]:
    """Return the means of all columns over resampled users, (R, M); all columns of a resample have the same users.

    A resample without any user, which only very few users can have, counts as the users themselves. The same seed
    gives the same bytes, whatever the number of threads.

    >>> means = bootstrap_means(np.array([[0.0, 2.0], [1.0, 2.0]]), resamples=1000)
    >>> means.shape, sorted({*means[:, 1].tolist()})
    ((1000, 2), [2.0])

    Args:
        values_UM: each user's values, (U, M), all finite.
        resamples: how many.
        seed: at least 0.

    Raises:
        RunError: there are no users, no columns or no resamples, or a value is not finite.
    """
    check_values(values_UM, "users, columns", "values")
    check_at_least(1, resamples, "resamples")
    # Half of the range is subtracted: what is constant stays as it is, to the last bit.
    centre_M = values_UM.min(axis=0) / 2 + values_UM.max(axis=0) / 2
    whole_C, sums_RC = np.zeros(len(centre_M) + 1), np.zeros((resamples, len(centre_M) + 1))
    own = len(values_UM) <= _FEW_GROUPS * _GROUP
    for number, users in enumerate(blocks(len(values_UM), _GROUP)):
        rows_KC = np.pad(values_UM[users] - centre_M, ((0, 0), (0, 1)), constant_values=1.0)
        whole_C += rows_KC.sum(axis=0)
        rng = generator(RandomStream.BOOTSTRAP, seed, number, 0)
        sums_RC += _weighted_sums(rows_KC, resamples, rng) if own else _shared_sums(rows_KC, resamples, rng)
    sums_RC[sums_RC[:, -1] == 0] = whole_C
    means_RM: npt.NDArray[np.float64] = centre_M + sums_RC[:, :-1] / sums_RC[:, -1:]
    return means_RM


def bootstrap_intervals(
    values_UM: npt.NDArray[np.float64], *, confidence: float = 0.95, resamples: int = RESAMPLES, seed: int = 0
) -> npt.NDArray[np.float64]:
    """Return the percentile intervals of the means, (2, M): lower ends, upper ends (Efron 1979).

    Half of 400 users have a hit. The standard error of the mean is 0.5 / sqrt(400) = 0.025, 1.96 of them 0.049:

    >>> hits = np.repeat([[0.0], [1.0]], 200, axis=0)
    >>> bootstrap_intervals(hits).round(2).tolist()
    [[0.45], [0.55]]

    Args:
        values_UM: each user's values, (U, M), all finite.
        confidence: the probability of the interval.
        resamples: how many.
        seed: at least 0.

    Raises:
        RunError: as `bootstrap_means`, or the confidence is not between 0 and 1.
    """
    check_probability(confidence, "confidence")
    tail = (1 - confidence) / 2
    means_RM = bootstrap_means(values_UM, resamples=resamples, seed=seed)
    return np.quantile(means_RM, [tail, 1 - tail], axis=0)


def _shared_sums(rows_KC: npt.NDArray[np.float64], resamples: int, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """Weighted sums of a group's rows, (R, C), each one of a limited number of draws."""
    sums_DC = _weighted_sums(rows_KC, min(resamples, _SHARED_DRAWS), rng)
    sums_DC += rows_KC.sum(axis=0) - sums_DC.mean(axis=0)
    return np.take(sums_DC, rng.integers(0, len(sums_DC), resamples), axis=0)


def _weighted_sums(rows_KC: npt.NDArray[np.float64], draws: int, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """Weighted sums of a group's rows, (draws, C), each with weights of its own."""
    table = _poisson_table()
    units_KC, exponents_C = whole_units(rows_KC, len(rows_KC) * table[-1])
    padding = -len(units_KC) % _WEIGHTS_A_DRAW
    units_KC = np.pad(units_KC, ((0, padding), (0, 0)))
    words = (DRAWS_AT_ONCE, len(units_KC) // _WEIGHTS_A_DRAW)
    sums_DC = np.empty((draws, units_KC.shape[1]))
    for drawn in blocks(draws, DRAWS_AT_ONCE):
        words_BK = rng.integers(0, 2**64, words, np.uint64).view(np.uint16)
        weights_BK = np.take(table, words_BK, mode="clip")  # every word is in the table
        sums_DC[drawn] = weighted_sums(weights_BK, units_KC)[: drawn.stop - drawn.start]
    return np.ldexp(sums_DC, exponents_C)


def _poisson_table() -> npt.NDArray[np.float64]:
    """Poisson's distribution of mean 1 as a table: a random 16-bit word is the index of a weight, ascending."""
    probabilities = np.exp(-1) / np.cumprod([1.0, *range(1, 12)])
    ends = np.rint(_WORD * np.cumsum(probabilities)).astype(np.int64)
    return np.repeat(np.arange(len(ends), dtype=np.float64), np.diff(ends, prepend=0))
