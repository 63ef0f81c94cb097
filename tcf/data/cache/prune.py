"""Reducing a cache to what some datasets need."""

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tcf.common.files import MANIFEST, publishing
from tcf.common.progress import Progress
from tcf.data.cache.cache_base import CacheBase, RowIndices
from tcf.data.cache.cache_files import read_shard_manifest
from tcf.data.cache.caches import open_cache
from tcf.data.cache.text_maps import write_text_map
from tcf.data.cache.verify import verify_shard
from tcf.data.cache.writer import computed_with, publish_shard, shard_path
from tcf.data.dataset import Dataset
from tcf.data.key_set import KeySet
from tcf.data.keys import first_occurrences, text_keys

__all__ = ["PruneResult", "prune"]

_SHARD_ROWS = 8192
_SHARD_BYTES = 2**28


@dataclass(frozen=True)
class PruneResult:
    """The result of pruning a cache.

    Attributes:
        words: what the cache holds, in words.
        kept: rows in the new cache.
        dropped: rows that only the old cache has.
        shards: shards of the new cache.
    """

    words: str
    kept: int
    dropped: int
    shards: int


def prune(path: Path, datasets: Sequence[Dataset], out: Path) -> PruneResult:
    """Make a new cache with only the rows that these datasets need, in item order; the old cache is not changed.

    Memory holds one shard, and about 100 bytes for each row. Everything that is read is compared with its manifest.

    Args:
        path: the cache.
        datasets: each of their items must have a row in the cache.
        out: the new cache; must not exist.

    Raises:
        CacheError: an item has no row, or the cache is damaged.
        RunError: `out` exists or cannot be written.
    """
    cache = open_cache(path)
    needed = [_distinct(cache, dataset) for dataset in datasets]
    rows = np.concatenate(needed)
    # A token sequence may have rows in several shards of different sizes; one is kept.
    rows = rows[KeySet().new(cache.keys[rows])]
    metadata = {"computed_with": _verified(cache, rows)}
    parts = list(_cut(cache, rows))
    with publishing(out) as staging, Progress("prune", len(rows), cache.kind.words) as progress:
        for name in ("shards", "datasets"):
            (staging / name).mkdir()
        # The whole directory is published at once, so its manifest need not be written last.
        shutil.copyfile(path / MANIFEST, staging / MANIFEST)
        for part in parts:
            keys = cache.keys[part]
            publish_shard(shard_path(staging, keys), cache.kind, keys, cache.arrays(part), metadata)
            progress.advance(len(part))
        for dataset in datasets:
            _write_text_map(cache, dataset, staging)
    return PruneResult(cache.kind.words, len(rows), cache.n_rows - len(rows), len(parts))


def _distinct(cache: CacheBase[Any], dataset: Dataset) -> RowIndices:
    """Return the rows that a dataset needs, each once, in item order."""
    rows = cache.rows_for(dataset)
    return rows[np.sort(np.unique(rows, return_index=True)[1])]


def _verified(cache: CacheBase[Any], rows: RowIndices) -> list[dict[str, str]]:
    """Verify the shards of these rows, and return the versions that computed them."""
    numbers = cache.shards_of(rows)
    manifests = [read_shard_manifest(cache.folders[number], cache.kind, cache.manifest) for number in numbers]
    with Progress("verify", len(numbers), "shards") as progress:
        for number, manifest in zip(numbers, manifests, strict=True):
            verify_shard(cache.folders[number], manifest, cache.kind, cache.path)
            cache.checks.pass_over(number)
            progress.advance(1)
    return computed_with(manifests)


def _cut(cache: CacheBase[Any], rows: RowIndices) -> Iterator[RowIndices]:
    """Yield the rows of each new shard: at most 8192 rows and a quarter of a gigabyte, but at least one row."""
    for start in range(0, len(rows), _SHARD_ROWS):
        part = rows[start : start + _SHARD_ROWS]
        ends = np.cumsum(cache.row_bytes(part))
        while len(part):
            size = max(1, int(np.searchsorted(ends, _SHARD_BYTES, side="right")))
            yield part[:size]
            part, ends = part[size:], ends[size:] - ends[size - 1]


def _write_text_map(cache: CacheBase[Any], dataset: Dataset, staging: Path) -> None:
    texts = text_keys(dataset.texts)
    texts = texts[first_occurrences(texts)]
    sequences, _ = cache.sequences_of(texts)
    counts = {"items": dataset.n_items, "texts": len(texts), "sequences": len(first_occurrences(sequences))}
    known = next((known.metadata for known in cache.datasets if known.fingerprint == dataset.fingerprint), counts)
    write_text_map(staging, dataset, texts=texts, sequences=sequences, metadata=known)
