"""Weighted sums that are the same to the last bit, whatever the number of threads, the library and the machine.

A library of matrix products may add in any order, and rounding then depends on its threads. Sums of whole numbers below
2^53 are exact in float64 and have no order. Values are therefore rounded to multiples of a power of two, a different
one for each column; sums of 1,000 rows leave 43 bits of the column's largest value, sums of 1,000,000 rows 33.
"""

import math

import numpy as np
import numpy.typing as npt

from tcf.ranking.catalogue import blocks

__all__ = ["DRAWS_AT_ONCE", "weighted_sums", "whole_units"]

DRAWS_AT_ONCE = 128
"""Rows of weights to multiply at once, so that those of 1,024 users stay in the processor's cache."""

_EXACT_BITS = 53  # of a float64
_ROWS, _USERS, _COLUMNS = 32, 256, 32  # of a product of a single thread


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


def weighted_sums(weights_BU: npt.NDArray[np.float64], units_UM: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the weighted sums of whole units, (B, M): `weights_BU @ units_UM` by small products.

    OpenBLAS computes each of these in the calling thread. Larger ones are shared out over its threads, which wait for
    one another after each: on a busy machine that took up to a hundred times as long.

    Args:
        weights_BU: whole numbers; B is a multiple of 32, such as `DRAWS_AT_ONCE`.
        units_UM: from `whole_units`.
    """
    tiles = weights_BU.reshape(-1, _ROWS, weights_BU.shape[1])
    sums = np.zeros((*tiles.shape[:2], units_UM.shape[1]))
    for users in blocks(len(units_UM), _USERS):
        for columns in blocks(units_UM.shape[1], _COLUMNS):
            sums[:, :, columns] += tiles[:, :, users] @ units_UM[users, columns]
    return sums.reshape(len(weights_BU), -1)
