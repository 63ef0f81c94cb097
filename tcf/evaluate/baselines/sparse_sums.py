"""Sums of a few sparse rows for each user of a block, through a cell for every item.

All entries of the rows are read once. Adding them up in cells and sorting 32-bit places takes half as long as merging
rows by sorting numbers that hold users, items and values, as ranks of co-occurrence alone do: those look at fewer
entries.

Shapes: B users of a block, N items, G pairs of a user and an item that a row names, E entries of all rows.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tcf.common.ragged import run_starts
from tcf.evaluate.baselines.pair_counts import PairCounts, Whole
from tcf.evaluate.baselines.recent_rows import RecentRows

__all__ = ["SparseSums", "users_at_once"]

_CELLS = 1 << 19  # 2 MB: more leave the processor's cache, and their arrays are mapped anew each time


@dataclass(frozen=True)
class SparseSums:
    """The weighted counts of the users of a block.

    Attributes:
        offsets: (B + 1,) int64, where each user's items begin.
        items: (G,) int32, rising for each user.
        sums: (G,) whole numbers above 0.
    """

    offsets: npt.NDArray[np.int64]
    items: npt.NDArray[np.int32]
    sums: Whole

    @classmethod
    def of(cls, pairs: PairCounts, rows: RecentRows, bits: int) -> "SparseSums":
        """Add up the rows to merge.

        Args:
            pairs: the counts.
            rows: the users' rows, of at most `users_at_once` users.
            bits: `value_bits` of the counts.
        """
        users, items, weights = rows.merged
        lengths = pairs.sizes(items)
        places, cells = np.empty(int(lengths.sum()), np.int32), _cells(len(rows) * pairs.n_columns, bits)
        values = np.empty(len(places), cells.dtype)
        pairs.gather(pairs.columns, items, places)
        pairs.gather(pairs.counts, items, values)
        places += np.repeat((users * pairs.n_columns).astype(np.int32), lengths)
        values *= np.repeat(weights.astype(cells.dtype), lengths)
        np.add.at(cells, places, values)
        places.sort()
        places = places[run_starts(places)]
        offsets = np.searchsorted(places, np.arange(len(rows) + 1) * pairs.n_columns)
        sums = cells[places]
        places -= np.repeat((np.arange(len(rows)) * pairs.n_columns).astype(np.int32), np.diff(offsets))
        return cls(offsets, places, sums)


def users_at_once(n_items: int) -> int:
    """Return how many users' rows to add up at once."""
    return max(1, _CELLS // n_items)


def _cells(n_cells: int, bits: int) -> npt.NDArray[np.int32] | npt.NDArray[np.int64]:
    """Return zeros that hold sums of so many bits."""
    return np.zeros(n_cells, np.int32) if bits < 32 else np.zeros(n_cells, np.int64)
