"""The result of an extraction, and the Parquet files that it writes next to the caches."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tcf.common.errors import value_words
from tcf.common.integrity.checksums import Verify
from tcf.common.units import as_percent, counted
from tcf.data.cache.caches import VectorCache, open_cache
from tcf.data.cache.export import export
from tcf.data.cache.lookup import lacking_sequences, verify_stored
from tcf.data.dataset import open_dataset
from tcf.data.item_table import ItemTable
from tcf.data.key_set import KeySet
from tcf.extract.inputs import ExtractionInputs, stored_in
from tcf.extract.outputs import Output

__all__ = ["Extraction", "finish_extraction"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Extraction:
    """The result of an extraction.

    Attributes:
        caches: the caches that it filled.
        parquet: the Parquet files that it wrote.
        items: number of items of the dataset.
        texts: number of distinct texts.
        sequences: number of distinct token sequences.
        computed: number of token sequences computed by this call; the others were in the caches.
        cut: number of distinct texts longer than the token limit; this and the next three are None if the cache was
            pruned to this dataset, which loses these counts.
        unknown_words: number of words of distinct texts that the encoder has no vector for.
        without_tokens: number of distinct texts without any token; their vectors are zero.
        only_prompt: number of distinct texts of which nothing is pooled, because all their tokens are the prompt's;
            None also in caches of older versions.
        max_tokens: the token limit.
        part: the part of the shards that was requested, as `I/N`; None for all.
        elsewhere: number of distinct token sequences of other parts that are not in the caches yet.
    """

    caches: tuple[Path, ...]
    parquet: tuple[Path, ...]
    items: int
    texts: int
    sequences: int
    computed: int
    cut: int | None
    unknown_words: int | None
    without_tokens: int | None
    only_prompt: int | None
    max_tokens: int
    part: str | None = None
    elsewhere: int = 0

    def as_json(self) -> dict[str, Any]:
        """The same as JSON values."""
        return {
            "caches": [str(path) for path in self.caches],
            "parquet": [str(path) for path in self.parquet],
            "items": self.items,
            "texts": self.texts,
            "sequences": self.sequences,
            "computed": self.computed,
            "texts_cut": self.cut,
            "unknown_words": self.unknown_words,
            "texts_without_tokens": self.without_tokens,
            "texts_only_prompt": self.only_prompt,
            "max_tokens": self.max_tokens,
            "shards": self.part,
            "elsewhere": self.elsewhere,
        }

    def summary(self) -> str:
        """The result as text, several lines."""
        lines = [
            f"{counted(self.items, 'item')}, {counted(self.texts, 'distinct text')}, "
            f"{counted(self.sequences, 'distinct token sequence')}, {self.computed:,} computed now",
            f"{self._texts_cut()} cut at {counted(self.max_tokens, 'token')}",
        ]
        if self.unknown_words or self.without_tokens:
            lines.append(
                f"{counted(self.unknown_words or 0, 'word')} without a vector left out, "
                f"{counted(self.without_tokens or 0, 'text')} without tokens given the zero vector"
            )
        if self.only_prompt:
            lines.append(f"{counted(self.only_prompt, 'text')} with nothing besides the prompt, which is not pooled")
        if self.part is not None:
            missing = counted(self.elsewhere, "sequence")
            lines.append(f"shards {self.part}: done; {missing} of other parts still missing")
        return "\n".join(
            [*lines, *(f"cache: {path}" for path in self.caches), *(f"parquet: {path}" for path in self.parquet)]
        )

    def _texts_cut(self) -> str:
        if self.cut is None:
            return "an unknown number of texts"
        return f"{counted(self.cut, 'text')} ({as_percent(self.cut / max(1, self.texts))})"


def finish_extraction(inputs: ExtractionInputs, counts: Mapping[str, int], computed: int) -> Extraction:
    """Write the requested Parquet files, and summarise an extraction whose caches are filled.

    Args:
        inputs: the dataset, the model and the caches.
        counts: the dataset's counts; some are missing if a cache was pruned to this dataset.
        computed: number of token sequences computed by this call.

    Raises:
        CacheError: a shard that the dataset relies on is damaged.
        RunError: a Parquet file cannot be written.
    """
    config, only_prompt = inputs.config, counts.get("texts_only_prompt")
    if config.shards is None:
        for output in inputs.outputs:
            verify_stored(output.path, inputs.items, output.kind, config.verify)
            if config.repair:
                _say_what_others_miss(output.path)
    if only_prompt:
        logger.warning(
            f"extract: nothing is pooled of {counted(only_prompt, 'text')} whose tokens are all those of the prompt "
            f"{value_words(inputs.settings.prefix)}: empty texts, or texts that the tokenizer joins to it; their "
            "vectors say nothing. End the prompt with another letter, pass --prefix '', or leave such items out"
        )
    return Extraction(
        caches=tuple(output.path for output in inputs.outputs),
        parquet=_write_parquet(inputs.data, inputs.outputs, config.verify) if config.parquet else (),
        items=counts["items"],
        texts=counts["texts"],
        sequences=counts["sequences"],
        computed=computed,
        cut=counts.get("texts_cut"),
        unknown_words=counts.get("unknown_words"),
        without_tokens=counts.get("texts_without_tokens"),
        only_prompt=only_prompt,
        max_tokens=inputs.settings.max_tokens,
        part=config.shards,
        elsewhere=_n_missing(inputs.items, inputs.outputs, config.verify) if config.shards else 0,
    )


def _say_what_others_miss(path: Path) -> None:
    """Log how many vectors a repair has dropped that belong to other datasets only."""
    missing = open_cache(path).missing
    if missing:
        logger.warning(
            f"{path}: {counted(missing, 'token sequence')} of other datasets were in the damaged shards; run "
            "`tcf extract` for each of them"
        )


def _write_parquet(data: Path, outputs: Sequence[Output], verify: Verify) -> tuple[Path, ...]:
    """Write the dataset's vectors of every cache into a file next to the cache."""
    dataset = open_dataset(data, verify=verify)
    written = []
    for output in outputs:
        if output.head is not None:
            export(VectorCache.open(output.path, verify=verify), dataset, out=output.parquet)
            written.append(output.parquet)
    return tuple(written)


def _n_missing(items: ItemTable, outputs: Sequence[Output], verify: Verify) -> int:
    """The number of distinct token sequences of the dataset that some cache still lacks."""
    missing = KeySet()
    for output in outputs:
        for keys in lacking_sequences(output.path, items, stored_in(output, verify), verify):
            missing.add(keys)
    return len(missing)
