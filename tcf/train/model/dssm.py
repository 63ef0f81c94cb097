"""DSSM's user towers: a learned embedding a user, as in the study, or the mean of the user's items.

Shapes: B rows, I items read (packed, see `layout`), D width.
"""

import torch
from torch import Tensor, nn

from tcf.train.batch.packed_layout import PackedLayout

__all__ = ["MeanOfHistory", "UserIds"]


class UserIds(nn.Module):
    """Users by their ids: a learned embedding each; what they have read adds nothing.

    Args:
        n_users: users of the dataset.
        width: D.
    """

    positions = 1

    def __init__(self, n_users: int, width: int) -> None:
        super().__init__()
        self.n_users: int | None = n_users
        self.embedding = nn.Embedding(n_users, width)

    def forward(self, vectors_ID: Tensor, layout: PackedLayout, users_B: Tensor) -> Tensor:
        """Each row's state, (B, D)."""
        states_BD: Tensor = self.embedding(users_B)
        return states_BD

    def last_states(self, vectors_ID: Tensor, layout: PackedLayout, users_B: Tensor) -> Tensor:
        """The same."""
        return self.forward(vectors_ID, layout, users_B)


class MeanOfHistory(nn.Module):
    """Users by what they read: the mean of the item vectors; zero where nothing was read.

    It has no parameters and knows no user, so it serves users and catalogues that it was not trained on.

    Args:
        positions: items of a history that are read at most.
    """

    n_users: int | None = None

    def __init__(self, positions: int) -> None:
        super().__init__()
        self.positions = positions

    def forward(self, vectors_ID: Tensor, layout: PackedLayout, users_B: Tensor) -> Tensor:
        """Each row's state, (B, D)."""
        # In float32: many 16-bit numbers in a row would not add up.
        sums_BD = vectors_ID.new_zeros(layout.users, vectors_ID.shape[1], dtype=torch.float32)
        sums_BD = sums_BD.index_add(0, layout.rows_P, vectors_ID.float())
        return sums_BD / layout.lengths_B.clamp(min=1)[:, None]

    def last_states(self, vectors_ID: Tensor, layout: PackedLayout, users_B: Tensor) -> Tensor:
        """The same."""
        return self.forward(vectors_ID, layout, users_B)
