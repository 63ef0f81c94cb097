"""The baseline that scores an item by how often it occurred close to the user's latest items.

Shapes: U evaluated users, N items of the catalogue, M ranked items, T targets of all users.
"""

from collections.abc import Callable
from dataclasses import dataclass
from queue import SimpleQueue

import numpy as np
import numpy.typing as npt

from tcf.common.ragged import spans
from tcf.common.threads import ordered_map
from tcf.data.histories import Histories, latest
from tcf.data.split import Split, training_histories
from tcf.evaluate.baselines.merged_rows import most_users, value_bits
from tcf.evaluate.baselines.pair_counts import WINDOW, PairCounts
from tcf.evaluate.baselines.recent_rows import RecentRows
from tcf.evaluate.baselines.row_ranks import Cells, count_block
from tcf.evaluate.baselines.union_sizes import MOST_KEYS
from tcf.ranking.ranked_items import RankedItems
from tcf.ranking.task import RankingTask

__all__ = ["CoOccurrence"]

_THREADS = 2


@dataclass(frozen=True)
class CoOccurrence:
    """Scores an item by how often, and how close, it occurred to the user's latest items in training histories.

    Two items at most 5 positions apart in a training history add 1 / distance to their count. A user's score for an
    item is the sum of its counts with the user's last 5 items, each times 1 / (that item's position from the end);
    it is in units of 1 / 3600. Scores are summed as whole numbers and compared in float32.

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
        self, task: RankingTask, advance: Callable[[int], object] | None = None
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
        free_cells = SimpleQueue[Cells]()
        for _ in range(_THREADS):
            free_cells.put(Cells.of(self.pairs))

        def counted(users: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], ...]:
            cells, part = free_cells.get(), RankingTask(task.targets.take(users), task.excluded.take(users))
            greater, equal = count_block(self.pairs, rows.take(users), part, bits, cells)
            free_cells.put(cells)
            return users, greater, equal

        others_U = task.excluded.lengths + task.targets.lengths
        blocks = rows.blocks(self.pairs, others_U, min(MOST_KEYS // self.n_items, most_users(self.pairs, bits)))
        for users, greater, equal in ordered_map(counted, blocks, _THREADS):
            places_T = spans(task.targets.offsets[users], task.targets.lengths[users])
            greater_T[places_T], equal_T[places_T] = greater, equal
            if advance is not None:
                advance(len(users))
        return greater_T, equal_T
