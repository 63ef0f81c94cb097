"""The extraction stage as benchmarks time it: all of `tcf extract` except loading the model."""

import io
import shutil
from contextlib import redirect_stderr
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tcf.config.extract import ExtractConfig
from tcf.data.cache.caches import VectorCache
from tcf.data.dataset import Dataset
from tcf.data.keys import first_occurrences, sequence_keys
from tcf.encoders.prefix_sharing.prefix_tree import sorted_rows
from tcf.encoders.tokenize import TokenSequences, tokenize
from tcf.extract.fill_caches import CacheFiller
from tcf.extract.inputs import ExtractionInputs, open_inputs
from tcf.extract.micro_batches import shared_micro_batches
from tcf.extract.plan.measured_rates import Rates
from tcf.extract.schedules.engine import Engine
from tcf.extract.stage import PlannedExtraction, load_planned, plan_stage

__all__ = ["Stage", "Tokens"]

# The schedule is given, so the rates decide nothing.
_RATES = Rates(products=1e12, plain=1e12, block_share=1, storage=1e9)


@dataclass(frozen=True)
class Tokens:
    """Tokens of texts.

    Attributes:
        all: of all texts.
        computed: those whose states are computed where texts share common beginnings.
    """

    all: int
    computed: int


@dataclass
class Stage:
    """An extraction of a dataset into a cache of its own, as often as wanted.

    Attributes:
        dataset: the dataset.
        inputs: the dataset, the model and the cache.
        planned: the plan.
        shares: whether texts that begin alike shared states in the last run.
    """

    dataset: Dataset
    inputs: ExtractionInputs
    planned: PlannedExtraction
    shares: bool = False
    _engine: Engine | None = field(default=None, repr=False)

    @classmethod
    def of(cls, dataset: Dataset, model: Path, out: Path, config: ExtractConfig) -> "Stage":
        """Open and plan an extraction.

        Args:
            dataset: the dataset.
            model: folder of the model.
            out: the cache; whatever is there is removed before each run.
            config: settings.
        """
        shutil.rmtree(out, ignore_errors=True)
        inputs = open_inputs(data=dataset.path, model=model, name="benchmark", out=out, config=config)
        return cls(dataset, inputs, plan_stage(inputs, _RATES))

    def engine(self) -> Engine:
        """The model, loaded if it is not; a run closes it, after which only a resident one can be used again."""
        if self._engine is None or self.planned.plan.schedule != "resident":
            self._engine = load_planned(self.planned)
        return self._engine

    def run(self, engine: Engine) -> npt.NDArray[np.float32]:
        """Extract everything anew; returns the vectors in item order, (n, D)."""
        out = self.inputs.out
        shutil.rmtree(out, ignore_errors=True)
        with (
            redirect_stderr(io.StringIO()),
            CacheFiller.open(self.inputs, self.planned.plan, self.planned.sweep_folder) as filler,
        ):
            filler.fill(engine)
        cache = VectorCache.open(out)
        self.shares = all(manifest.facts["shares_prefixes"] for manifest in cache.manifests)
        return np.asarray(cache.vectors_for(self.dataset), np.float32)

    def tokens(self, tokens_per_batch: int) -> Tokens:
        """Count tokens, with those computed by micro-batches of at most this many."""
        settings = self.inputs.settings
        texts = [settings.prefix + text for text in self.dataset.texts.to_pylist()]
        sequences = tokenize(self.inputs.tokenizer, texts, max_tokens=settings.max_tokens)
        distinct = sequences.take(first_occurrences(sequence_keys(sequences.tokens, sequences.offsets)))
        ordered = distinct.take(sorted_rows(distinct))
        rows = self.planned.plan.macro_batch_rows
        starts = range(0, len(ordered), rows)
        shards = [ordered.take(np.arange(start, min(start + rows, len(ordered)))) for start in starts]
        return Tokens(int(sequences.offsets[-1]), sum(_computed(shard, tokens_per_batch) for shard in shards))


def _computed(sequences: TokenSequences, tokens: int) -> int:
    return sum(batch.n_states for batch in shared_micro_batches(sequences, tokens))
