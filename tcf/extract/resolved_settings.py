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
    """What depends on the model and on this machine.

    Attributes:
        pooling: how states become a vector.
        dtype: type to compute in.
        device: where to compute.
    """

    pooling: Pooling
    dtype: torch.dtype
    device: torch.device


def check_settings(config: ExtractConfig, folder: ModelFolder) -> None:
    """Refuse tokens and layers that the model has not.

    Raises:
        ConfigError: naming the option.
    """
    check_max_tokens(folder, config.max_tokens)
    if config.pooled_layers:
        check_layers(folder, config.pooled_layers)
    if config.token_states is not None:
        check_layers(folder, (config.token_states,), option="--token-states")


def resolve(config: ExtractConfig, folder: ModelFolder) -> Settings:
    """Resolve what was left open, and refuse what the model or this machine cannot do.

    Raises:
        ConfigError: naming the option.
    """
    device = resolve_devices(config.devices)[0]
    check_settings(config, folder)
    pooling = folder.pooling if config.pooling == "auto" else config.pooling
    if pooling is None and config.pooled_layers:
        *first, last = get_args(Pooling)
        raise ConfigError(
            f"--pooling: expected {', '.join(first)} or {last}, because {folder.path / '1_Pooling'} asks for one "
            "that is not supported; found auto"
        )
    return Settings(
        pooling=pooling or "mean",  # where nothing is pooled
        dtype=resolve_dtype(config.dtype, folder, device),
        device=device,
    )
