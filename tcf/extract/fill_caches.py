"""Fills caches: texts are tokenised ahead of the device, shards saved in the background, text maps published last."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import chain

from tcf.common.progress import Progress
from tcf.common.threads import BackgroundWorker, prefetch
from tcf.data.cache.text_maps import TextMapWriter
from tcf.data.key_set import KeySet
from tcf.data.keys import Keys
from tcf.extract.inputs import ExtractionInputs
from tcf.extract.plan.plan import Plan
from tcf.extract.progress import ExtractionProgress
from tcf.extract.schedules.engine import Engine
from tcf.extract.schedules.sweep_folder import SweepFolder
from tcf.extract.shard_jobs import ShardJob, leased_jobs
from tcf.extract.shards import Shard, Tally, cut, one_part, read_texts
from tcf.extract.share_prefixes import shares_prefixes
from tcf.extract.worker import ShardWorker

__all__ = ["CacheFiller"]

_SHARDS_AHEAD = 2


@dataclass(frozen=True)
class CacheFiller:
    """Adds to the caches whatever they lack of a dataset.

    Attributes:
        inputs: the dataset, the model and the caches.
        sweep_folder: where a sweep keeps unfinished work.
        first: the first shard that this process has to compute, with a lease on it; None if there is none.
        rest: the shards after it.
        progress: counts the items done.
        remember: stores the size of micro-batches for a restart; see `ShardWorker`.
        text_maps: for each cache, the token sequence of each text.
        tally: the dataset's counts.
    """

    inputs: ExtractionInputs
    sweep_folder: SweepFolder
    first: ShardJob | None
    rest: Iterator[ShardJob]
    progress: ExtractionProgress
    remember: Callable[[int], None]
    text_maps: Sequence[TextMapWriter]
    tally: Tally

    @classmethod
    @contextmanager
    def open(cls, inputs: ExtractionInputs, plan: Plan, sweep_folder: SweepFolder) -> Iterator["CacheFiller"]:
        """Start reading texts, up to the first shard that has to be computed.

        Leaving the context discards whatever is not published, and releases every lease.

        Args:
            inputs: the dataset, the model and the caches.
            plan: the size of a shard, and the cost of the whole work.
            sweep_folder: where a sweep keeps unfinished work.

        Raises:
            DataError: the item table is damaged.
            RunError: a cache cannot be written.
        """
        tally, items, outputs = Tally(inputs.skip), inputs.items, inputs.outputs
        with ExitStack() as stack:
            text_maps = [stack.enter_context(TextMapWriter(output.path, items)) for output in outputs]
            shown = Progress("extract", items.n_items, "items", extra_unit="tokens", work=plan.flops)
            progress = ExtractionProgress(
                stack.enter_context(shown), plan.cost, plan.computed_tokens / max(1, plan.tokens)
            )
            shards = stack.enter_context(
                closing(prefetch(_shards(inputs, plan.macro_batch_rows, tally, text_maps), _SHARDS_AHEAD))
            )
            jobs = leased_jobs(shards, outputs, inputs.stored, sweep_folder, progress)
            stack.enter_context(closing(jobs))
            remember = _remember(inputs, plan, sweep_folder)
            yield cls(inputs, sweep_folder, next(jobs, None), jobs, progress, remember, text_maps, tally)

    @property
    def has_work(self) -> bool:
        """Whether this process has to compute a shard, and so needs the language model."""
        return self.first is not None

    def fill(self, engine: Engine | None) -> tuple[dict[str, int], int]:
        """Compute and publish every missing shard, then the text maps.

        Args:
            engine: the language model, closed at the end; None if there is no work for it.

        Returns:
            The dataset's counts, and the number of sequences computed.

        Raises:
            ModelError: the language model gives a number that cannot be stored.
            RunError: a cache cannot be written.
        """
        worker = ShardWorker(self.inputs, self.progress, self.remember)
        if engine is not None and self.first is not None:
            worker.shares = shares_prefixes(engine, self.inputs, self.first)
            self.progress.progress.restart_clock()
            with closing(engine), BackgroundWorker() as saving:
                for job in chain([self.first], self.rest):
                    engine = worker.compute(job, engine, saving)
        worker.create_caches()
        for text_map in self.text_maps:
            text_map.publish(self.tally.counts())
        self.sweep_folder.clear(others=self.inputs.config.shards is not None)
        return self.tally.counts(), worker.computed


def _remember(inputs: ExtractionInputs, plan: Plan, sweep_folder: SweepFolder) -> Callable[[int], None]:
    """Stores the size of micro-batches where a sweep saves its work, of which it is a part; else nothing."""
    if plan.schedule == "sweep" and inputs.config.checkpoint_layers is not None:
        return partial(sweep_folder.remember, plan.macro_batch_rows)
    return lambda tokens: None


def _shards(
    inputs: ExtractionInputs, shard_rows: int, tally: Tally, text_maps: Sequence[TextMapWriter]
) -> Iterator[Shard]:
    """The shards to compute: everything missing, or the missing sequences of one part of all shards."""
    part = inputs.config.shard_slice

    def add_to_maps(texts: Keys, sequences: Keys) -> None:
        for text_map in text_maps:
            text_map.add(texts, sequences)

    chunks = read_texts(
        inputs.items,
        inputs.tokenizer,
        prefix=inputs.settings.prefix,
        max_tokens=inputs.settings.max_tokens,
        tally=tally,
        add_to_maps=add_to_maps,
        stored=inputs.stored if part is None else [KeySet()],
    )
    shards = cut(chunks, tally, shard_rows, inputs.cut)
    return shards if part is None else one_part(shards, *part, inputs.stored)
