"""The rows of scores of items that are no candidates: rows without a candidate, and rows that have some left.

Shapes: P rows with some candidates left.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tcf.data.histories import Histories, owners
from tcf.ranking.catalogue import ScoreRows

__all__ = ["ExcludedRows", "Places"]


@dataclass(frozen=True)
class Places:
    """Places in a matrix of scores.

    Attributes:
        users: (n,) positions in the block of users, rising.
        rows: (n,) rows of scores.
    """

    users: Tensor
    rows: Tensor

    @staticmethod
    def of(users: npt.NDArray[np.int64], rows: npt.NDArray[np.int64], device: torch.device) -> "Places":
        """Move places to a device."""
        return Places(torch.from_numpy(users).to(device), torch.from_numpy(rows).to(device))

    def among(self, rows: slice) -> Tensor:
        """Return which of the places are in a block of rows, as their numbers."""
        return torch.nonzero((self.rows >= rows.start) & (self.rows < rows.stop)).ravel()

    def take(self, numbers: Tensor) -> "Places":
        """Return some of the places."""
        return Places(self.users[numbers], self.rows[numbers])


@dataclass(frozen=True)
class ExcludedRows:
    """The rows of the excluded items of a block of users.

    Attributes:
        masked: rows of which no item is a candidate of the user.
        partial: rows of which some items are not.
        counts_P: how many they are, float64.
    """

    masked: Places
    partial: Places
    counts_P: Tensor

    @staticmethod
    def of(excluded: Histories, rows: ScoreRows, device: torch.device) -> "ExcludedRows":
        """Find them.

        Args:
            excluded: the items of each user of the block that are no candidates, each once.
            rows: which items share a row.
            device: where the scores are.
        """
        users_E, rows_E = owners(excluded), rows.row_of_item[excluded.items]
        shared_E = rows_E < rows.n_shared
        keys, counts = np.unique(users_E[shared_E] * rows.n_rows + rows_E[shared_E], return_counts=True)
        users_of, rows_of = keys // rows.n_rows, keys % rows.n_rows
        left = counts < rows.sizes[rows_of]
        masked_users = np.concatenate([users_E[~shared_E], users_of[~left]])
        masked_rows = np.concatenate([rows_E[~shared_E], rows_of[~left]])
        return ExcludedRows(
            Places.of(masked_users, masked_rows, device),
            Places.of(users_of[left], rows_of[left], device),
            torch.from_numpy(counts[left].astype(np.float64)).to(device),
        )
