"""Similarity of the vectors of two datasets, read from caches of one encoder a few at a time.

Shape suffixes: N distinct vectors of a chunk, S sampled items, D width.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tcf.common.errors import CacheError
from tcf.common.integrity.checksums import Verify
from tcf.common.manifest import differences
from tcf.common.progress import Progress
from tcf.common.random_streams import RandomStream, generator
from tcf.data.cache.cache_base import RowIndices
from tcf.data.cache.caches import VectorCache
from tcf.data.item_table import ItemTable
from tcf.data.keys import text_keys

__all__ = ["vector_overlap"]

_ITEMS_AT_ONCE = 16_384
_NUMBERS = 2**22  # numbers held in memory at once, of vectors and of their cosines

Vectors64 = npt.NDArray[np.float64]
Vectors32 = npt.NDArray[np.float32]


def vector_overlap(
    a: Path, b: Path, cache_a: Path, cache_b: Path, *, sample: int, seed: int, verify: Verify = "once"
) -> dict[str, Any]:
    """Compare the vectors of the items of two datasets; items count once each, also those of equal text.

    Args:
        a: a dataset directory.
        b: another dataset directory.
        cache_a: vector cache with all texts of `a`.
        cache_b: vector cache with all texts of `b`, of the same encoder and options; may be the same cache.
        sample: greatest number of items of `b` to look up in `a`.
        seed: seed of that sample.
        verify: whether large files that this machine has verified are verified again.

    Returns:
        JSON values: `cosine_of_means` and `distance_of_means` (Euclidean) of the two mean vectors, computed in float64;
        `nearest_cosine`, the mean, over the sampled items of `b`, of the highest cosine with an item of `a`; `sampled`
        and `seed`. A zero vector has a cosine of 0 with every vector.

    Raises:
        CacheError: the caches are of different encoders or options, or one lacks a text.
        DataError: a dataset is missing or damaged.
    """
    first, second = VectorCache.open(cache_a, verify=verify), VectorCache.open(cache_b, verify=verify)
    _check_same_encoder(first, second)
    rows_a, rows_b = (_rows(cache, ItemTable.open(path, verify=verify)) for cache, path in ((first, a), (second, b)))
    mean_a_D, mean_b_D = _mean(first, rows_a), _mean(second, rows_b)
    stream = generator(RandomStream.SAMPLED_VECTORS, seed)
    drawn = stream.choice(len(rows_b), size=min(sample, len(rows_b)), replace=False)
    wanted_SD = _unit(second.gather(rows_b[drawn]).astype(np.float32))
    return {
        "cosine_of_means": float(_unit(mean_a_D[None])[0] @ _unit(mean_b_D[None])[0]),
        "distance_of_means": float(np.linalg.norm(mean_a_D - mean_b_D)),
        "nearest_cosine": float(_highest_cosines(first, rows_a, wanted_SD).mean(dtype=np.float64)),
        "sampled": len(drawn),
        "seed": seed,
    }


def _check_same_encoder(a: VectorCache, b: VectorCache) -> None:
    if a.manifest.fingerprint != b.manifest.fingerprint:
        raise CacheError(
            f"{b.path}: expected the encoder and options of {a.path}, found others "
            f"({differences(b.manifest.config, a.manifest.config)}); extract both datasets with the same options"
        )


def _rows(cache: VectorCache, items: ItemTable) -> RowIndices:
    """Return the row of each item's text, (n_items,)."""
    keys = [text_keys(texts) for texts in items.texts(_ITEMS_AT_ONCE)]
    rows = cache.locate_keys(np.concatenate([np.zeros((0, 2), np.uint64), *keys]))
    missing = int((rows < 0).sum())
    if missing:
        raise CacheError(
            f"{cache.path}: expected vectors for each of the {items.n_items} items of {items.path}, found "
            f"{items.n_items - missing}; run `tcf extract --data {items.path} --out {cache.path} ...` with the options "
            "of the cache"
        )
    cache.verify_rows(rows)
    return rows


def _mean(cache: VectorCache, rows: RowIndices) -> Vectors64:
    """Return the mean vector of the items, (D,)."""
    distinct, counts = np.unique(rows, return_counts=True)
    total_D = np.zeros(cache.width)
    for part in _parts(len(distinct), cache.width):
        total_D += counts[part] @ cache.gather(distinct[part]).astype(np.float64)
    return total_D / len(rows)


def _highest_cosines(cache: VectorCache, rows: RowIndices, wanted_SD: Vectors32) -> Vectors32:
    """Return the highest cosine of each wanted vector with a vector of the items, (S,)."""
    distinct = np.unique(rows)
    highest_S = np.full(len(wanted_SD), -np.inf, np.float32)
    with Progress("nearest", len(distinct), "vectors") as progress:
        for part in _parts(len(distinct), max(cache.width, len(wanted_SD))):
            found_ND = _unit(cache.gather(distinct[part]).astype(np.float32))
            np.maximum(highest_S, (found_ND @ wanted_SD.T).max(axis=0), out=highest_S)
            progress.advance(len(found_ND))
    return np.minimum(highest_S, 1)  # rounding may exceed 1


def _parts(n: int, width: int) -> Iterator[slice]:
    size = max(1, _NUMBERS // max(1, width))
    return (slice(start, min(start + size, n)) for start in range(0, n, size))


def _unit(vectors: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Divide vectors by their lengths; zero vectors are unchanged."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(lengths > 0, lengths, 1)
