"""A recommender: items and a sequence model over them; its one builder and its initialisation.

Shapes: N items, U distinct items and P positions of a batch, D width.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from tcf.config import TrainConfig
from tcf.data.dataset import Histories
from tcf.data.split import latest
from tcf.errors import ConfigError, DataError
from tcf.train.batches import Batch
from tcf.train.dtl import DTL
from tcf.train.items import IdItems, ItemTower, TextItems
from tcf.train.layout import Layout, to_device
from tcf.train.sasrec import SASRec
from tcf.train.vectors import ItemVectors

__all__ = ["Recommender", "build_model"]

_USERS_AT_ONCE = 256


class Recommender(nn.Module):
    """Items, and a sequence model over them; the score of an item is its vector's product with the user's state.

    Args:
        items: the item tower.
        backbone: the sequence model.
    """

    def __init__(self, items: ItemTower, backbone: SASRec) -> None:
        super().__init__()
        self.items = items
        self.backbone = backbone

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """States and vectors for the loss.

        Each distinct item passes the item tower once, so dropout in a DTL is drawn once an item of the batch; the study
        draws it anew at every place that the item takes.

        Args:
            batch: sequences of some users.

        Returns:
            The state at each position, (P, D), and the vectors of the batch's distinct items, (U, D).
        """
        vectors_UD = self.items(batch.items_U)
        # As an embedding, because its gradient is faster than that of indexing.
        states_PD = self.backbone(nn.functional.embedding(batch.inputs_P, vectors_UD), batch.layout)
        return states_PD, vectors_UD

    @torch.inference_mode()
    def item_vectors(self) -> Tensor:
        """The vector of every item without dropout, (N, D) float32, on the model's device."""
        with _evaluating(self):
            return self.items.all_item_vectors().detach()

    @torch.inference_mode()
    def user_states(self, histories: Histories, vectors_ND: Tensor) -> npt.NDArray[np.float32]:
        """The state of every user after the last item, without dropout.

        Args:
            histories: each user's items, oldest first, at least one; the latest are read, as many as the model knows.
            vectors_ND: what `item_vectors` gave.

        Returns:
            (n_users, D) float32.

        Raises:
            DataError: a user has no item.
        """
        if not histories.lengths.all():
            raise DataError(f"user {int(np.argmin(histories.lengths))} (counted from 0) has no item, so no state")
        inputs = latest(histories, self.backbone.positions)
        states = np.empty((len(inputs), vectors_ND.shape[1]), np.float32)
        with _evaluating(self):
            for start in range(0, len(inputs), _USERS_AT_ONCE):
                users = np.arange(start, min(start + _USERS_AT_ONCE, len(inputs)))
                states[users] = self._states_of(inputs.take(users), vectors_ND).cpu().numpy()
        return states

    def _states_of(self, inputs: Histories, vectors_ND: Tensor) -> Tensor:
        (items_P,) = to_device((inputs.items.astype(np.int64),), vectors_ND.device)
        layout = Layout.build(inputs.offsets, self.backbone.positions, vectors_ND.device)
        return self.backbone.last_states(vectors_ND[items_P], layout)


def build_model(config: TrainConfig, n_items: int, vectors: ItemVectors | None, device: torch.device) -> Recommender:
    """Build and initialise a recommender; the values follow from the seed alone, whatever the device.

    Args:
        config: architecture and seed.
        n_items: N, size of the catalogue.
        vectors: the items' cached vectors, for items as text.
        device: where the model is to be.

    Raises:
        ConfigError: items as text without vectors.
    """
    # Built without memory, so that torch's own initialisation draws nothing from the global generator.
    with torch.device("meta"):
        items = _build_items(config, n_items, vectors)
        model = Recommender(items, _build_backbone(config))
    model.to_empty(device="cpu")
    _initialise(model, torch.Generator().manual_seed(config.seed))
    return model.to(device)


def _build_items(config: TrainConfig, n_items: int, vectors: ItemVectors | None) -> ItemTower:
    match config.items:
        case "text" if vectors is not None:
            return TextItems(vectors, DTL(vectors.width, config.width, config.dtl_layers, config.dropout))
        case "text":
            raise ConfigError("--items text: expected a vector cache, found none; add --cache")
        case "id":
            return IdItems(n_items, config.width)


def _build_backbone(config: TrainConfig) -> SASRec:
    match config.backbone:
        case "sasrec":
            return SASRec(config.width, config.history, config.blocks, config.heads, config.dropout)


def _initialise(model: nn.Module, generator: torch.Generator) -> None:
    """Xavier normal for linear maps and embeddings, zero biases, norms that change nothing (study's settings)."""
    for module in model.modules():
        match module:
            case nn.Linear():
                nn.init.xavier_normal_(module.weight, generator=generator)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            case nn.Embedding():
                nn.init.xavier_normal_(module.weight, generator=generator)
            case nn.LayerNorm():
                nn.init.ones_(module.weight)
                nn.init.zeros_(module.bias)


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Dropout off inside the block."""
    before = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(before)
