"""The rows of pair counts that make up each user's scores, and the blocks of users to take at once.

The longest row of a user, often that of a popular item, may have more entries than the others together. It is only
looked into, not merged, and users who share it are taken one after another.

Shapes: U users, B users of a block.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tcf.common.ragged import run_starts
from tcf.data.histories import Histories, owners
from tcf.evaluate.baselines.pair_counts import WEIGHTS, WINDOW, PairCounts
from tcf.ranking.catalogue import blocks

__all__ = ["RecentRows"]

_WORTH = 512  # entries; a shorter row is merged with the others
_ENTRIES_AT_ONCE = 1 << 19


@dataclass(frozen=True)
class RecentRows:
    """The rows of the users' last 5 items.

    Attributes:
        items_UW: (U, 5) int32 items whose rows are merged, the latest first; -1 for none.
        main_U: (U,) int32 the item whose row is looked into; -1 for none.
        main_weights_U: (U,) int64 factor of its row.
    """

    items_UW: npt.NDArray[np.int32]
    main_U: npt.NDArray[np.int32]
    main_weights_U: npt.NDArray[np.int64]

    @classmethod
    def of(cls, recent: Histories, pairs: PairCounts, *, may_look: bool = True) -> "RecentRows":
        """Choose the main rows.

        Args:
            recent: the users' last items, at most 5.
            pairs: the counts.
            may_look: whether users may have main rows; otherwise all rows are merged.
        """
        everyone = np.arange(len(recent))
        back = np.repeat(recent.offsets[1:], recent.lengths) - np.arange(len(recent.items)) - 1
        items_UW = np.full((len(recent), WINDOW), -1, np.int32)
        items_UW[np.repeat(everyone, recent.lengths), back] = recent.items
        sizes_UW = pairs.sizes(items_UW)
        longest = everyone, sizes_UW.argmax(1)
        has_main_U = may_look & (sizes_UW[longest] >= _WORTH)
        main_U = np.where(has_main_U, items_UW[longest], -1).astype(np.int32)
        is_main_UW = (items_UW == main_U[:, None]) & (items_UW >= 0)  # the same item may be there several times
        return cls(np.where(is_main_UW | (sizes_UW == 0), -1, items_UW), main_U, is_main_UW @ WEIGHTS)

    def __len__(self) -> int:
        """Number of users."""
        return len(self.main_U)

    def take(self, users: npt.NDArray[np.int64]) -> "RecentRows":
        """Return the rows of these users, in the given order."""
        return RecentRows(self.items_UW[users], self.main_U[users], self.main_weights_U[users])

    def name(self, pairs: PairCounts, items: Histories) -> npt.NDArray[np.bool_]:
        """Return which of the users' items any of their rows names, (number of items,)."""
        users = owners(items)
        found = np.zeros(len(users), np.bool_)
        for firsts_U in (self.main_U, *self.items_UW.T):  # an item at a time, because the first ones name most
            open_ = np.flatnonzero(~found & (firsts_U[users] >= 0))
            found[open_] = pairs.are_together(firsts_U[users[open_]], items.items[open_])
        return found

    @property
    def merged(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32], npt.NDArray[np.int64]]:
        """User, item and factor of each row to merge."""
        users, back = np.nonzero(self.items_UW >= 0)
        return users, self.items_UW[users, back], WEIGHTS[back]

    @property
    def runs(self) -> list[tuple[int, int, int]]:
        """Main item, first and one past the last of users next to one another who share it."""
        begins = run_starts(self.main_U)
        runs = zip(self.main_U[begins].tolist(), begins.tolist(), [*begins[1:].tolist(), len(self)], strict=True)
        return [run for run in runs if run[0] >= 0]

    def blocks(
        self, pairs: PairCounts, others_U: npt.NDArray[np.int64], most_users: int
    ) -> Iterator[npt.NDArray[np.int64]]:
        """Yield the users to take at once, those who share a main row one after another.

        Args:
            pairs: the counts.
            others_U: (U,) number of each user's entries besides the rows.
            most_users: number of users of a block at most.
        """
        if not len(self):
            return
        order = np.argsort(self.main_U, kind="stable")
        entries_U = others_U + pairs.sizes(self.items_UW).sum(1)
        begins_run = np.diff(self.main_U[order], prepend=-1) != 0
        work = entries_U[order] + np.where(begins_run, pairs.sizes(self.main_U[order]), 0)
        ends = np.flatnonzero(np.diff(np.cumsum(work) // _ENTRIES_AT_ONCE, append=-1)) + 1
        for part in np.split(order, ends[:-1]):
            for block in blocks(len(part), most_users):
                yield part[block]
