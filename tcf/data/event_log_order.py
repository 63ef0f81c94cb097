"""The order that groups events by user and sorts each user's by time, ties in file order.

Sorting 64-bit numbers is many times faster in NumPy than sorting positions by several keys, so a key and the position
are packed into one number where they fit: the numbers are distinct, and any sort of them is stable. Where neighbours
have equal keys, as in logs that are in the order of users within a day, runs of them are sorted instead.
"""

import numpy as np
import numpy.typing as npt

from tcf.ahead import side_by_side
from tcf.data.ragged import offsets_from

__all__ = ["order_by_user", "stable_order"]

Positions = npt.NDArray[np.int64]
Keys = npt.NDArray[np.int64] | npt.NDArray[np.int32]

_SAMPLE = 1 << 16  # keys of which the middle one halves all
_FEW_RUNS = 0.6  # runs a key; with more, taking them apart again costs what sorting fewer saves


def order_by_user(
    owners: npt.NDArray[np.int32], n_users: int, times: npt.NDArray[np.int64] | None
) -> tuple[Positions, Positions]:
    """Group events by user.

    Args:
        owners: (nnz,) each event's user.
        n_users: users are 0 ... n_users - 1.
        times: (nnz,); None for the order as it is.

    Returns:
        (n_users + 1,) where each user's events begin, and (nnz,) the events by user, then time, then position.
    """
    offsets = offsets_from(np.bincount(owners, minlength=n_users))
    if times is None or len(times) == 0 or not (times[1:] < times[:-1]).any():
        return offsets, stable_order(owners)
    by_time = stable_order(times)
    return offsets, by_time[stable_order(owners[by_time])]


def stable_order(keys: Keys) -> Positions:
    """The positions of keys in rising order, equal ones as they stand."""
    if len(keys) == 0:
        return np.zeros(0, np.int64)
    starts = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]]))
    if len(starts) > _FEW_RUNS * len(keys):
        return _sorted_positions(keys)
    order = _sorted_positions(keys[starts])
    lengths = np.diff(starts, append=len(keys))[order]
    starts = starts[order]
    del order  # there may be tens of millions of events
    return _one_by_one(starts, lengths)


def _one_by_one(starts: Positions, lengths: Positions) -> Positions:
    """The positions in runs, none empty, one run after the other: a running sum of the steps from each to the next."""
    steps = np.ones(int(lengths.sum()), np.int64)
    steps[0] = starts[0]
    jumps = np.diff(starts)
    jumps -= lengths[:-1]
    jumps += 1
    steps[np.cumsum(lengths[:-1])] = jumps
    return np.cumsum(steps, out=steps)


def _sorted_positions(keys: Keys) -> Positions:
    least, bits = int(keys.min()), len(keys).bit_length()
    if (int(keys.max()) - least).bit_length() + bits > 63:
        return np.argsort(keys, kind="stable")
    packed = keys.astype(np.int64)
    packed -= least
    packed <<= bits
    packed |= np.arange(len(keys))
    halves = _halves(packed)
    side_by_side(halves[0].sort, halves[1].sort)
    packed &= (1 << bits) - 1
    return packed


def _halves(numbers: Positions) -> tuple[Positions, Positions]:
    """Put the lower numbers before the upper ones, about as many of each, and return both parts."""
    pivot = np.median(numbers[:: max(1, len(numbers) // _SAMPLE)])
    lower = numbers < pivot
    n_lower = int(np.count_nonzero(lower))
    upper = numbers[~lower]
    numbers[:n_lower] = numbers[lower]
    numbers[n_lower:] = upper
    return numbers[:n_lower], numbers[n_lower:]
