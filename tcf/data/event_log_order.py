"""The order that groups events by user and sorts each user's by time, ties in file order.

Sorting 64-bit numbers is many times faster in NumPy than sorting positions by several keys, so a key and the position
are packed into one number where they fit: the numbers are distinct, and any sort of them is stable.
"""

import numpy as np
import numpy.typing as npt

from tcf.data.ragged import offsets_from

__all__ = ["order_by_user"]

Positions = npt.NDArray[np.int64]


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
        return offsets, _stable_order(owners)
    by_time = _stable_order(times)
    return offsets, by_time[_stable_order(owners[by_time])]


def _stable_order(keys: npt.NDArray[np.int64] | npt.NDArray[np.int32]) -> Positions:
    """The positions of keys in rising order, equal ones as they stand."""
    if len(keys) == 0:
        return np.zeros(0, np.int64)
    least, bits = int(keys.min()), len(keys).bit_length()
    if (int(keys.max()) - least).bit_length() + bits > 63:
        return np.argsort(keys, kind="stable")
    packed = keys.astype(np.int64)
    packed -= least
    packed <<= bits
    packed |= np.arange(len(keys))
    packed.sort()
    packed &= (1 << bits) - 1
    return packed
