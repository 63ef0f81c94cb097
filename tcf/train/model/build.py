"""Builds and initialises recommenders."""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from tcf.common.errors import ConfigError
from tcf.common.random_streams import RandomStream, torch_generator
from tcf.config.train import TrainConfig
from tcf.train.model.dssm import MeanOfHistory, UserIds
from tcf.train.model.item_tower import DTL, DeepItems, IdItems, ItemTower, SummedItems, TextItems
from tcf.train.model.recommender import Backbone, Recommender
from tcf.train.model.sasrec import SASRec
from tcf.train.vectors.item_vectors import ItemVectors

__all__ = ["build_model", "outline_model"]


def build_model(
    config: TrainConfig,
    n_items: int,
    n_users: int,
    vectors: ItemVectors | None,
    device: torch.device,
    *,
    counts_N: npt.NDArray[np.int64] | None = None,
    first_ids_NK: Tensor | None = None,
) -> Recommender:
    """Build and initialise a recommender; what is random depends on the seed alone, not on the device.

    Args:
        config: architecture and seed.
        n_items: N, size of the catalogue.
        n_users: number of users of the dataset.
        vectors: the items' cached vectors, for items as text.
        device: device of the model.
        counts_N: (N,) how often each item occurs in training; needed with `id_gate`.
        first_ids_NK: (N, K) first values of the first K numbers of each id; random ones if None.

    Raises:
        ConfigError: items as text without vectors.
    """
    # Built on the meta device first, so that torch's own initialisation does not use the global generator.
    model = outline_model(config, n_items, n_users, vectors).to_empty(device="cpu")
    _initialise(model, torch_generator(RandomStream.FIRST_WEIGHTS, config.seed))
    for module in model.modules():
        match module:
            case IdItems():
                _start_ids(module, config, first_ids_NK)
            case SummedItems(gate_N=Tensor() as gate_N):
                gate_N.copy_(_gate(counts_N, config.id_gate))
    return model.to(device)


def outline_model(config: TrainConfig, n_items: int, n_users: int, vectors: ItemVectors | None) -> Recommender:
    """Build a recommender on the meta device, where parameters have shapes but take no memory.

    Raises:
        ConfigError: items as text without vectors.
    """
    with torch.device("meta"):
        return Recommender(_build_items(config, n_items, vectors), _build_backbone(config, n_users))


def _build_items(config: TrainConfig, n_items: int, vectors: ItemVectors | None) -> ItemTower:
    tower: TextItems | IdItems | SummedItems
    match config.items:
        case "text":
            tower = _text_items(config, vectors)
        case "id":
            tower = IdItems(n_items, config.width)
        case "text+id":
            text, ids = _text_items(config, vectors), IdItems(n_items, config.width)
            tower = SummedItems(text, ids, gated=config.id_gate is not None, id_dropout=config.id_dropout)
    if config.backbone == "dssm" and config.mlp_layers:
        return DeepItems(tower, DTL(config.width, config.width, config.mlp_layers, config.dropout))
    return tower


def _text_items(config: TrainConfig, vectors: ItemVectors | None) -> TextItems:
    if vectors is None:
        raise ConfigError(f"--items {config.items}: expected a vector cache, found none; add --cache")
    return TextItems(vectors, DTL(vectors.width, config.width, config.dtl_layers, config.dropout))


def _build_backbone(config: TrainConfig, n_users: int) -> Backbone:
    match config.backbone, config.user_tower:
        case "sasrec", _:
            return SASRec(config.width, config.history, config.blocks, config.heads, config.dropout, config.norm)
        case "dssm", "id":
            return UserIds(n_users, config.width)
        case "dssm", "history":
            return MeanOfHistory(config.history)
    raise AssertionError(config.backbone)


def _initialise(model: nn.Module, generator: torch.Generator) -> None:
    """Xavier normal for linear maps and embeddings, zero biases, identity norms (the study's settings)."""
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


def _start_ids(ids: IdItems, config: TrainConfig, first_NK: Tensor | None) -> None:
    """Replace random first values; those of all other parameters are as without."""
    with torch.no_grad():
        if config.id_init == "zero":
            ids.embedding.weight.zero_()
        if first_NK is not None:
            ids.embedding.weight[:, : first_NK.shape[1]] = first_NK.cpu()


def _gate(counts_N: npt.NDArray[np.int64] | None, constant: float | None) -> Tensor:
    """The weights of ids, n / (n + constant), (N,): 0 for an item without training interactions, whatever constant."""
    if counts_N is None or constant is None:
        raise ValueError("a gate expects how often each item occurs in training")
    return torch.from_numpy(np.where(counts_N > 0, counts_N / np.maximum(counts_N + constant, 1), 0)).float()
