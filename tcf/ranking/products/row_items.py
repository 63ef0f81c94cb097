"""The candidates of listed rows: the items that share a row, less those that are excluded.

Shapes: E entries.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tcf.common.ragged import spans
from tcf.data.histories import Histories, owners
from tcf.ranking.catalogue import ScoreRows
from tcf.ranking.ranked_lists import Entries, unseen
from tcf.ranking.seen_items import counts_at

__all__ = ["RowItems"]


@dataclass(frozen=True)
class RowItems:
    """Which candidates the users of a block have in a row.

    Attributes:
        rows: which items share a row.
        excluded: the items of each user of the block that are no candidates, distinct and rising.
        keys: rising; user x number of rows + row, where some items of a row of several are excluded.
        counts: how many they are.
    """

    rows: ScoreRows
    excluded: Histories
    keys: npt.NDArray[np.int64]
    counts: npt.NDArray[np.int64]

    @staticmethod
    def of(rows: ScoreRows, excluded: Histories) -> "RowItems":
        """Count the excluded items of rows that several items share."""
        rows_X = rows.row_of_item[excluded.items]
        shared_X = rows_X < rows.n_shared
        keys, counts = np.unique((owners(excluded) * rows.n_rows + rows_X)[shared_X], return_counts=True)
        return RowItems(rows, excluded, keys, counts)

    def entries(
        self,
        users_E: npt.NDArray[np.int64],
        rows_E: npt.NDArray[np.int64],
        scores_E: npt.NDArray[np.float32],
        most: int,
    ) -> Entries:
        """Return the candidates of some rows, in the order of the rows, those of a row by item.

        Args:
            users_E: users of the block.
            rows_E: a row of each; one that a single item has must be a candidate of the user.
            scores_E: its score.
            most: no more than so many candidates of a row are needed.
        """
        shared_E = rows_E < self.rows.n_shared
        if not shared_E.any():
            return Entries(users_E, self.rows.items[self.rows.offsets[rows_E]], scores_E)
        numbers_E = np.ones(len(rows_E), np.int64)
        excluded = counts_at(self.keys, self.counts, (users_E * self.rows.n_rows + rows_E)[shared_E])
        numbers_E[shared_E] = np.minimum(self.rows.sizes[rows_E[shared_E]], most + excluded)
        items = self.rows.items[spans(self.rows.offsets[rows_E], numbers_E)]
        expanded = Entries(np.repeat(users_E, numbers_E), items, np.repeat(scores_E, numbers_E))
        return unseen(expanded, self.excluded, self.rows.n_items)
