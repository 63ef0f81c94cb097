"""The sweep inverts the loop order: blocks outside, micro-batches inside, so weights stream once per macro-batch.

A model that does not fit on the devices is built without weights. The weights around its blocks stay on every device;
the weights of a block are there only while it runs. Between two blocks the hidden states of all micro-batches are kept
on the device, in memory or in a file. Several devices share the micro-batches and the reading of weights.

Shapes: B texts, T tokens, D width.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from tcf.common.threads import Channel
from tcf.encoders.blocks import LAST
from tcf.encoders.encoder import Encoder
from tcf.encoders.onednn_packing import pack, packed
from tcf.encoders.split.weight_buffers import attach, detach
from tcf.encoders.tokenize import TokenSequences
from tcf.extract.micro_batches import MicroBatch, micro_batches
from tcf.extract.plan.plan import StatesPlace
from tcf.extract.schedules.device_threads import Barrier, ProgressCounter, run_threads
from tcf.extract.schedules.engine import ProgressCallback, as_device_full, ignore_progress, put_empty
from tcf.extract.schedules.hidden_states import HiddenStates, open_states
from tcf.extract.schedules.lane import Lane
from tcf.extract.schedules.single_text_encoder import SingleTextEncoder
from tcf.extract.schedules.sweep_checkpoint import SweepCheckpoint
from tcf.extract.schedules.sweep_pass import ForwardPass
from tcf.extract.schedules.weight_stream import BlockStream, Loaded
from tcf.extract.sinks import Sink

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["SweepEngine"]


@dataclass(frozen=True)
class SweepEngine:
    """A model whose blocks are run one after the other, each on a whole macro-batch.

    Attributes:
        lanes: the devices.
        stream: loads the weights of blocks that do not stay on the devices.
        streamed: the numbers of these blocks.
        packs: pack the weights of a block for oneDNN; with a single CPU only.
        tokens_per_batch: maximum number of tokens that a device runs at once.
        hidden_states: where hidden states are kept between blocks.
        checkpoint_layers: number of blocks between two checkpoints; None for no checkpoints.
        metadata: how it computes, for the manifests of shards.
    """

    lanes: Sequence[Lane]
    stream: BlockStream
    streamed: frozenset[int]
    packs: bool
    tokens_per_batch: int
    hidden_states: StatesPlace
    checkpoint_layers: int | None
    metadata: dict[str, Any]

    @property
    def encoder(self) -> Encoder:
        """An encoder for a few texts, in a pass of their own."""
        skeleton = self.lanes[0].skeleton
        return SingleTextEncoder(skeleton.folder, self.lanes[0].device, skeleton.layers, self._read_alone)

    @property
    def models(self) -> Sequence["PreTrainedModel"]:
        """The model's structure on each device."""
        return [lane.skeleton.model for lane in self.lanes]

    def encode(
        self,
        batches: Sequence[MicroBatch],
        sequences: TokenSequences,
        sinks: Mapping[int, Sequence[Sink]],
        *,
        scratch: Path,
        advance: ProgressCallback,
    ) -> None:
        """Pass micro-batches through the blocks, and the states of every layer to its sinks; see `Engine.encode`."""
        read = [batch for batch in batches if batch.n_states]
        for batch in batches[len(read) :]:
            put_empty(batch, sinks)
            advance(batch.n_texts, 0)
        if read:
            try:
                with (
                    torch.inference_mode(),
                    self._passes(sequences, read, sinks, scratch, advance) as (passes, abort),
                ):
                    if len(passes) == 1:
                        passes[0]()  # in this thread
                    else:
                        run_threads(passes, abort)
            except RuntimeError as error:
                raise as_device_full(error, self.lanes[0].device, self.tokens_per_batch) from None

    def close(self) -> None:
        """Release files, threads and memory."""
        self.stream.close()

    @property
    def depth(self) -> int:
        """The number of blocks to run: up to the highest requested layer."""
        layers = self.lanes[0].skeleton.layers
        return len(self.lanes[0].blocks) if LAST in layers else max(layers)

    @contextmanager
    def _passes(
        self,
        sequences: TokenSequences,
        batches: Sequence[MicroBatch],
        sinks: Mapping[int, Sequence[Sink]],
        scratch: Path,
        advance: ProgressCallback,
    ) -> Iterator[tuple[Sequence[Callable[[], None]], Sequence[Callable[[], None]]]]:
        """The forward pass of every lane, ready to run, and the functions that end all of them early."""
        lane, n = self.lanes[0], len(self.lanes)
        entering = lane.record(torch.zeros((1, 1), dtype=torch.int64, device=lane.device)).states_BTD
        progress = ProgressCounter(advance, self.depth)
        with self._states(batches[-1].states.stop, entering, scratch) as states:
            shared = sequences, states, sinks, progress, entering.shape[-1], entering.dtype
            passes = [ForwardPass(lane, batches[number::n], *shared) for number, lane in enumerate(self.lanes)]
            checkpoint = None if self.checkpoint_layers is None else self._checkpoint(scratch, passes, sinks)
            first = 0 if checkpoint is None else checkpoint.restore()
            progress.begin_at(first, batches)
            barrier = Barrier(n, None if checkpoint is None else partial(self._save, checkpoint))
            with self.stream.load_blocks(first, self.depth) as channels:
                runs = [
                    partial(
                        forward_pass.run,
                        range(first, self.depth),
                        partial(self._in_place, forward_pass.lane, loaded=channel),
                        barrier.reach,
                    )
                    for forward_pass, channel in zip(passes, channels, strict=True)
                ]
                yield runs, [barrier.abort, progress.abort, *(channel.close for channel in channels)]
            self.stream.check_unchanged()

    def _states(self, n_states: int, entering: Tensor, scratch: Path) -> HiddenStates:
        """Storage for the states of all micro-batches, in a type that holds what the blocks take and return."""
        lane = self.lanes[0]
        return open_states(
            "memory" if self.hidden_states == "device" and len(self.lanes) > 1 else self.hidden_states,
            n_states,
            entering.shape[-1],
            lane.shapes.dtype or entering.dtype,
            device=lane.device,
            file=scratch / "states.bin",
        )

    def _checkpoint(
        self, scratch: Path, passes: Sequence[ForwardPass], sinks: Mapping[int, Sequence[Sink]]
    ) -> SweepCheckpoint:
        kept = {str(layer): [[*sink.rows.shape, str(sink.rows.dtype)] for sink in of] for layer, of in sinks.items()}
        trees = any(batch.tree is not None for forward_pass in passes for batch in forward_pass.batches)
        # States of trees are in the order of their nodes, and which there are depends on where trees are cut.
        settings = {"layers": kept, **({"nodes_per_tree": self.tokens_per_batch} if trees else {})}
        return SweepCheckpoint(scratch, settings, self.tokens_per_batch, passes, sinks)

    def _save(self, checkpoint: SweepCheckpoint, done: int) -> None:
        if self.checkpoint_layers is not None and done % self.checkpoint_layers == 0 and done < self.depth:
            checkpoint.save(done)

    def _read_alone(self, sequences: TokenSequences, sinks: Mapping[int, Sequence[Sink]]) -> None:
        tokens = max(1, int(sequences.offsets[-1]))
        engine = replace(self, tokens_per_batch=tokens, hidden_states="memory", checkpoint_layers=None)
        batches = micro_batches(sequences.lengths, tokens)
        engine.encode(batches, sequences, sinks, scratch=Path(), advance=ignore_progress)

    @contextmanager
    def _in_place(self, lane: Lane, number: int, loaded: Channel[Loaded]) -> Iterator[nn.Module]:
        """A block, with its weights in place within the context."""
        block = lane.blocks[number]
        if number not in self.streamed:
            if self.packs:
                pack(block, keep=False)  # permanently: a packed block is left as it is the next time
            yield block
            return
        weights = loaded.get()
        if weights.block != number:
            raise RuntimeError(f"expected the weights of block {number}, found those of block {weights.block}")
        attach(block, weights.tensors)
        try:
            with packed(block) if self.packs else nullcontext():
                yield block
        finally:
            detach(block, weights.tensors)
            weights.release()
