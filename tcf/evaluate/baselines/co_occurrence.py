"""The baseline that scores an item by how often it occurred close to the user's latest items.

Shapes: U evaluated users, B users of a block, N items of the catalogue, M ranked items, T targets of all users.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from queue import SimpleQueue

import numpy as np
import numpy.typing as npt

from tcf.common.ragged import spans
from tcf.common.threads import ordered_map
from tcf.data.histories import Histories, latest, per_user
from tcf.data.split import Split, training_histories
from tcf.evaluate.baselines.best_of_rows import best_of_rows
from tcf.evaluate.baselines.merged_rows import most_users, value_bits
from tcf.evaluate.baselines.pair_counts import WINDOW, PairCounts, Whole
from tcf.evaluate.baselines.recent_rows import RecentRows
from tcf.evaluate.baselines.row_ranks import count_scored
from tcf.evaluate.baselines.union_sizes import MOST_KEYS, union_sizes
from tcf.ranking.ranked_items import RankedItems
from tcf.ranking.ranked_lists import RankedLists
from tcf.ranking.ranker import Advance
from tcf.ranking.task import RankingTask

__all__ = ["CoOccurrence"]

_THREADS = 2


@dataclass(frozen=True)
class CoOccurrence:
    """Scores an item by how often, and how close, it occurred to the user's latest items in training histories.

    Two items at most 5 positions apart in a training history add 1 / distance to their count. A user's score for an
    item is the sum of its counts with the user's last 5 items, each times 1 / (that item's position from the end).
    Scores are whole numbers, in units of 1 / 3600, and compared in float32.

    Attributes:
        recent: the last items of the evaluated users, by their indices in the catalogue.
        pairs: the counts of all items with the ranked ones.
    """

    recent: Histories
    pairs: PairCounts

    @classmethod
    def learn(cls, split: Split, earlier: Histories, n_items: int) -> "CoOccurrence":
        """Count pairs in the training part of all histories, to score what follows the earlier items."""
        return cls(latest(earlier, WINDOW), PairCounts.learn(training_histories(split), n_items))

    def among(self, ranked: RankedItems) -> "CoOccurrence":
        """Return the ranking of these items alone, by their places."""
        return CoOccurrence(self.recent, self.pairs.among(ranked))

    @property
    def n_users(self) -> int:
        """Number of users, U."""
        return len(self.recent)

    @property
    def n_items(self) -> int:
        """Number of ranked items, M."""
        return self.pairs.n_columns

    def count(
        self, task: RankingTask, advance: Advance | None = None
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Count the candidates that score above each target, and the other candidates that score the same.

        Only the items that occurred close to a user's latest ones are looked at: all others have 0.

        Args:
            task: the targets, and each user's items that are no candidates.
            advance: called with the number of users that have just been counted for.

        Returns:
            Two arrays, (T,).

        Raises:
            RunError: the counts are too large to be added up.
        """
        greater_T, equal_T = np.zeros((2, len(task.targets.items)), np.int64)
        rows, bits = RecentRows.of(self.recent, self.pairs), value_bits(self.pairs)
        scored_U = per_user(rows.name(self.pairs, task.targets), task.targets.offsets) > 0
        free_cells = SimpleQueue[Whole]()
        for _ in range(_THREADS):
            free_cells.put(np.zeros(self.n_items, self.pairs.counts.dtype))

        def counted(users: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], ...]:
            some, cells_N = RankingTask(task.targets.take(users), task.excluded.take(users)), free_cells.get()
            try:
                if scored_U[users[0]]:
                    return users, *count_scored(self.pairs, rows.take(users), some, bits, cells_N)
                marks_N = cells_N.view(np.bool_)[: self.n_items]  # fewer bytes for the processor's cache
                return users, *self._count_unscored(rows.take(users), some, marks_N)
            finally:
                free_cells.put(cells_N)

        if advance is not None:
            advance(int((task.targets.lengths == 0).sum()))
        for users, greater, equal in ordered_map(counted, self._blocks(rows, task, scored_U, bits), _THREADS):
            places = spans(task.targets.offsets[users], task.targets.lengths[users])
            greater_T[places], equal_T[places] = greater, equal
            if advance is not None:
                advance(len(users))
        return greater_T, equal_T

    def _blocks(
        self, rows: RecentRows, task: RankingTask, scored_U: npt.NDArray[np.bool_], bits: int
    ) -> Iterator[npt.NDArray[np.int64]]:
        """Yield the users with targets to take at once: either all have a target with a score above 0, or none."""
        n_targets = task.targets.lengths
        for scored, most in ((True, most_users(self.pairs, bits)), (False, MOST_KEYS // self.n_items)):
            users = np.flatnonzero((scored_U == scored) & (n_targets > 0))
            others = (n_targets + task.excluded.lengths)[users]
            yield from (users[block] for block in rows.take(users).blocks(self.pairs, others, most))

    def _count_unscored(
        self, rows: RecentRows, task: RankingTask, marks_N: npt.NDArray[np.bool_]
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Count for targets that all have 0: whatever any of the user's rows names is above them."""
        above_B = union_sizes(self.pairs, rows, task.excluded, marks_N)
        same_B = self.n_items - task.excluded.lengths - above_B - 1  # without the target itself
        return np.repeat(above_B, task.targets.lengths), np.repeat(same_B, task.targets.lengths)

    def lists(self, excluded: Histories, k: int, advance: Advance | None = None) -> RankedLists:
        """Return each user's k best candidates.

        Args:
            excluded: the items of each user that are no candidates, distinct and rising.
            k: list length.
            advance: called with the number of users that have just been finished.

        Raises:
            RunError: the counts are too large to be added up.
        """
        lists = RankedLists.empty(self.n_users, k)
        rows, bits = RecentRows.of(self.recent, self.pairs, may_look=False), value_bits(self.pairs)
        blocks = rows.blocks(self.pairs, excluded.lengths + k, most_users(self.pairs, bits))

        def best(users: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], RankedLists]:
            return users, best_of_rows(self.pairs, rows.take(users), excluded.take(users), k, bits)

        for users, found in ordered_map(best, blocks, _THREADS):
            lists.items_UK[users], lists.scores_UK[users] = found.items_UK, found.scores_UK
            if advance is not None:
                advance(len(users))
        return lists
