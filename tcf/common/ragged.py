"""Arithmetic on ragged rows: the concatenated values of all rows, and the offset of each row.

Shapes: n rows.
"""

import numpy as np
import numpy.typing as npt

__all__ = ["offsets_from", "run_starts", "spans"]

Counts = npt.NDArray[np.int64]


def offsets_from(lengths: Counts) -> Counts:
    """Return the start of each row, and the end of the last one, (n + 1,).

    >>> offsets_from(np.array([2, 0, 3])).tolist()
    [0, 2, 2, 5]
    """
    offsets = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets


def run_starts(values: npt.NDArray[np.integer]) -> Counts:
    """Return where the runs of equal values begin; `np.diff` with a first value takes many times as long.

    >>> run_starts(np.array([4, 4, 7, 4])).tolist()
    [0, 2, 3]
    """
    begins = np.ones(len(values), np.bool_)
    np.not_equal(values[1:], values[:-1], out=begins[1:])
    return np.flatnonzero(begins)


def spans(starts: Counts, lengths: Counts) -> Counts:
    """Return the positions starts[i], ..., starts[i] + lengths[i] - 1 of every i, concatenated.

    >>> spans(np.array([7, 0, 3]), np.array([2, 0, 3])).tolist()
    [7, 8, 3, 4, 5]
    """
    before = np.cumsum(lengths) - lengths
    positions: Counts = np.arange(int(lengths.sum())) + np.repeat(starts - before, lengths)
    return positions
