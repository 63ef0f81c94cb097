"""Correction for several tests at once."""

import numpy as np
import numpy.typing as npt

from tcf.common.errors import RunError

__all__ = ["holm"]


def holm(p_values_P: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the p-values adjusted for all of them together (Holm, Scand. J. Stat. 1979), in the same order.

    The smallest of P is multiplied by P, the next by P - 1 and so on, and none is below the one before it. Rejecting
    those of at most 0.05 rejects any true null of all with a probability of at most 0.05, however they depend.

    >>> holm(np.array([0.01, 0.04, 0.03, 0.005])).tolist()
    [0.03, 0.06, 0.06, 0.02]

    Args:
        p_values_P: the tests' p-values, (P,); none are none.

    Raises:
        RunError: one is not between 0 and 1, such as NaN.
    """
    bad = int((~((p_values_P >= 0) & (p_values_P <= 1))).sum())
    if bad:
        raise RunError(f"p-values: expected numbers from 0 to 1, found {bad} others; leave such tests out")
    order = np.argsort(p_values_P, kind="stable")
    adjusted = np.maximum.accumulate(p_values_P[order] * np.arange(len(order), 0, -1))
    result_P = np.empty(len(order))
    result_P[order] = np.minimum(adjusted, 1.0)
    return result_P
