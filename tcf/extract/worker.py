"""A worker that computes and checks one shard after the other, and saves each while the next is computed."""

import logging
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

from tcf.common.threads import BackgroundWorker
from tcf.data.cache.shard_leases import shard_heartbeats
from tcf.encoders.tokenize import TokenSequences
from tcf.extract.inputs import ExtractionInputs
from tcf.extract.micro_batches import Indices, MicroBatch, in_order, micro_batches, shared_micro_batches
from tcf.extract.non_finite import bad_by_themselves, fault, not_finite
from tcf.extract.progress import ExtractionProgress
from tcf.extract.schedules.engine import DeviceFull, Engine, NotFinite, halved
from tcf.extract.shard_jobs import ShardJob
from tcf.extract.sinks import Sink

__all__ = ["ShardWorker"]

logger = logging.getLogger(__name__)


@dataclass
class ShardWorker:
    """Computes shards and saves them in the caches.

    Attributes:
        inputs: the dataset, the model and the caches.
        progress: counts the items done.
        remember: called with the size of micro-batches once they have become smaller, for a restart.
        shares: whether texts that begin alike share the states of their common tokens.
        computed: number of sequences computed by this worker.
    """

    inputs: ExtractionInputs
    progress: ExtractionProgress
    remember: Callable[[int], None]
    shares: bool = False
    computed: int = 0
    _created: bool = False

    def compute(self, job: ShardJob, engine: Engine, saving: BackgroundWorker) -> Engine:
        """Compute a shard and hand it over to be saved; on out of memory, retry with half as many tokens at once.

        Args:
            job: the shard, with a lease that is released once it is saved.
            engine: the language model.
            saving: saves the shard in the background.

        Returns:
            The language model, with as many tokens at once as fit.

        Raises:
            ModelError: a text gives a number that cannot be stored, or does not fit on the device.
            RunError: the previous shard could not be saved.
        """
        lengths = job.shard.sequences.lengths
        while True:
            sinks = [output.sink(lengths, engine.encoder.device) for output in self.inputs.outputs]
            batches = self._batches(job.shard.sequences, engine.tokens_per_batch)
            try:
                with shard_heartbeats(job.places[0]):
                    engine.encode(
                        batches,
                        job.shard.sequences,
                        self._by_layer(engine, sinks),
                        scratch=job.scratch,
                        advance=self.progress.of_shard(job.shard),
                    )
                break
            except NotFinite as error:
                if self.shares:
                    together = next(batch.rows for batch in batches if error.row in batch.rows)
                    self._suspects_alone(job, engine, together)
                raise not_finite(self.inputs.items, job.shard, error.row, error.layer) from None
            except DeviceFull as error:
                if engine.tokens_per_batch <= lengths.max():
                    raise
                engine = _with_fewer_tokens(engine, error)
                self.remember(engine.tokens_per_batch)
        order = in_order(batches)
        self._check(job, engine, sinks, order)
        metadata = {**engine.metadata, "cut": self.inputs.cut, "shares_prefixes": self.shares}
        saving.do(partial(self._save, job, sinks, order, metadata))
        self.computed += len(job.shard.keys)
        return engine

    def create_caches(self) -> None:
        """Create the caches that do not exist yet."""
        if not self._created:
            for output in self.inputs.outputs:
                output.create(self.inputs.name)
        self._created = True

    def _batches(self, sequences: TokenSequences, tokens: int) -> Sequence[MicroBatch]:
        return shared_micro_batches(sequences, tokens) if self.shares else micro_batches(sequences.lengths, tokens)

    def _by_layer(self, engine: Engine, sinks: Sequence[Sink]) -> dict[int, list[Sink]]:
        return {
            layer: [sink for output, sink in zip(self.inputs.outputs, sinks, strict=True) if output.layer == layer]
            for layer in engine.encoder.layers
        }

    def _check(self, job: ShardJob, engine: Engine, sinks: Sequence[Sink], order: Indices) -> None:
        """Refuse a shard with a number that cannot be stored; this synchronises with the device."""
        suspects = np.unique(np.concatenate([sink.unstorable(order) for sink in sinks]))
        if len(suspects):
            if self.shares:
                suspects = self._suspects_alone(job, engine, suspects)
            raise fault(engine.encoder, self.inputs.items, job.shard, self.inputs.outputs, suspects)

    def _suspects_alone(self, job: ShardJob, engine: Engine, rows: Indices) -> Indices:
        """Those of a shard's texts that are at fault when none shares states with another.

        Raises:
            ModelError: a text gives states that are not finite.
        """
        scratch = job.scratch.with_name(f"{job.scratch.name}-alone")
        try:
            with shard_heartbeats(job.places[0]):
                return bad_by_themselves(engine, job.shard, self.inputs.outputs, rows, scratch)
        except NotFinite as error:
            raise not_finite(self.inputs.items, job.shard, error.row, error.layer) from None

    def _save(self, job: ShardJob, sinks: Sequence[Sink], order: Indices, metadata: Mapping[str, Any]) -> None:
        try:
            self.create_caches()
            for output, sink, rows in zip(self.inputs.outputs, sinks, job.lacking, strict=True):
                if len(rows):
                    output.write(job.shard.keys, sink, order, rows, metadata)
            shutil.rmtree(job.scratch, ignore_errors=True)
        finally:
            job.release()


def _with_fewer_tokens(engine: Engine, error: DeviceFull) -> Engine:
    half = halved(engine)
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    logger.warning(f"extract: {error}; continuing with {half.tokens_per_batch}")
    return half
