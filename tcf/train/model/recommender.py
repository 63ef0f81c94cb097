"""A recommender: an item tower, and a backbone that turns item vectors into user states.

Shapes: N items, U distinct items, P targets and I items read of a batch, B users, D width.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from tcf.common.errors import DataError
from tcf.data.dataset import Histories
from tcf.data.histories import latest
from tcf.train.batch.batch import Batch
from tcf.train.batch.packed_layout import PackedLayout, to_device
from tcf.train.model.item_tower import ItemTower

__all__ = ["Backbone", "Recommender"]

_USERS_AT_ONCE = 256


class Backbone(Protocol):
    """Computes users' states from the items that they have read.

    Attributes:
        positions: maximum number of items of a history that are read.
        n_users: number of users with an embedding; None if users are represented by their histories alone.
    """

    positions: int
    n_users: int | None

    def __call__(self, vectors_ID: Tensor, layout: PackedLayout, users_B: Tensor) -> Tensor:
        """The user's state for each target of a batch, (P, D).

        Args:
            vectors_ID: vectors of the items read, (I, D), packed.
            layout: their layout.
            users_B: each row's user, as an index among all users of the dataset.
        """

    def last_states(self, vectors_ID: Tensor, layout: PackedLayout, users_B: Tensor) -> Tensor:
        """The state of each row after its last item, (B, D)."""


class Recommender(nn.Module):
    """An item tower and a backbone; the score of an item is the inner product of its vector and the user's state.

    With a temperature, that product is the cosine of what tower and backbone compute, divided by the temperature: item
    vectors have length 1, also where the backbone reads them, and states have length 1 / temperature.

    Args:
        items: the item tower, a module.
        backbone: computes users' states, a module.
        temperature: divisor of the cosine, more than 0; None for vectors and states as they are.
    """

    def __init__(self, items: ItemTower, backbone: Backbone, temperature: float | None = None) -> None:
        super().__init__()
        self.items = items
        self.backbone = backbone
        self.temperature = temperature

    def forward(self, batch: Batch, read_UV: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """States and item vectors for the loss.

        Each distinct item passes the item tower once, so dropout in a DTL is drawn once per item of the batch; the
        study draws it separately for every occurrence of the item.

        Args:
            batch: the batch.
            read_UV: the cached vectors of the batch's items, if they were prefetched.

        Returns:
            The user's state for each target, (P, D), and the vectors of the batch's distinct items, (U, D).
        """
        return self.over(batch, self.items(batch.items_U, read_UV))

    def over(self, batch: Batch, vectors_UD: Tensor) -> tuple[Tensor, Tensor]:
        """The same as `forward`, given what the item tower computes for the batch's distinct items, (U, D)."""
        vectors_UD = self._as_scored(vectors_UD)
        # `embedding`, because its gradient is faster than that of indexing.
        read_ID = nn.functional.embedding(batch.inputs_I, vectors_UD)
        return self._as_scoring(self.backbone(read_ID, batch.layout, batch.users_B)), vectors_UD

    @torch.inference_mode()
    def item_vectors(self) -> Tensor:
        """The vector of every item without dropout, (N, D) float32, on the model's device."""
        with _evaluating(self):
            if self.temperature is None:
                return self.items.all_item_vectors().detach().float()
            vectors_RD, rows_N = self.items.distinct()  # so that items of equal text keep equal bits
            return self._as_scored(vectors_RD).detach()[rows_N]

    @torch.inference_mode()
    def user_states(
        self,
        users: npt.NDArray[np.int64],
        histories: Histories,
        vectors_ND: Tensor,
        advance: Callable[[int], object] | None = None,
    ) -> npt.NDArray[np.float32]:
        """The states of users after their last item, without dropout.

        Args:
            users: (n_users,) their indices among all users of the dataset.
            histories: each user's items, oldest first, at least one; only as many of the latest as the model reads.
            vectors_ND: the result of `item_vectors`.
            advance: called with the number of users whose states have just been computed.

        Returns:
            (n_users, D) float32.

        Raises:
            DataError: a user has no item, or has no embedding in a model with user ids.
        """
        known = self.backbone.n_users
        if known is not None and len(users) and users.max() >= known:
            raise DataError(
                f"user {users.max()} (counted from 0): expected one of the {known} users that the model was trained "
                "on, because it represents users by their ids; for others, train a model with --user-tower history"
            )
        if not histories.lengths.all():
            raise DataError(
                f"history {int(np.argmin(histories.lengths))} (counted from 0): expected at least one item, found "
                "none; leave out users without items"
            )
        inputs = latest(histories, self.backbone.positions)
        states = np.empty((len(inputs), vectors_ND.shape[1]), np.float32)
        with _evaluating(self):
            for start in range(0, len(inputs), _USERS_AT_ONCE):
                part = np.arange(start, min(start + _USERS_AT_ONCE, len(inputs)))
                states[part] = self._states_of(users[part], inputs.take(part), vectors_ND).float().cpu().numpy()
                if advance is not None:
                    advance(len(part))
        return states

    def _states_of(self, users: npt.NDArray[np.int64], inputs: Histories, vectors_ND: Tensor) -> Tensor:
        items_I, users_B = to_device((inputs.items.astype(np.int64), users), vectors_ND.device)
        layout = PackedLayout.build(inputs.offsets, self.backbone.positions, vectors_ND.device)
        return self._as_scoring(self.backbone.last_states(vectors_ND[items_I], layout, users_B))

    def _as_scored(self, vectors_UD: Tensor) -> Tensor:
        """Item vectors as scores and backbone read them; of length 1 in float32 if scores are cosines."""
        return vectors_UD if self.temperature is None else nn.functional.normalize(vectors_UD.float(), dim=1)

    def _as_scoring(self, states_PD: Tensor) -> Tensor:
        """States whose products with item vectors are the scores."""
        if self.temperature is None:
            return states_PD
        return nn.functional.normalize(states_PD.float(), dim=1) / self.temperature


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Switch dropout off within the context."""
    before = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(before)
