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
from tcf.extract.micro_batches import MicroBatch, in_order, micro_batches
from tcf.extract.schedules.engine import Advance, as_device_full, on_device, put_nothing
from tcf.extract.sinks import Sink

__all__ = ["ResidentEngine"]


@dataclass(frozen=True)
class ResidentEngine:
    """A model that runs a micro-batch from its first block to its last.

    Attributes:
        encoder: the language model.
        tokens_per_batch: most tokens that it reads at once.
        facts: how it computes, for the manifests of shards.
        offload: files that accelerate reads weights from; removed when the engine is closed.
    """

    encoder: Encoder
    tokens_per_batch: int
    facts: dict[str, Any]
    offload: TemporaryDirectory[str] | None = None

    def encode(
        self, sequences: TokenSequences, sinks: Mapping[int, Sequence[Sink]], *, scratch: Path, advance: Advance
    ) -> npt.NDArray[np.int64]:
        """Read token sequences once, and give the states of every layer to its sinks; see `Engine.encode`."""
        batches = micro_batches(sequences.lengths, self.tokens_per_batch)
        for batch in batches:
            if batch.length:
                self._read(batch, sequences.block(batch.rows), sinks)
            else:
                put_nothing(batch, sinks)
            advance(len(batch.rows), batch.n_tokens)
        return in_order(batches)

    def close(self) -> None:
        """Remove what accelerate wrote."""
        if self.offload is not None:
            self.offload.cleanup()

    def _read(self, batch: MicroBatch, block: npt.NDArray[np.int64], sinks: Mapping[int, Sequence[Sink]]) -> None:
        device = self.encoder.device
        try:
            with torch.inference_mode():
                states = self.encoder.states(on_device(block, device))
                for layer, states_BTD in zip(self.encoder.layers, states, strict=True):
                    for sink in sinks[layer]:
                        sink.put(batch, states_BTD)
        except RuntimeError as error:
            raise as_device_full(error, device, self.tokens_per_batch) from None
