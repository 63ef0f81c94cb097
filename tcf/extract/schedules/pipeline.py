"""The pipeline: a model too large for one device is split over several, and micro-batches flow through them.

Every device runs its range of blocks on one micro-batch while the devices before it run theirs on later ones, so all
compute at once. The first device also runs what precedes the blocks, the last one what follows them.

Shapes: B texts, T tokens, D width.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from tcf.common.threads import Channel
from tcf.encoders.blocks import LAST
from tcf.encoders.encoder import Encoder
from tcf.encoders.split.blockwise_forward import BlockwiseForward
from tcf.encoders.tokenize import TokenSequences
from tcf.extract.micro_batches import MicroBatch, micro_batches
from tcf.extract.schedules.device_threads import run_threads
from tcf.extract.schedules.engine import (
    NotFinite,
    ProgressCallback,
    as_device_full,
    finite_flag,
    ignore_progress,
    inputs_on,
    put,
    put_empty,
)
from tcf.extract.schedules.lane import Lane
from tcf.extract.schedules.single_text_encoder import SingleTextEncoder
from tcf.extract.sinks import Sink

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["PipelineEngine", "PipelineStage"]

_AHEAD = 2  # micro-batches that wait before each device

Sinks = Mapping[int, Sequence[Sink]]


@dataclass(frozen=True, eq=False)
class PipelineStage:
    """A device with a range of blocks.

    Attributes:
        lane: the model with the weights of these blocks.
        numbers: the numbers of these blocks.
    """

    lane: Lane
    numbers: range


@dataclass(eq=False)
class _InFlight:
    """A micro-batch between two devices."""

    batch: MicroBatch
    states_BTD: Tensor
    forward: BlockwiseForward
    finite: list[Tensor] = field(default_factory=list)

    def move(self, device: torch.device) -> None:
        """Move the micro-batch, with everything it carries, to a device."""
        self.states_BTD = self.states_BTD.to(device, non_blocking=True)
        self.forward.move(device)


@dataclass(frozen=True)
class PipelineEngine:
    """A model split over several devices.

    Attributes:
        first: the model with the weights around its blocks, on the first device.
        last: the same on the last device.
        stages: the devices with their blocks, in order.
        tokens_per_batch: maximum number of tokens that a device runs at once.
        metadata: how it computes, for the manifests of shards.
    """

    first: Lane
    last: Lane
    stages: Sequence[PipelineStage]
    tokens_per_batch: int
    metadata: dict[str, Any]

    @property
    def encoder(self) -> Encoder:
        """An encoder for a few texts at a time."""
        skeleton = self.first.skeleton
        return SingleTextEncoder(skeleton.folder, self.first.device, skeleton.layers, self._read_alone)

    @property
    def models(self) -> Sequence["PreTrainedModel"]:
        """The model's structure on each device."""
        return [lane.skeleton.model for lane in (self.first, self.last, *(stage.lane for stage in self.stages))]

    def encode(
        self,
        batches: Sequence[MicroBatch],
        sequences: TokenSequences,
        sinks: Sinks,
        *,
        scratch: Path,
        advance: ProgressCallback,
    ) -> None:
        """Pass micro-batches through the devices, and the states of every layer to its sinks; see `Engine.encode`."""
        between = [Channel[_InFlight](_AHEAD) for _ in range(len(self.stages) + 1)]
        stages = [
            partial(self._run, stage, coming, going, sinks)
            for stage, coming, going in zip(self.stages, between, between[1:], strict=False)
        ]
        pieces = [
            partial(self._enter, batches, sequences, between[0], sinks),
            *stages,
            partial(self._leave, sequences, between[-1], sinks, advance),
        ]
        try:
            run_threads(pieces, [channel.close for channel in between])
        except RuntimeError as error:
            raise as_device_full(error, self.first.device, self.tokens_per_batch) from None
        for batch in batches:
            if not batch.n_states:
                put_empty(batch, sinks)
                advance(batch.n_texts, 0)

    def close(self) -> None:
        """Do nothing: there is nothing to release."""

    def _enter(
        self, batches: Sequence[MicroBatch], sequences: TokenSequences, going: Channel[_InFlight], sinks: Sinks
    ) -> None:
        with torch.inference_mode():
            for batch in batches:
                if batch.n_states:
                    script = self.first.record(*inputs_on(self.first.device, batch, sequences))
                    flowing = _InFlight(batch, script.states_BTD, BlockwiseForward(script.calls))
                    _give(flowing, 0, script.states_BTD, sinks)
                    going.put(flowing)
        going.close()

    def _run(self, stage: PipelineStage, coming: Channel[_InFlight], going: Channel[_InFlight], sinks: Sinks) -> None:
        with torch.inference_mode():
            for flowing in coming:
                flowing.move(stage.lane.device)
                states_BTD = flowing.states_BTD
                for number in stage.numbers:
                    states_BTD = flowing.forward.run(stage.lane.blocks[number], number, states_BTD)
                    _give(flowing, number + 1, states_BTD, sinks)
                flowing.states_BTD = states_BTD
                going.put(flowing)
        going.close()

    def _leave(
        self, sequences: TokenSequences, coming: Channel[_InFlight], sinks: Sinks, advance: ProgressCallback
    ) -> None:
        with torch.inference_mode():
            for flowing in coming:
                _check(flowing)
                if LAST in sinks:
                    states_BTD = flowing.states_BTD.to(self.last.device, non_blocking=True)
                    inputs = inputs_on(self.last.device, flowing.batch, sequences)
                    put(flowing.batch, self.last.finish(states_BTD, *inputs), sinks[LAST])
                advance(flowing.batch.n_texts, flowing.batch.n_tokens)

    def _read_alone(self, sequences: TokenSequences, sinks: Sinks) -> None:
        tokens = max(1, int(sequences.offsets[-1]))
        engine = replace(self, tokens_per_batch=tokens)
        batches = micro_batches(sequences.lengths, tokens)
        engine.encode(batches, sequences, sinks, scratch=Path(), advance=ignore_progress)


def _give(flowing: _InFlight, layer: int, states_BTD: Tensor, sinks: Sinks) -> None:
    """Pass a layer's states to its sinks, and record whether they are finite."""
    flowing.finite.append(finite_flag(states_BTD))
    put(flowing.batch, states_BTD, sinks.get(layer, ()))


def _check(flowing: _InFlight) -> None:
    """Raise `NotFinite` with the first layer whose states were not finite, and a text whose last states are not."""
    finite = [bool(flag) for flag in flowing.finite]
    if all(finite):
        return
    row = flowing.batch.first_bad(torch.isfinite(flowing.states_BTD).all(dim=2))
    if row is not None:
        raise NotFinite(finite.index(False), row)
