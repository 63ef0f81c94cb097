"""The resident schedule: the whole model on one device, one micro-batch after the other."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from tcf.encoders.encoder import Encoder
from tcf.encoders.tokenize import TokenSequences
from tcf.extract.micro_batches import in_order, micro_batches
from tcf.extract.schedules.engine import ProgressCallback, as_device_full, on_device, put_empty
from tcf.extract.sinks import Sink

__all__ = ["ResidentEngine"]


@dataclass(frozen=True)
class ResidentEngine:
    """A model that runs a micro-batch from its first block to its last.

    Attributes:
        encoder: the language model.
        tokens_per_batch: maximum number of tokens computed at once.
        metadata: how it computes, for the manifests of shards.
        offload: directory that accelerate reads weights from; removed when the engine is closed.
    """

    encoder: Encoder
    tokens_per_batch: int
    metadata: dict[str, Any]
    offload: TemporaryDirectory[str] | None = None

    def encode(
        self,
        sequences: TokenSequences,
        sinks: Mapping[int, Sequence[Sink]],
        *,
        scratch: Path,
        advance: ProgressCallback,
    ) -> npt.NDArray[np.int64]:
        """Compute token sequences once, and pass the states of every layer to its sinks; see `Engine.encode`."""
        batches = micro_batches(sequences.lengths, self.tokens_per_batch)
        for batch in batches:
            if not batch.length:
                put_empty(batch, sinks)
                advance(len(batch.rows), 0)
                continue
            try:
                with torch.inference_mode():
                    states = self.encoder.states(on_device(sequences.block(batch.rows), self.encoder.device))
                    for layer, states_BTD in zip(self.encoder.layers, states, strict=True):
                        for sink in sinks[layer]:
                            sink.put(batch, states_BTD)
            except RuntimeError as error:
                raise as_device_full(error, self.encoder.device, self.tokens_per_batch) from None
            advance(len(batch.rows), batch.n_tokens)
        return in_order(batches)

    def close(self) -> None:
        """Remove the files that accelerate wrote."""
        if self.offload is not None:
            self.offload.cleanup()
