"""DSSM's user towers: a learned embedding per user, as in the study, or the mean of the user's items.

Shapes: B rows, I items read (packed, see `PackedLayout`), D width.
"""

import torch
from torch import Tensor, nn

from tcf.train.batch.packed_layout import PackedLayout
from tcf.train.model.embedding import make_embedding

__all__ = ["MeanOfHistory", "UserIds"]


class UserIds(nn.Module):
    """Users as ids: a learned embedding per user; histories are not used.

    Args:
        n_users: number of users of the dataset.
        width: D.
    """

    positions = 1

    def __init__(self, n_users: int, width: int) -> None:
        super().__init__()
        self.n_users: int | None = n_users
        self.embedding = make_embedding(n_users, width)

    def forward(self, vectors_ID: Tensor, layout: PackedLayout, users_B: Tensor) -> Tensor:
        """Each row's state, (B, D)."""
        states_BD: Tensor = self.embedding(users_B)
        return states_BD

    def last_states(self, vectors_ID: Tensor, layout: PackedLayout, users_B: Tensor) -> Tensor:
        """The same as `forward`."""
        return self.forward(vectors_ID, layout, users_B)


class MeanOfHistory(nn.Module):
    """Users as histories: the mean of the item vectors; zero for an empty history.

    It has no parameters and does not depend on the user, so it also works for unseen users and catalogues.

    Args:
        positions: maximum number of items of a history that are read.
    """

    n_users: int | None = None

    def __init__(self, positions: int) -> None:
        super().__init__()
        self.positions = positions

    def forward(self, vectors_ID: Tensor, layout: PackedLayout, users_B: Tensor) -> Tensor:
        """Each row's state, (B, D)."""
        # In float32: a sum of many 16-bit numbers would lose precision.
        sums_BD = vectors_ID.new_zeros(layout.users, vectors_ID.shape[1], dtype=torch.float32)
        sums_BD = sums_BD.index_add(0, layout.rows_P, vectors_ID.float())
        return sums_BD / layout.lengths_B.clamp(min=1)[:, None]

    def last_states(self, vectors_ID: Tensor, layout: PackedLayout, users_B: Tensor) -> Tensor:
        """The same as `forward`."""
        return self.forward(vectors_ID, layout, users_B)
