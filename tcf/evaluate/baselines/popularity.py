"""The baseline that scores an item by its number of training interactions.

Shapes: U evaluated users, N ranked items, T targets of all users, L distinct scores.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tcf.data.histories import Histories, owners
from tcf.data.split import Split, training_counts
from tcf.evaluate.baselines.free_places import first_free
from tcf.ranking.catalogue import blocks
from tcf.ranking.ranked_items import RankedItems
from tcf.ranking.ranked_lists import RankedLists
from tcf.ranking.ranker import Advance
from tcf.ranking.task import RankingTask

__all__ = ["Popularity"]

_USERS_AT_ONCE = 1 << 13


@dataclass(frozen=True)
class Popularity:
    """Scores an item by its number of training interactions in float32, the same for every user.

    Attributes:
        n_users: number of users, U.
        counts: training interactions of every ranked item, (N,).
    """

    n_users: int
    counts: npt.NDArray[np.int64]

    @classmethod
    def learn(cls, split: Split, n_users: int, n_items: int) -> "Popularity":
        """Count items in the training part of all histories, to rank for so many evaluated users."""
        return cls(n_users, training_counts(split, n_items))

    def among(self, ranked: RankedItems) -> "Popularity":
        """Return the ranking of these items alone, by their places."""
        return Popularity(self.n_users, self.counts[ranked.items])

    @property
    def n_items(self) -> int:
        """Number of ranked items, N."""
        return len(self.counts)

    def count(
        self, task: RankingTask, advance: Advance | None = None
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Count the candidates that score above each target, and the other candidates that score the same.

        All items are counted once for each score; a user's excluded items are taken off.

        Args:
            task: the targets, and each user's items that are no candidates.
            advance: called with the number of users that have just been counted for.

        Returns:
            Two arrays, (T,).
        """
        _, level_N, sizes_L = np.unique(self.counts.astype(np.float32), return_inverse=True, return_counts=True)
        above_L = self.n_items - np.cumsum(sizes_L)
        levels_T = level_N[task.targets.items]
        greater_T, equal_T = above_L[levels_T], sizes_L[levels_T] - 1  # without the target itself
        for block in blocks(self.n_users, _USERS_AT_ONCE):
            users = np.arange(block.start, block.stop)
            excluded, targets = task.excluded.take(users), task.targets.take(users)
            places = slice(task.targets.offsets[block.start], task.targets.offsets[block.stop])
            keys = np.sort(owners(excluded) * len(sizes_L) + level_N[excluded.items])
            wanted = owners(targets) * len(sizes_L) + levels_T[places]
            until = np.searchsorted(keys, wanted, side="right")
            greater_T[places] -= excluded.offsets[1:][owners(targets)] - until
            equal_T[places] -= until - np.searchsorted(keys, wanted)
            if advance is not None:
                advance(len(users))
        return greater_T, equal_T

    def lists(self, excluded: Histories, k: int, advance: Advance | None = None) -> RankedLists:
        """Return each user's k most popular candidates.

        Args:
            excluded: the items of each user that are no candidates, distinct and rising.
            k: list length.
            advance: called with the number of users that have just been finished.
        """
        order = np.argsort(-self.counts.astype(np.float32), kind="stable")
        places_N = np.empty_like(order)
        places_N[order] = np.arange(self.n_items)
        lists = RankedLists.empty(self.n_users, k)
        for block in blocks(self.n_users, _USERS_AT_ONCE):
            part = excluded.take(np.arange(block.start, block.stop))
            keys = np.sort(owners(part) * self.n_items + places_N[part.items])
            taken = Histories(part.offsets, (keys - owners(part) * self.n_items).astype(np.int32))
            free_UK = first_free(taken, k, self.n_items)
            there_UK = free_UK >= 0
            lists.items_UK[block][there_UK] = items = order[free_UK[there_UK]]
            lists.scores_UK[block][there_UK] = self.counts[items]
            if advance is not None:
                advance(len(part))
        return lists
