"""How often, and how close, items occur together in training histories.

Shapes: N items, nnz pairs of items that occur together.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from tcf.common.ragged import offsets_from, run_starts
from tcf.common.threads import ordered_map
from tcf.data.histories import Histories, occurrences, owners
from tcf.ranking.ranked_items import RankedItems

__all__ = ["WEIGHTS", "WINDOW", "PairCounts", "Whole"]

Whole: TypeAlias = npt.NDArray[np.signedinteger]

WINDOW = 5
"""Two items of a history are counted together if they are at most so many positions apart."""

WEIGHTS = math.lcm(*range(1, WINDOW + 1)) // np.arange(1, WINDOW + 1)
"""1 / distance as whole numbers, in units of 1 / 60: their sums do not depend on their order, so equal ones tie."""

_BITS = WINDOW.bit_length()  # of a distance, in a sorted number
_PAIRS_AT_ONCE = 1 << 23


@dataclass(frozen=True)
class PairCounts:
    """The sum of 1 / distance over all pairs of two items in one history, by first item and second item.

    Attributes:
        offsets: (N + 1,) int64; first item i has the second items columns[offsets[i]:offsets[i + 1]].
        columns: (nnz,) int32, ascending for each first item.
        counts: (nnz,) int32, or int64 if one does not fit; in units of 1 / 60, at least 12.
        n_columns: number of second items; N, or less if only some items are ranked.
    """

    offsets: npt.NDArray[np.int64]
    columns: npt.NDArray[np.int32]
    counts: Whole
    n_columns: int

    @classmethod
    def learn(cls, histories: Histories, n_items: int) -> "PairCounts":
        """Count the pairs of these histories, those of some first items at a time, in two threads."""
        users = owners(histories).astype(np.int32)

        def counted(firsts: tuple[int, int]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32], Whole]:
            keys = np.concatenate(list(_keys(users, histories.items, *firsts, n_items)))
            keys.sort()
            return _summed(keys, firsts[1] - firsts[0], n_items)

        blocks = list(ordered_map(counted, _ranges(histories, n_items), threads=2))
        sizes = np.concatenate([np.zeros(0, np.int64), *(sizes for sizes, _, _ in blocks)])
        columns = np.concatenate([np.zeros(0, np.int32), *(columns for _, columns, _ in blocks)])
        counts = np.concatenate([np.zeros(0, np.int32), *(counts for _, _, counts in blocks)])
        return cls(offsets_from(sizes), columns, counts, n_items)

    def sizes(self, firsts: npt.NDArray[np.integer]) -> npt.NDArray[np.int64]:
        """Return the number of second items of each of these first items; 0 for a negative one."""
        return np.where(firsts < 0, 0, self.offsets[firsts + 1] - self.offsets[firsts])

    def row(self, first: int) -> slice:
        """Return where the second items and counts of a first item are."""
        return slice(int(self.offsets[first]), int(self.offsets[first + 1]))

    def gather(self, values: npt.NDArray[Any], firsts: npt.NDArray[np.integer], out: npt.NDArray[Any]) -> None:
        """Write the rows that some first items have in an array like `columns` one after another into another array."""
        starts, stops = self.offsets[firsts].tolist(), self.offsets[firsts + 1].tolist()
        if starts:
            np.concatenate([values[start:stop] for start, stop in zip(starts, stops, strict=True)], out=out)

    def are_together(self, firsts: npt.NDArray[np.integer], seconds: npt.NDArray[np.integer]) -> npt.NDArray[np.bool_]:
        """Return whether first and second items have a count, by bisection; any number of both."""
        starts, ends = self.offsets[firsts], self.offsets[firsts + 1]
        stops = ends.copy()
        while (open_ := starts < stops).any():
            middles = (starts + stops) // 2
            reached = self.columns[np.minimum(middles, len(self.columns) - 1)] >= seconds
            stops = np.where(open_ & reached, middles, stops)
            starts = np.where(open_ & ~reached, middles + 1, starts)
        found: npt.NDArray[np.bool_] = starts < ends
        found[found] = self.columns[starts[found]] == seconds[found]
        return found

    def among(self, ranked: RankedItems) -> "PairCounts":
        """Return the counts of ranked second items, by their places; first items keep their indices."""
        if ranked.are_all:
            return self
        places = ranked.places[self.columns]
        kept = places >= 0
        before = np.concatenate([np.zeros(1, np.int64), np.cumsum(kept)])
        return PairCounts(before[self.offsets], places[kept], self.counts[kept], len(ranked))


def _ranges(histories: Histories, n_items: int) -> list[tuple[int, int]]:
    """Return ranges of first items, start and stop, with a limited number of pairs each."""
    most = np.cumsum(2 * WINDOW * occurrences(histories.items, n_items))  # pairs up to each first item, at most
    ends = np.arange(_PAIRS_AT_ONCE, most[-1] + _PAIRS_AT_ONCE, _PAIRS_AT_ONCE)
    stops = np.minimum(np.searchsorted(most, ends, side="right"), n_items)
    return list(pairwise(np.unique([0, *stops.tolist(), n_items]).tolist()))


def _keys(
    users: npt.NDArray[np.int32], items: npt.NDArray[np.int32], start: int, stop: int, n_items: int
) -> Iterator[npt.NDArray[np.int64]]:
    """Yield each pair with a first item in start..stop - 1 as one number: first item, second item and distance."""
    for distance in range(1, WINDOW + 1):
        together = users[distance:] == users[:-distance]
        for first, second in ((items[:-distance], items[distance:]), (items[distance:], items[:-distance])):
            chosen = np.flatnonzero(together & (first >= start) & (first < stop))
            keys = first[chosen].astype(np.int64)
            keys -= start
            keys *= n_items
            keys += second[chosen]
            keys <<= _BITS
            keys |= distance
            yield keys


def _summed(
    keys: npt.NDArray[np.int64], n_first: int, n_items: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32], Whole]:
    """Add up the weights of equal pairs; keys are sorted."""
    pairs = keys >> _BITS
    begins = run_starts(pairs)
    weights = np.concatenate([[0], WEIGHTS])[keys & (1 << _BITS) - 1]
    counts = np.add.reduceat(weights, begins) if len(begins) else np.zeros(0, np.int64)
    first, second = np.divmod(pairs[begins], n_items)
    small = not len(counts) or int(counts.max()) <= np.iinfo(np.int32).max
    return np.bincount(first, minlength=n_first), second.astype(np.int32), counts.astype(np.int32) if small else counts
