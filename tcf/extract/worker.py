"""One worker on a shard after the other: claimed, computed, checked, and saved while the next one is computed."""

import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from tcf.common.files import is_published
from tcf.common.manifest import digest
from tcf.common.progress import Progress
from tcf.common.threads import BackgroundWorker
from tcf.data.cache.shard_leases import heartbeats, lease, release
from tcf.data.cache.writer import shard_path
from tcf.data.item_table import ItemTable
from tcf.data.key_set import KeySet
from tcf.extract.non_finite import fault, not_finite
from tcf.extract.outputs import Output
from tcf.extract.schedules.engine import DeviceFull, Engine, NotFinite, halved
from tcf.extract.schedules.sweep_folder import Unfinished
from tcf.extract.shards import Shard
from tcf.extract.sinks import Sink, TokenSink, VectorSink

__all__ = ["Worker"]

_GLANCE = 0.2  # seconds between looks at what another worker is doing

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class _Task:
    """A shard, and what the caches lack of it.

    Attributes:
        shard: the token sequences.
        lacking: of each cache, the rows of the shard that it lacked at the start.
        places: where those are published, for the caches that lack any.
        scratch: where unfinished work on the shard may be kept.
    """

    shard: Shard
    lacking: tuple[Rows, ...]
    places: tuple[Path, ...]
    scratch: Path

    @property
    def is_done(self) -> bool:
        return all(is_published(place) for place in self.places)

    def claim(self) -> bool:
        """Whether this process may compute the shard; it may, where nobody has to."""
        return self.is_done or lease(self.places[0])

    def release(self) -> None:
        for place in self.places[:1]:
            release(place)


@dataclass
class Worker:
    """Brings shards into caches.

    Several workers on the same caches share the work: a shard that another one has claimed is put off, and computed at
    the end should that one have died over it.

    Attributes:
        load: loads the language model; called once, when there is something to compute.
        items: the item table.
        outputs: the caches.
        stored: of each cache, the sequences that it had at the start.
        model: the encoder's name, for people.
        progress: counts the items gone through.
        unfinished: where unfinished work is kept.
        computed: sequences computed by this worker.
    """

    load: Callable[[], Engine]
    items: ItemTable
    outputs: Sequence[Output]
    stored: Sequence[KeySet]
    model: str
    progress: Progress
    unfinished: Unfinished
    computed: int = 0
    _engine: Engine | None = None
    _created: bool = False
    _put_off: list[_Task] = field(default_factory=list)

    def run(self, shards: Iterator[Shard]) -> None:
        """Compute and publish every shard that is not there.

        Raises:
            ModelError: the language model cannot be loaded, or gives a number that cannot be stored.
            RunError: a cache cannot be written.
        """
        try:
            with BackgroundWorker() as saving:
                self._run(shards, saving)
        finally:
            if self._engine is not None:
                self._engine.close()

    def _run(self, shards: Iterator[Shard], saving: BackgroundWorker) -> None:
        for shard in shards:
            self._drop_done()
            task = self._task(shard)
            if task.claim():
                self._bring(task, saving)
            else:
                self._put_off.append(task)
        for task in self._put_off:
            self._await(task)
            self._bring(task, saving)

    def create_caches(self) -> None:
        """Make the caches that are not there yet."""
        if not self._created:
            for output in self.outputs:
                output.create(self.model)
        self._created = True

    def _task(self, shard: Shard) -> _Task:
        lacking = tuple(np.flatnonzero(~stored.contains(shard.keys)) for stored in self.stored)
        places = tuple(
            shard_path(output.path, shard.keys[rows])
            for output, rows in zip(self.outputs, lacking, strict=True)
            if len(rows)
        )
        scratch = self.unfinished.of_shard(digest([str(place.name) for place in places])[:32])
        return _Task(shard, lacking, places, scratch)

    def _await(self, task: _Task) -> None:
        """Wait while another worker computes a shard; until it has it done, or is dead or silent for long."""
        while not task.claim():
            self.progress.advance(0, "waiting for another worker")
            time.sleep(_GLANCE)

    def _bring(self, task: _Task, saving: BackgroundWorker) -> None:
        if task.is_done:
            task.release()
            self.progress.advance(task.shard.span)
            return
        try:
            self._compute(task, saving)
        except BaseException:
            task.release()
            raise

    def _compute(self, task: _Task, saving: BackgroundWorker) -> None:
        engine, sinks, order = self._encode_smaller(task)
        suspects = np.unique(np.concatenate([sink.unstorable(order) for sink in sinks]))
        if len(suspects):
            raise fault(engine.encoder, self.items, task.shard, self.outputs, suspects)
        saving.do(partial(self._save, task, sinks, order, engine.facts))
        self.computed += len(task.shard.keys)

    def _encode_smaller(self, task: _Task) -> tuple[Engine, list[VectorSink | TokenSink], Rows]:
        """Encode a shard; with half as many tokens at once for as long as the device has too little memory."""
        while True:
            engine = self._engine or self._load()
            lengths = task.shard.sequences.lengths
            sinks = [output.sink(lengths, engine.encoder.device) for output in self.outputs]
            try:
                return engine, sinks, self._encode(engine, task, sinks)
            except NotFinite as error:
                raise not_finite(self.items, task.shard, error.row, error.layer) from None
            except DeviceFull as error:
                if engine.tokens_per_batch <= lengths.max():
                    raise
                self._engine = halved(engine)
                if torch.cuda.is_available():
                    torch.cuda.empty_cache()
                print(f"extract: {error}; going on with {self._engine.tokens_per_batch}", file=sys.stderr)

    def _load(self) -> Engine:
        self._engine = self.load()
        self.progress.restart_clock()
        return self._engine

    def _encode(self, engine: Engine, task: _Task, sinks: Sequence[Sink]) -> Rows:
        n, span = len(task.shard.keys), task.shard.span
        done = 0.0

        def advance(texts: float, tokens: float, note: str = "") -> None:
            nonlocal done
            before, done = done, done + texts
            # Items gone through, in proportion to the texts computed.
            self.progress.advance(int(span * done / n + 1e-6) - int(span * before / n + 1e-6), note, extra=tokens)

        by_layer = {
            layer: [sink for output, sink in zip(self.outputs, sinks, strict=True) if output.layer == layer]
            for layer in engine.encoder.layers
        }
        with heartbeats(task.places[0]):
            return engine.encode(task.shard.sequences, by_layer, scratch=task.scratch, advance=advance)

    def _save(self, task: _Task, sinks: Sequence[Sink], order: Rows, facts: dict[str, Any]) -> None:
        try:
            self.create_caches()
            for output, sink, rows in zip(self.outputs, sinks, task.lacking, strict=True):
                if len(rows):
                    output.write(task.shard.keys, sink, order, rows, facts)
            shutil.rmtree(task.scratch, ignore_errors=True)
        finally:
            task.release()

    def _drop_done(self) -> None:
        """Forget shards that another worker has published in the meantime, so that few are kept."""
        waiting = []
        for task in self._put_off:
            if task.is_done:
                self.progress.advance(task.shard.span)
            else:
                waiting.append(task)
        self._put_off = waiting
