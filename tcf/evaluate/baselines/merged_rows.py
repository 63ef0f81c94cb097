"""Sums of a few sparse rows for each user of a block, without a cell for every item.

Shapes: B users of a block, R rows of all users, G pairs of a user and an item that a row, or a mark, names.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tcf.common.errors import RunError
from tcf.common.ragged import run_starts
from tcf.data.histories import Histories, owners
from tcf.evaluate.baselines.pair_counts import WEIGHTS, PairCounts
from tcf.evaluate.baselines.recent_rows import RecentRows

__all__ = ["MergedRows", "most_users", "value_bits"]

_EXCLUDED, _TARGET = 0, 1  # marks in place of a value; values are larger


@dataclass(frozen=True)
class MergedRows:
    """Sums of each user's rows at the items that they, or the user's excluded items or targets, name.

    Attributes:
        n_columns: number of items.
        keys: (G,) int64, user * n_columns + item, ascending.
        offsets: (B + 1,) int64, where each user's items begin.
        sums: (G,) int64 of the rows to merge, not of the main ones; 0 for an item of no row.
        excluded: (G,) whether the item is excluded for the user.
    """

    n_columns: int
    keys: npt.NDArray[np.int64]
    offsets: npt.NDArray[np.int64]
    sums: npt.NDArray[np.int64]
    excluded: npt.NDArray[np.bool_]

    @classmethod
    def of(
        cls, pairs: PairCounts, rows: RecentRows, excluded: Histories, targets: Histories, bits: int
    ) -> "MergedRows":
        """Add up rows, by sorting numbers that hold user, item and value.

        Args:
            pairs: the counts.
            rows: the users' rows, of at most `most_users` users.
            excluded: the users' excluded items, distinct within a user.
            targets: the users' targets, distinct within a user, none of them excluded.
            bits: `value_bits` of the counts.
        """
        packed = _packed(pairs, rows, excluded, targets, bits)
        packed.sort()
        keys = packed >> bits
        begins = run_starts(keys)
        keys = keys[begins]
        packed &= (1 << bits) - 1
        marks = packed[begins]  # an item's mark comes before its values
        sums = _sums(packed, begins)
        sums[marks == _TARGET] -= _TARGET
        offsets = np.searchsorted(keys, np.arange(len(rows) + 1) * pairs.n_columns)
        return cls(pairs.n_columns, keys, offsets, sums, marks == _EXCLUDED)

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Number of items of each user, (B,)."""
        return np.diff(self.offsets)

    @property
    def items(self) -> npt.NDArray[np.int64]:
        """The item of each pair, (G,)."""
        return self.keys - np.repeat(np.arange(len(self.lengths)) * self.n_columns, self.lengths)

    def places(self, items: Histories) -> npt.NDArray[np.int64]:
        """Return where the users' items are among the pairs, all of which must be there."""
        places: npt.NDArray[np.int64] = np.searchsorted(self.keys, owners(items) * self.n_columns + items.items)
        return places


def value_bits(pairs: PairCounts) -> int:
    """Return how many bits a weighted count takes at most.

    Raises:
        RunError: such a count, an item and a user do not fit into 63 bits.
    """
    largest = int(pairs.counts.max(initial=0)) * int(WEIGHTS.sum())
    bits = max(largest, _TARGET).bit_length()
    if pairs.n_columns << bits > 1 << 63:
        raise RunError(
            f"co-occurrence: expected weighted counts below {(1 << 63) // pairs.n_columns:,} for {pairs.n_columns:,} "
            f"items, found {largest:,}; learn from fewer interactions"
        )
    return bits


def most_users(pairs: PairCounts, bits: int) -> int:
    """Return how many users can be merged at once, so that a user, an item and a value fit into 63 bits."""
    return (1 << 63 - bits) // pairs.n_columns


def _sums(values: npt.NDArray[np.int64], begins: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Add up runs of values, most of them one long, for which `np.add.reduceat` takes four times as long."""
    # Sums of several runs may wrap around; their differences are right all the same.
    until: npt.NDArray[np.int64] = np.cumsum(values)[np.append(begins[1:], len(values)) - 1] if len(begins) else values
    until[1:] -= until[:-1].copy()
    return until


def _packed(
    pairs: PairCounts, rows: RecentRows, excluded: Histories, targets: Histories, bits: int
) -> npt.NDArray[np.int64]:
    """Return every entry of the rows to merge, and every mark, as one number: user, item and value."""
    users, items, weights = rows.merged
    lengths = pairs.sizes(items)
    packed = np.empty(int(lengths.sum()) + len(excluded.items) + len(targets.items), np.int64)
    entries, marked = np.split(packed, [int(lengths.sum())])
    values = np.empty_like(entries)
    pairs.gather(pairs.columns, items, entries)
    pairs.gather(pairs.counts, items, values)
    entries += np.repeat(users * pairs.n_columns, lengths)
    entries <<= bits
    values *= np.repeat(weights, lengths)
    entries |= values
    marked[:] = np.concatenate([owners(part) * pairs.n_columns + part.items for part in (excluded, targets)])
    marked <<= bits
    marked[len(excluded.items) :] |= _TARGET
    return packed
