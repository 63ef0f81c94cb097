"""Builds and initialises recommenders."""

import torch
from torch import nn

from tcf.common.errors import ConfigError
from tcf.common.random_streams import RandomStream, torch_generator
from tcf.config.train import TrainConfig
from tcf.train.model.cache_mix import CacheMix
from tcf.train.model.dssm import MeanOfHistory, UserIds
from tcf.train.model.item_tower import DTL, DeepItems, IdItems, ItemTower, SummedItems, TextItems
from tcf.train.model.recommender import Backbone, Recommender
from tcf.train.model.sasrec import SASRec
from tcf.train.vectors.item_vectors import ItemVectors

__all__ = ["build_model", "outline_model"]


def build_model(
    config: TrainConfig, n_items: int, n_users: int, vectors: ItemVectors | None, device: torch.device
) -> Recommender:
    """Build and initialise a recommender; its initial values depend on the seed alone, not on the device.

    Args:
        config: architecture and seed.
        n_items: N, size of the catalogue.
        n_users: number of users of the dataset.
        vectors: the items' cached vectors, for items as text.
        device: device of the model.

    Raises:
        ConfigError: items as text without vectors.
    """
    # Built on the meta device first, so that torch's own initialisation does not use the global generator.
    model = outline_model(config, n_items, n_users, vectors).to_empty(device="cpu")
    _initialise(model, torch_generator(RandomStream.FIRST_WEIGHTS, config.seed))
    return model.to(device)


def outline_model(config: TrainConfig, n_items: int, n_users: int, vectors: ItemVectors | None) -> Recommender:
    """Build a recommender on the meta device, where parameters have shapes but take no memory.

    Raises:
        ConfigError: items as text without vectors.
    """
    with torch.device("meta"):
        temperature = config.temperature if config.similarity == "cosine" else None
        return Recommender(_build_items(config, n_items, vectors), _build_backbone(config, n_users), temperature)


def _build_items(config: TrainConfig, n_items: int, vectors: ItemVectors | None) -> ItemTower:
    tower: TextItems | IdItems | SummedItems
    match config.items:
        case "text":
            tower = _text_items(config, vectors)
        case "id":
            tower = IdItems(n_items, config.width)
        case "text+id":
            tower = SummedItems(_text_items(config, vectors), IdItems(n_items, config.width))
    if config.backbone == "dssm" and config.mlp_layers:
        return DeepItems(tower, DTL(config.width, config.width, config.mlp_layers, config.dropout))
    return tower


def _text_items(config: TrainConfig, vectors: ItemVectors | None) -> TextItems:
    if vectors is None:
        raise ConfigError(f"--items {config.items}: expected a vector cache, found none; add --cache")
    widths, mixes = vectors.layout.widths, config.mix == "weights"
    dtl = DTL(widths[0] if mixes else sum(widths), config.width, config.dtl_layers, config.dropout)
    return TextItems(vectors, dtl, CacheMix(len(widths)) if mixes else None)


def _build_backbone(config: TrainConfig, n_users: int) -> Backbone:
    match config.backbone, config.user_tower:
        case "sasrec", _:
            return SASRec(
                config.width,
                config.history,
                config.blocks,
                config.heads,
                config.dropout,
                norm=config.norm,
                block=config.block,
                position=config.position,
            )
        case "dssm", "id":
            return UserIds(n_users, config.width)
        case "dssm", "history":
            return MeanOfHistory(config.history)
    raise AssertionError(config.backbone)


def _initialise(model: nn.Module, generator: torch.Generator) -> None:
    """Xavier normal for linear maps and embeddings, zero biases, identity norms (the study's settings); equal mixes."""
    for module in model.modules():
        match module:
            case nn.Linear():
                nn.init.xavier_normal_(module.weight, generator=generator)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            case nn.Embedding():
                nn.init.xavier_normal_(module.weight, generator=generator)
            case CacheMix():
                nn.init.zeros_(module.logits)
            case nn.LayerNorm():
                nn.init.ones_(module.weight)
                nn.init.zeros_(module.bias)
