"""Small datasets and vector caches to train on."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tcf.data.cache.caches import VectorCache
from tcf.data.cache.text_maps import write_text_map
from tcf.data.cache.writer import create_cache, write_shard
from tcf.data.dataset import Dataset, Histories, write_dataset
from tcf.data.keys import first_occurrences, text_keys
from tcf.data.seen import SeenItems
from tcf.data.split import leave_one_out


def csr(sequences: Sequence[Sequence[int]]) -> Histories:
    """These histories in CSR form."""
    offsets = np.cumsum([0, *map(len, sequences)]).astype(np.int64)
    return Histories(offsets, np.array([item for sequence in sequences for item in sequence], np.int32))


def make_dataset(
    folder: Path,
    histories: Sequence[Sequence[int]],
    texts: Sequence[str],
    name: str = "data",
    seen: SeenItems | None = None,
) -> Dataset:
    """Publish a dataset with these histories; item 3 is called i3, user 3 u3; `seen`: what users have had besides."""
    return write_dataset(
        folder / name,
        item_ids=pa.array([f"i{i}" for i in range(len(texts))], pa.large_string()),
        texts=pa.array(texts, pa.large_string()),
        user_ids=pa.array([f"u{u}" for u in range(len(histories))], pa.large_string()),
        split=leave_one_out(csr(histories)),
        inputs={},
        config={},
        statistics={},
        seen=seen,
    )


def make_cache(
    folder: Path, dataset: Dataset, vectors: npt.NDArray[np.floating[Any]], name: str = "cache", pooling: str = "mean"
) -> VectorCache:
    """Publish a cache in two shards, one vector a distinct text of the dataset, in order of first occurrence."""
    path = folder / name
    identity = {"pooling": pooling, "max_tokens": 30, "compute": "float32", "storage": str(vectors.dtype)}
    create_cache(path, identity=identity, model="made-up", width=vectors.shape[1])
    keys = text_keys(dataset.texts)
    keys = keys[first_occurrences(keys)]
    half = len(keys) // 2
    for part in (slice(0, half), slice(half, None)):
        write_shard(path, keys[part], vectors[part])
    write_text_map(path, dataset, texts=keys, sequences=keys, metadata={})
    return VectorCache.open(path)


def walks() -> list[list[int]]:
    """Sixty users who walk along a circle of 30 items, one step at a time, from anywhere: easy to predict."""
    rng = np.random.default_rng(5)
    return [[int(start + j) % 30 for j in range(rng.integers(4, 12))] for start in rng.integers(0, 30, 60)]
