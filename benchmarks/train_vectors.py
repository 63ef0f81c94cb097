"""Vector caches of any width for a dataset, for benchmarks.

Shapes: T distinct texts, V width of a cache, W width wanted.
"""

from pathlib import Path

import numpy as np

from tcf.data.cache.cache_files import Vectors
from tcf.data.cache.caches import VectorCache
from tcf.data.cache.text_maps import write_text_map
from tcf.data.cache.writer import create_cache, write_shard
from tcf.data.dataset import Dataset
from tcf.data.keys import first_occurrences, text_keys

__all__ = ["cache_of_width"]


def cache_of_width(dataset: Dataset, cache: Path | None, width: int, folder: Path) -> Path:
    """A cache with a vector for each of the dataset's texts.

    Args:
        dataset: dataset with the texts.
        cache: cache with real vectors, or None.
        width: W.
        folder: where to write a new cache, if the given one has another width: a random projection of the real vectors,
            or random vectors.

    Returns:
        The given cache, or the new one.
    """
    given = None if cache is None else VectorCache.open(cache)
    if given is not None and given.width == width:
        return given.path
    path = folder / f"cache{width}"
    identity = {"pooling": "mean", "max_tokens": 30, "compute": "float32", "storage": "float16"}
    create_cache(path, identity=identity, model="made-up", width=width)
    keys = text_keys(dataset.texts)
    firsts = first_occurrences(keys)
    generator = np.random.default_rng(0)
    if given is None:
        vectors_TW = generator.standard_normal((len(firsts), width), np.float32)
    else:
        vectors_TW = _project(given.vectors_for(dataset)[firsts], width, generator)
    write_shard(path, keys[firsts], vectors_TW.astype(np.float16))
    write_text_map(path, dataset, texts=keys[firsts], sequences=keys[firsts], metadata={})
    return path


def _project(vectors_TV: Vectors, width: int, generator: np.random.Generator) -> Vectors:
    """Random projection, (T, W), which approximately preserves lengths."""
    map_VW = generator.standard_normal((vectors_TV.shape[1], width), np.float32) / np.float32(np.sqrt(width))
    projected_TW: Vectors = vectors_TV.astype(np.float32) @ map_VW
    return projected_TW
