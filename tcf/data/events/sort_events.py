"""Sorting events by user, then time, ties in file order.

NumPy sorts 64-bit numbers many times faster than positions by several keys. So key and position are packed into one
number if they fit: the numbers are distinct, which makes any sort of them stable. Where neighbours have equal keys, as
in logs that are sorted by user within a day, runs of equal keys are sorted instead, packed with their lengths.
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

_AT_ONCE = 1 << 19  # positions held at once: they stay in the processor's cache
_SAMPLE = 1 << 16  # keys sampled to estimate the median
_FEW_RUNS = 0.6  # runs per key; with more, expanding the runs costs what sorting fewer keys saves


@dataclass(frozen=True)
class Order:
    """An order of events, stored as runs of events that are neighbours before and after sorting.

    Attributes:
        starts: (n_runs,) position of the first event of each run.
        lengths: (n_runs,) events in each run, at least one; None if all runs have one event.
    """

    starts: Positions
    lengths: Positions | None = None

    def positions(self) -> Positions:
        """Return the positions of the events in this order, (nnz,)."""
        return self.starts if self.lengths is None else _one_by_one(self.starts, self.lengths)

    def take(self, values: npt.NDArray[_Number]) -> npt.NDArray[_Number]:
        """Return the events' values, (nnz,), in this order; two threads compute the positions in parts."""
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
        owners: (nnz,) the user of each event.
        n_users: users are 0 ... n_users - 1.
        times: (nnz,); None keeps the given order.

    Returns:
        (n_users + 1,) where each user's events begin, and the order by user, then time, then position.
    """
    order, counts = in_parallel(lambda: _order(owners, times), lambda: occurrences(owners, n_users))
    return offsets_from(counts), order


def stable_order(keys: SortKeys) -> Positions:
    """Return the positions that sort the keys in rising order; equal keys keep their order."""
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
    """Expand non-empty runs to positions: a cumulative sum of the steps from each position to the next."""
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
    """Sort rows by key, then by the other columns, none negative; return these, or None if a row exceeds 63 bits."""
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
    """Partition the numbers in place into a lower and an upper part of about equal size, and return both."""
    pivot = np.median(numbers[:: max(1, len(numbers) // _SAMPLE)])
    lower = numbers < pivot
    n_lower = int(np.count_nonzero(lower))
    upper = numbers[~lower]
    numbers[:n_lower] = numbers[lower]
    numbers[n_lower:] = upper
    return numbers[:n_lower], numbers[n_lower:]
