"""The resident schedule: the whole model on one device, one micro-batch after the other."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import torch

from tcf.encoders.encoder import Encoder, TransformersEncoder
from tcf.encoders.tokenize import TokenSequences
from tcf.extract.micro_batches import MicroBatch
from tcf.extract.schedules.engine import ProgressCallback, as_device_full, inputs_on, put, put_empty
from tcf.extract.sinks import Sink

if TYPE_CHECKING:
    from transformers import PreTrainedModel

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

    @property
    def models(self) -> Sequence["PreTrainedModel"]:
        """The model; none for word vectors."""
        return [self.encoder.model] if isinstance(self.encoder, TransformersEncoder) else []

    def encode(
        self,
        batches: Sequence[MicroBatch],
        sequences: TokenSequences,
        sinks: Mapping[int, Sequence[Sink]],
        *,
        scratch: Path,
        advance: ProgressCallback,
    ) -> None:
        """Compute micro-batches one by one, and pass the states of every layer to its sinks; see `Engine.encode`."""
        for batch in batches:
            if not batch.n_states:
                put_empty(batch, sinks)
                advance(batch.n_texts, 0)
                continue
            try:
                with torch.inference_mode():
                    states = self.encoder.states(*inputs_on(self.encoder.device, batch, sequences))
                    for layer, states_BTD in zip(self.encoder.layers, states, strict=True):
                        put(batch, states_BTD, sinks[layer])
            except RuntimeError as error:
                raise as_device_full(error, self.encoder.device, self.tokens_per_batch) from None
            advance(batch.n_texts, batch.n_tokens)

    def close(self) -> None:
        """Remove the files that accelerate wrote."""
        if self.offload is not None:
            self.offload.cleanup()
