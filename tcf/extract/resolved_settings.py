"""An extraction's settings with every `auto` resolved."""

from dataclasses import dataclass
from typing import get_args

import torch

from tcf.common.devices import resolve_devices
from tcf.common.errors import ConfigError
from tcf.config.extract import ExtractConfig, Pooling
from tcf.encoders.encoder import check_layers, resolve_dtype
from tcf.encoders.folder.model_folder import ModelFolder
from tcf.encoders.tokenize import check_max_tokens

__all__ = ["Settings", "check_settings", "resolve"]


@dataclass(frozen=True)
class Settings:
    """Settings that depend on the model and this machine.

    Attributes:
        pooling: how a text's states become a vector.
        dtype: type to compute in.
        device: where to compute.
    """

    pooling: Pooling
    dtype: torch.dtype
    device: torch.device


def check_settings(config: ExtractConfig, folder: ModelFolder) -> None:
    """Refuse a text length or layers that the model does not have.

    Raises:
        ConfigError: naming the option.
    """
    check_max_tokens(folder, config.max_tokens)
    if config.pooled_layers:
        check_layers(folder, config.pooled_layers)
    if config.token_states is not None:
        check_layers(folder, (config.token_states,), option="--token-states")


def resolve(config: ExtractConfig, folder: ModelFolder) -> Settings:
    """Resolve every `auto`, and refuse what the model or this machine cannot do.

    Raises:
        ConfigError: naming the option.
    """
    device = resolve_devices(config.devices)[0]
    check_settings(config, folder)
    pooling = folder.pooling if config.pooling == "auto" else config.pooling
    if pooling is None and config.pooled_layers:
        *first, last = get_args(Pooling)
        raise ConfigError(
            f"--pooling: expected {', '.join(first)} or {last}, because {folder.path / '1_Pooling'} names a pooling "
            "that is not supported, found auto; pass one of them"
        )
    return Settings(
        pooling=pooling or "mean",  # not used: nothing is pooled
        dtype=resolve_dtype(config.dtype, folder, device),
        device=device,
    )
