"""How small a difference an evaluation could have shown."""

import math
from statistics import NormalDist

from tcf.common.errors import RunError
from tcf.evaluate.statistics.checks import check_at_least, check_probability

__all__ = ["smallest_detectable_difference"]


def smallest_detectable_difference(deviation: float, n: int, *, level: float = 0.05, power: float = 0.8) -> float:
    """Return the true mean difference that a two-sided paired test of this level finds with this probability.

    By the normal approximation (Cohen, Statistical power analysis, 1988, chapter 2): the sum of the normal quantiles of
    1 - level / 2 and of the power, times the standard error.

    (1.9600 + 0.8416) * 0.3 / sqrt(10,000):

    >>> round(smallest_detectable_difference(0.3, 10_000), 6)
    0.008405

    Args:
        deviation: the standard deviation of the users' differences, at least 0.
        n: users, at least 1.
        level: how often a true null is rejected; after a correction for several tests that of the strictest.
        power: how often a difference of this size is found.

    Raises:
        RunError: one of them is not.
    """
    check_at_least(1, n, "users")
    check_probability(level, "level")
    check_probability(power, "power")
    if not (deviation >= 0 and math.isfinite(deviation)):
        raise RunError(f"deviation: expected a number of at least 0, found {deviation}; check the differences")
    normal = NormalDist()
    return (normal.inv_cdf(1 - level / 2) + normal.inv_cdf(power)) * deviation / math.sqrt(n)
