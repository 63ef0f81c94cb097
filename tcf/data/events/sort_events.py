"""The order that groups events by user and sorts each user's by time, ties in file order.

Sorting 64-bit numbers is many times faster in NumPy than sorting positions by several keys, so a key and the position
are packed into one number where they fit: the numbers are distinct, and any sort of them is stable. Where neighbours
have equal keys, as in logs that are in the order of users within a day, runs of them are sorted instead, packed with
their lengths.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from tcf.common.ragged import offsets_from
from tcf.common.threads import in_parallel, ordered_map
from tcf.data.histories import occurrences

__all__ = ["Order", "order_by_user", "stable_order"]

Positions = npt.NDArray[np.int64]
SortKeys = npt.NDArray[np.int64] | npt.NDArray[np.int32]

_Number = TypeVar("_Number", bound=np.generic)

_AT_ONCE = 1 << 19  # positions that are known at one time: they stay in a processor's cache
_SAMPLE = 1 << 16  # keys of which the middle one halves all
_FEW_RUNS = 0.6  # runs a key; with more, taking them apart again costs what sorting fewer saves


@dataclass(frozen=True)
class Order:
    """An order of events, as runs of events that are neighbours before and after.

    Attributes:
        starts: (n_runs,) position of the first event of each run.
        lengths: (n_runs,) events of each run, at least one; None where all are single.
    """

    starts: Positions
    lengths: Positions | None = None

    def positions(self) -> Positions:
        """The positions of the events in this order, (nnz,)."""
        return self.starts if self.lengths is None else _one_by_one(self.starts, self.lengths)

    def take(self, values: npt.NDArray[_Number]) -> npt.NDArray[_Number]:
        """The values, (nnz,), of the events in this order; some positions at a time are worked out, in two threads."""
        if self.lengths is None:
            return values.take(self.starts)
        starts, lengths, taken = self.starts, self.lengths, np.empty_like(values)
        stops = np.cumsum(lengths)
        wanted = np.arange(_AT_ONCE, len(values), _AT_ONCE)
        cuts = np.unique(np.concatenate([[0], np.searchsorted(stops, wanted), [len(starts)]])).tolist()

        def take_part(bounds: tuple[int, int]) -> None:
            first, stop = bounds
            positions = _one_by_one(starts[first:stop], lengths[first:stop])
            end = int(stops[stop - 1])
            values.take(positions, out=taken[end - len(positions) : end], mode="clip")

        list(ordered_map(take_part, pairwise(cuts), threads=2, extra=2))
        return taken


def order_by_user(
    owners: npt.NDArray[np.int32], n_users: int, times: npt.NDArray[np.int64] | None
) -> tuple[Positions, Order]:
    """Group events by user.

    Args:
        owners: (nnz,) each event's user.
        n_users: users are 0 ... n_users - 1.
        times: (nnz,); None for the order as it is.

    Returns:
        (n_users + 1,) where each user's events begin, and the events by user, then time, then position.
    """
    order, counts = in_parallel(lambda: _order(owners, times), lambda: occurrences(owners, n_users))
    return offsets_from(counts), order


def stable_order(keys: SortKeys) -> Positions:
    """The positions of keys in rising order, equal ones as they stand."""
    return _runs_in_order(keys).positions()


def _order(owners: npt.NDArray[np.int32], times: npt.NDArray[np.int64] | None) -> Order:
    if times is None or len(times) == 0 or not (times[1:] < times[:-1]).any():
        return _runs_in_order(owners)
    by_time = stable_order(times)
    return Order(by_time[stable_order(owners[by_time])])


def _runs_in_order(keys: SortKeys) -> Order:
    if len(keys) == 0:
        return Order(np.zeros(0, np.int64))
    starts = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]]))
    if len(starts) > _FEW_RUNS * len(keys):
        return Order(_sorted_positions(keys))
    firsts, lengths = keys[starts], np.diff(starts, append=len(keys))
    found = _sorted_rows(firsts, starts, lengths)
    if found is None:
        order = np.argsort(firsts, kind="stable")
        found = [starts[order], lengths[order]]
    return Order(*found)


def _one_by_one(starts: Positions, lengths: Positions) -> Positions:
    """The positions in runs, none empty, one run after the other: a running sum of the steps from each to the next."""
    steps = np.ones(int(lengths.sum()), np.int64)
    steps[0] = starts[0]
    jumps = np.diff(starts)
    jumps -= lengths[:-1]
    jumps += 1
    steps[np.cumsum(lengths[:-1])] = jumps
    return np.cumsum(steps, out=steps)


def _sorted_positions(keys: SortKeys) -> Positions:
    found = _sorted_rows(keys, np.arange(len(keys)))
    return np.argsort(keys, kind="stable") if found is None else found[0]


def _sorted_rows(keys: SortKeys, *others: Positions) -> list[Positions] | None:
    """The other columns of rows sorted by key, then by these columns, none negative; None if a row has over 63 bits."""
    least, bits = int(keys.min()), [int(column.max()).bit_length() for column in others]
    if (int(keys.max()) - least).bit_length() + sum(bits) > 63:
        return None
    packed = keys.astype(np.int64)
    packed -= least
    for column, width in zip(others, bits, strict=True):
        packed <<= width
        packed |= column
    halves = _halves(packed)
    in_parallel(halves[0].sort, halves[1].sort)
    columns = list[Positions]()
    for width in bits[::-1]:
        columns.append(packed & ((1 << width) - 1))
        packed >>= width
    return columns[::-1]


def _halves(numbers: Positions) -> tuple[Positions, Positions]:
    """Put the lower numbers before the upper ones, about as many of each, and return both parts."""
    pivot = np.median(numbers[:: max(1, len(numbers) // _SAMPLE)])
    lower = numbers < pivot
    n_lower = int(np.count_nonzero(lower))
    upper = numbers[~lower]
    numbers[:n_lower] = numbers[lower]
    numbers[n_lower:] = upper
    return numbers[:n_lower], numbers[n_lower:]
