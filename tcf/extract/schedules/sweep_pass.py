"""The forward pass of a macro-batch through the blocks of a lane, with what every micro-batch carries along.

Shapes: B texts, T tokens, D width.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from tcf.encoders.blocks import LAST
from tcf.encoders.prefix_sharing.tree_attention import TreeAttention
from tcf.encoders.split.block_calls import BlockOutput
from tcf.encoders.split.blockwise_forward import BlockwiseForward
from tcf.encoders.tokenize import TokenSequences
from tcf.extract.micro_batches import MicroBatch
from tcf.extract.schedules.device_threads import ProgressCounter
from tcf.extract.schedules.engine import NotFinite, finite_flag, inputs_on, put
from tcf.extract.schedules.hidden_states import HiddenStates
from tcf.extract.schedules.lane import Lane
from tcf.extract.sinks import Sink

__all__ = ["ForwardPass"]


@dataclass(eq=False)
class ForwardPass:
    """The forward pass of one lane's micro-batches.

    Attributes:
        lane: the device that computes them.
        batches: the micro-batches that have tokens.
        sequences: all token sequences of the macro-batch.
        states: where hidden states are kept.
        sinks: the sinks of each layer.
        progress: counts every micro-batch that passes a block.
        width: width of a state.
        entering: type of the states that enter the next block.
        forwards: for each micro-batch, its forward pass through the blocks.
        restored: for each micro-batch, what earlier blocks returned for later ones, if work is resumed.
    """

    lane: Lane
    batches: Sequence[MicroBatch]
    sequences: TokenSequences
    states: HiddenStates
    sinks: Mapping[int, Sequence[Sink]]
    progress: ProgressCounter
    width: int
    entering: torch.dtype
    forwards: list[BlockwiseForward] = field(default_factory=list)
    restored: list[dict[BlockOutput, Tensor]] | None = None

    def run(
        self,
        blocks: range,
        with_weights: Callable[[int], AbstractContextManager[nn.Module]],
        block_done: Callable[[int], None],
    ) -> None:
        """Run the model on all micro-batches: up to its blocks, through one block after the other, and to its end.

        Args:
            blocks: the blocks to run; if work is resumed, they do not begin with the first.
            with_weights: returns a block, with its weights in place within the context.
            block_done: called after each block with the number of the model's blocks that are done.

        Raises:
            NotFinite: states that enter the first block, or leave a block, are not finite.
            ModelError: the model cannot be run block by block.
        """
        with torch.inference_mode():
            self._enter()
            for number in blocks:
                leaving, flags = self.entering, list[Tensor]()
                with with_weights(number) as block:
                    for place, (batch, forward) in enumerate(zip(self.batches, self.forwards, strict=True)):
                        self.states.expect(self.batches[place + 1 : place + 2], self.lane.device)
                        states_BTD = forward.run(block, number, self._entering(batch))
                        leaving = states_BTD.dtype
                        flags.append(self._keep(number + 1, batch, states_BTD))
                        self.progress.passed(batch, number)
                    self.entering = leaving
                    self._check(number + 1, flags)
                block_done(number + 1)
            for batch in () if blocks.stop else self.batches:  # only layer 0 is needed
                self.progress.passed(batch, 0)
            self._leave()

    def _enter(self) -> None:
        """Run the model up to its first block, and record the arguments of its blocks.

        If work is resumed, the states are not stored, because later ones have been restored.
        """
        flags = []
        for place, batch in enumerate(self.batches):
            script = self.lane.record(*self._inputs(batch))
            if self.restored is not None:
                self.forwards.append(BlockwiseForward(script.calls, self.restored[place]))
                continue
            self.forwards.append(BlockwiseForward(script.calls))
            self.entering = script.states_BTD.dtype
            flags.append(self._keep(0, batch, script.states_BTD))
        self._check(0, flags)

    def _leave(self) -> None:
        """Run the model from its last block on, if its last states are needed."""
        if LAST not in self.sinks:
            return
        for batch in self.batches:
            states_BTD = self.lane.finish(self._entering(batch), *self._inputs(batch))
            put(batch, states_BTD, self.sinks[LAST])

    def _entering(self, batch: MicroBatch) -> Tensor:
        return self.states.get(batch, self.lane.device).to(self.entering)

    def _keep(self, layer: int, batch: MicroBatch, states_BTD: Tensor) -> Tensor:
        """Keep a layer's states; returns a flag on the device, whether they are finite."""
        self.states.put(batch, states_BTD)
        put(batch, states_BTD, self.sinks.get(layer, ()))
        return finite_flag(states_BTD)

    def _check(self, layer: int, flags: Sequence[Tensor]) -> None:
        """Raise `NotFinite` with the first text whose states are not finite; this synchronises with the device."""
        if not flags or bool(torch.stack(list(flags)).all()):
            return
        for batch, flag in zip(self.batches, flags, strict=True):
            if not flag:
                row = batch.first_bad(torch.isfinite(self.states.get(batch, self.lane.device)).all(dim=2))
                if row is not None:
                    raise NotFinite(layer, row)

    def _inputs(self, batch: MicroBatch) -> tuple[Tensor, TreeAttention | None]:
        return inputs_on(self.lane.device, batch, self.sequences)
