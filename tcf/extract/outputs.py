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
from tcf.config.extract import ExtractConfig, Pooling
from tcf.data.cache.cache_files import TOKEN_STATES, VECTORS, Kind
from tcf.data.cache.caches import write_token_shard
from tcf.data.cache.writer import create_cache, write_shard
from tcf.data.keys import Keys
from tcf.encoders.encoder import layer_width
from tcf.encoders.folder.model_folder import ModelFolder
from tcf.encoders.pooling import pool
from tcf.extract.micro_batches import Indices
from tcf.extract.sinks import Sink, TokenSink, VectorSink

__all__ = ["Output", "plan_outputs"]


@dataclass(frozen=True)
class Output:
    """A cache to fill.

    Attributes:
        path: its directory.
        layer: the layer whose states it stores.
        width: width of a vector, or of a token state.
        pooling: how a text's states become a vector; None to store the states of every token.
        storage: storage type.
        identity: everything that its numbers depend on.
    """

    path: Path
    layer: int
    width: int
    pooling: Pooling | None
    storage: torch.dtype
    identity: Mapping[str, Any]

    @property
    def kind(self) -> Kind:
        """Whether it stores vectors or token states."""
        return TOKEN_STATES if self.pooling is None else VECTORS

    @property
    def parquet(self) -> Path:
        """The file with the dataset's vectors that `--parquet` writes beside the cache."""
        return self.path.with_name(f"{self.path.name}.parquet")

    @property
    def remedy(self) -> str:
        """What to pass if a number is too large for the storage type."""
        return "pass --token-storage bfloat16" if self.pooling is None else "pass --storage float32"

    def create(self, model: str) -> None:
        """Create the cache, unless it exists."""
        create_cache(self.path, identity=self.identity, model=model, width=self.width, kind=self.kind)

    def numbers(self, states_BTD: Tensor) -> Tensor:
        """The numbers stored for these states, before rounding to the storage type."""
        return states_BTD if self.pooling is None else pool(states_BTD, self.pooling)

    def sink(self, lengths: Indices, device: torch.device) -> VectorSink | TokenSink:
        """A sink for the states of a shard whose texts have these lengths in tokens."""
        if self.pooling is None:
            return TokenSink(lengths, self.width, self.storage, device)
        return VectorSink(len(lengths), self.width, self.storage, self.pooling, device)

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
    out: Path, config: ExtractConfig, folder: ModelFolder, pooling: Pooling, identity: Mapping[str, Any]
) -> list[Output]:
    """The caches that the settings request: `out` itself if it is a single one, else folders below it.

    Args:
        out: path of the cache, or of the folder of several caches.
        config: layers, token states, storage types.
        folder: the model.
        pooling: pooling of the vectors.
        identity: the part of the identity that all caches share.

    Raises:
        ConfigError: the model has no such layer or projection, or several caches are requested and `out` is a cache.
    """
    several = len(config.pooled_layers) + (config.token_states is not None) > 1
    if several and is_published(out):
        raise ConfigError(
            f"--out: expected a folder for several caches, found {out}, which is a cache itself; name another folder"
        )

    def output(layer: int, name: str, pooling: Pooling | None, storage: str) -> Output:
        pooled = {} if pooling is None else {"pooling": pooling}
        own = {**identity, **pooled, "layer": layer, "storage": storage}
        width = layer_width(folder, layer, project_out=config.project_out)
        return Output(out / name if several else out, layer, width, pooling, getattr(torch, storage), own)

    outputs = [output(layer, f"layer{layer}", pooling, config.storage) for layer in config.pooled_layers]
    if (layer := config.token_states) is not None:
        outputs.append(output(layer, f"tokens{layer}", None, config.token_storage))
    return outputs
