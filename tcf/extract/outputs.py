"""The caches that an extraction fills: one for the vectors of each layer, and one for token states.

Shapes: B texts, T tokens, D width.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tcf.common.errors import ConfigError
from tcf.common.files import is_published
from tcf.common.ragged import offsets_from, spans
from tcf.config.extract import ExtractConfig
from tcf.data.cache.cache_files import TOKEN_STATES, VECTORS, Kind
from tcf.data.cache.caches import write_token_shard
from tcf.data.cache.writer import create_cache, write_shard
from tcf.data.keys import Keys
from tcf.encoders.encoder import layer_width
from tcf.encoders.folder.model_folder import ModelFolder
from tcf.encoders.pooling import VectorHead
from tcf.encoders.vector_modules import describe_modules, load_modules
from tcf.extract.micro_batches import Indices
from tcf.extract.resolved_settings import Settings
from tcf.extract.sentence_options import modules_at, vector_width
from tcf.extract.sinks import Sink, TokenSink, VectorSink

__all__ = ["Output", "plan_outputs"]


@dataclass(frozen=True)
class Output:
    """A cache to fill.

    Attributes:
        path: its directory.
        layer: the layer whose states it stores.
        width: width of a vector, or of a token state.
        head: how a text's states become a vector; None to store the states of every token.
        storage: storage type.
        identity: everything that its numbers depend on.
    """

    path: Path
    layer: int
    width: int
    head: VectorHead | None
    storage: torch.dtype
    identity: Mapping[str, Any]

    @property
    def kind(self) -> Kind:
        """Whether it stores vectors or token states."""
        return TOKEN_STATES if self.head is None else VECTORS

    @property
    def parquet(self) -> Path:
        """The file with the dataset's vectors that `--parquet` writes beside the cache."""
        return self.path.with_name(f"{self.path.name}.parquet")

    @property
    def remedy(self) -> str:
        """What to pass if a number is too large for the storage type."""
        return "pass --token-storage bfloat16" if self.head is None else "pass --storage float32"

    def create(self, model: str) -> None:
        """Create the cache, unless it exists."""
        create_cache(self.path, identity=self.identity, model=model, width=self.width, kind=self.kind)

    def numbers(self, states_BTD: Tensor) -> Tensor:
        """The numbers stored for these states, before rounding to the storage type."""
        return states_BTD if self.head is None else self.head.on(states_BTD.device).vectors(states_BTD)

    def sink(self, lengths: Indices, device: torch.device) -> VectorSink | TokenSink:
        """A sink for the states of a shard whose texts have these lengths in tokens."""
        if self.head is None:
            return TokenSink(lengths, self.width, self.storage, device)
        return VectorSink(len(lengths), self.width, self.storage, self.head, device)

    def write(self, keys: Keys, sink: Sink, order: Indices, rows: Indices, metadata: Mapping[str, Any]) -> None:
        """Publish a shard.

        Args:
            keys: (n, 2) keys of the sequences that were computed.
            sink: holds their states.
            order: (n,) the sequences in the order in which the sink received them.
            rows: the sequences that this cache lacks.
            metadata: how they were computed.
        """
        match sink:
            case VectorSink():
                vectors = sink.vectors(order)
                write_shard(self.path, keys[rows], vectors if len(rows) == len(keys) else vectors[rows], metadata)
            case TokenSink():
                states, offsets = sink.states(order)
                if len(rows) < len(keys):
                    lengths = np.diff(offsets)[rows]
                    states, offsets = states[spans(offsets[rows], lengths)], offsets_from(lengths)
                write_token_shard(self.path, keys[rows], states, offsets, metadata)


def plan_outputs(
    out: Path, config: ExtractConfig, folder: ModelFolder, settings: Settings, skip: int, identity: Mapping[str, Any]
) -> list[Output]:
    """The caches that the settings request: `out` itself if it is a single one, else folders below it.

    Args:
        out: path of the cache, or of the folder of several caches.
        config: layers, token states, storage types.
        folder: the model.
        settings: the poolings of the vectors.
        skip: tokens at the start of a text that are not pooled.
        identity: the part of the identity that all caches share.

    Raises:
        ConfigError: the model has no such layer or projection, or several caches are requested and `out` is a cache.
        ModelError: a module of a sentence encoder has no usable weights.
    """
    several = len(config.pooled_layers) + (config.token_states is not None) > 1
    if several and is_published(out):
        raise ConfigError(
            f"--out: expected a folder for several caches, found {out}, which is a cache itself; name another folder"
        )

    def path(name: str) -> Path:
        return out / name if several else out

    outputs = []
    for layer in config.pooled_layers:
        modules = modules_at(folder, layer)
        loaded = load_modules(modules)
        own = {**identity, **_identity(settings, skip, describe_modules(modules, loaded)), "layer": layer}
        width = vector_width(config, folder, layer)
        head = VectorHead(settings.poolings, skip, loaded)
        outputs.append(_output(path(f"layer{layer}"), layer, width, head, config.storage, own))
    if config.token_states is not None:
        layer = config.token_states
        width = layer_width(folder, layer, project_out=config.project_out)
        own = {**identity, "layer": layer}
        outputs.append(_output(path(f"tokens{layer}"), layer, width, None, config.token_storage, own))
    return outputs


def _identity(settings: Settings, skip: int, modules: str) -> dict[str, Any]:
    """What vectors depend on besides the states; entries of some sentence encoders are left out for other models."""
    return {
        "pooling": ",".join(settings.poolings),
        **({"unpooled_tokens": skip} if skip else {}),
        **({"modules": modules} if modules else {}),
    }


def _output(
    path: Path, layer: int, width: int, head: VectorHead | None, storage: str, identity: Mapping[str, Any]
) -> Output:
    return Output(path, layer, width, head, getattr(torch, storage), {**identity, "storage": storage})
