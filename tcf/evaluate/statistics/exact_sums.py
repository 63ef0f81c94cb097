"""Weighted sums that are the same to the last bit, whatever the number of threads, the library and the machine.

A library of matrix products may add in any order, and rounding then depends on its threads. Sums of whole numbers below
2^53 are exact in float64 and have no order. Values are therefore rounded to multiples of a power of two, a different
one for each column; sums of 1,000 rows leave 43 bits of the column's largest value, sums of 1,000,000 rows 33.
"""

import math

import numpy as np
import numpy.typing as npt

__all__ = ["whole_units"]

_EXACT_BITS = 53  # of a float64


def whole_units(
    values_UM: npt.NDArray[np.float64], weight: float
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int32]]:
    """Round each column to whole multiples of a power of two, so that weighted sums of them are exact.

    The unit of the column below is 2^(3 - 50): 3 bits of whole numbers in 5.0, and 50 bits in all.

    >>> units, exponents = whole_units(np.array([[5.0], [-0.25]]), weight=8)
    >>> exponents.tolist(), np.ldexp(units, exponents).tolist()
    ([-47], [[5.0], [-0.25]])

    Args:
        values_UM: finite values, (U, M).
        weight: the largest sum of absolute whole-number weights that the rows may get, at least 1.

    Returns:
        The whole numbers as float64, (U, M), and the exponents of the units, (M,): value = units * 2^exponent.
    """
    bits = _EXACT_BITS - math.ceil(math.log2(weight))
    exponents_M = np.frexp(np.abs(values_UM).max(axis=0, initial=0.0))[1] - bits
    return np.rint(np.ldexp(values_UM, -exponents_M)), exponents_M
