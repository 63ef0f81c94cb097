"""Student's t distribution for a whole number of degrees of freedom, in closed form.

Abramowitz and Stegun, Handbook of Mathematical Functions, 26.7.3 and 26.7.4: with angle = arctan(t / sqrt(degrees)) the
probability between -t and t is a finite sum of powers of its sine and cosine.
"""

import math

import numpy as np
import numpy.typing as npt

from tcf.evaluate.statistics.checks import check_at_least, check_probability

__all__ = ["students_t_cdf", "students_t_quantile"]

_HALVINGS = 60  # after which the interval of a bisection is smaller than a float64 can tell
_FAR = 1e150  # of which the square is finite; nothing is beyond


def students_t_quantile(degrees: int, confidence: float = 0.95) -> float:
    """Return t so that a variable of Student's distribution lies between -t and t with this probability.

    >>> [round(students_t_quantile(degrees), 3) for degrees in (1, 2, 9)]
    [12.706, 4.303, 2.262]

    Args:
        degrees: degrees of freedom, at least 1.
        confidence: the probability, between 0 and 1.

    Raises:
        RunError: one of them is not.
    """
    check_at_least(1, degrees, "degrees of freedom")
    check_probability(confidence, "confidence")
    low, high = 0.0, math.pi / 2
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if _within(np.array(math.tan(middle)), degrees) < confidence else (low, middle)
    return math.sqrt(degrees) * math.tan((low + high) / 2)


def students_t_cdf(values: npt.NDArray[np.float64], degrees: int) -> npt.NDArray[np.float64]:
    """Return the probabilities that a variable of Student's distribution is at most each value.

    >>> students_t_cdf(np.array([-4.302653, 0.0, 4.302653]), 2).round(4).tolist()
    [0.025, 0.5, 0.975]

    Args:
        values: of any shape; infinite ones too.
        degrees: degrees of freedom, at least 1.

    Raises:
        RunError: there are fewer degrees.
    """
    check_at_least(1, degrees, "degrees of freedom")
    tangents = np.clip(values / math.sqrt(degrees), -_FAR, _FAR)
    return 0.5 + _within(tangents, degrees) / 2


def _within(tangents: npt.NDArray[np.float64], degrees: int) -> npt.NDArray[np.float64]:
    """Return the probability that |t| < sqrt(degrees) * |tangent|, with the sign of the tangent."""
    cosine_squared = 1 / (1 + tangents * tangents)
    cosine = np.sqrt(cosine_squared)
    odd = degrees % 2
    term, total = (cosine if odd else np.ones_like(cosine)), np.zeros_like(cosine)
    for power in range(odd, degrees - 1, 2):
        total += term
        term = term * cosine_squared * ((power + 1) / (power + 2))
    of_sine = tangents * cosine * total
    return 2 / math.pi * (np.arctan(tangents) + of_sine) if odd else of_sine
