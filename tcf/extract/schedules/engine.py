"""The protocol of engines, which compute a shard by some schedule.

Shapes: B texts, T tokens, D width.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast

import torch
from torch import Tensor

from tcf.common.errors import ModelError
from tcf.common.torch_internals import is_out_of_memory
from tcf.encoders.encoder import Encoder
from tcf.encoders.prefix_sharing.tree_attention import TreeAttention
from tcf.encoders.tokenize import TokenSequences
from tcf.extract.micro_batches import MicroBatch
from tcf.extract.sinks import Sink

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = [
    "DeviceFull",
    "Engine",
    "NotFinite",
    "ProgressCallback",
    "as_device_full",
    "finite_flag",
    "halved",
    "ignore_progress",
    "inputs_on",
    "put",
    "put_empty",
]


_E = TypeVar("_E", bound="Engine")


class NotFinite(Exception):
    """Hidden states of a text are not finite.

    Attributes:
        layer: the first layer with such states.
        row: the text, as a row of the shard.
    """

    def __init__(self, layer: int, row: int) -> None:
        super().__init__(f"layer {layer}, row {row}")
        self.layer, self.row = layer, row


class DeviceFull(ModelError):
    """A device has too little memory for a micro-batch."""

    def __init__(self, device: torch.device, tokens_per_batch: int) -> None:
        super().__init__(
            f"{device}: out of memory with up to {tokens_per_batch} tokens at once; lower --tokens-per-batch, or pass "
            "a lower --max-memory so that weights take less"
        )


def as_device_full(error: RuntimeError, device: torch.device, tokens_per_batch: int) -> RuntimeError | DeviceFull:
    """`DeviceFull` for an out-of-memory error; any other error unchanged."""
    return DeviceFull(device, tokens_per_batch) if is_out_of_memory(error) else error


class ProgressCallback(Protocol):
    """Receives the progress on a shard."""

    def __call__(self, texts: float, tokens: float, note: str = "", *, resumed: bool = False) -> None:
        """Add texts that are done, or fractions of them if a pass visits each several times.

        Args:
            texts: number of texts.
            tokens: number of their tokens.
            note: a short note to display.
            resumed: whether an earlier attempt did this work.
        """


def ignore_progress(texts: float, tokens: float, note: str = "", *, resumed: bool = False) -> None:
    """A progress callback that does nothing."""


def finite_flag(states_BTD: Tensor) -> Tensor:
    """Whether all states are finite, as a flag on their device, without synchronising.

    The sum is tested: it is finite if all summands are, and much faster to test than each of them.
    """
    return torch.isfinite(states_BTD.sum(dtype=torch.float32))


class Engine(Protocol):
    """A language model that is ready to compute by some schedule."""

    @property
    def encoder(self) -> Encoder:
        """An encoder for a few texts at a time, possibly slow; used to find the text that causes an error."""

    @property
    def models(self) -> Sequence["PreTrainedModel"]:
        """The models of transformers that it runs, one for each device; none for word vectors."""

    @property
    def metadata(self) -> dict[str, Any]:
        """How it computes, for the manifests of shards."""

    def encode(
        self,
        batches: Sequence[MicroBatch],
        sequences: TokenSequences,
        sinks: Mapping[int, Sequence[Sink]],
        *,
        scratch: Path,
        advance: ProgressCallback,
    ) -> None:
        """Compute the hidden states of micro-batches, and pass those of every layer to its sinks.

        Args:
            batches: the micro-batches, of at most `tokens_per_batch` states unless they are a single text.
            sequences: the token sequences of which their texts are rows.
            sinks: the sinks of each of the encoder's layers.
            scratch: directory for unfinished work; created if needed, and removed at the end of the work.
            advance: progress callback.

        Raises:
            DeviceFull: a device has too little memory for a micro-batch.
            NotFinite: a text gives states that are not finite; schedules that check only the numbers to be stored do
                not raise it.
            ModelError: weights cannot be read.
        """

    @property
    def tokens_per_batch(self) -> int:
        """Maximum number of tokens, or nodes of a tree of prefixes, that a device runs at once."""

    def close(self) -> None:
        """Release files and threads."""


def halved(engine: _E) -> _E:
    """The same engine with half as many tokens at once, but at least one.

    Args:
        engine: a dataclass with `tokens_per_batch` and `metadata`, as all engines are.
    """
    tokens = max(1, engine.tokens_per_batch // 2)
    metadata = {**engine.metadata, "tokens_per_batch": tokens}
    half: _E = replace(cast(Any, engine), tokens_per_batch=tokens, metadata=metadata)
    return half


def inputs_on(
    device: torch.device, batch: MicroBatch, sequences: TokenSequences
) -> tuple[Tensor, TreeAttention | None]:
    """Token ids of a micro-batch, (B, T), and how its tree attends, on a device; does not synchronise with CUDA."""
    tokens_BT = torch.from_numpy(batch.tokens(sequences))
    if device.type == "cuda":
        tokens_BT = tokens_BT.pin_memory()
    tree = None if batch.tree is None else TreeAttention.of(batch.tree, device)
    return tokens_BT.to(device, non_blocking=True), tree


def put(batch: MicroBatch, states_BTD: Tensor, sinks: Sequence[Sink]) -> None:
    """Pass the states of a micro-batch to sinks."""
    for group, group_BTD in batch.by_group(states_BTD) if sinks else ():
        for sink in sinks:
            sink.put(group, group_BTD)


def put_empty(batch: MicroBatch, sinks: Mapping[int, Sequence[Sink]]) -> None:
    """Pass texts without tokens to sinks; no model is needed for them."""
    put(batch, torch.empty((batch.n_texts, 0, 0)), list(chain.from_iterable(sinks.values())))
