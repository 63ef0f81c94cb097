"""Small vector caches, written shard by shard."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from tcf.data.cache_files import Vectors
from tcf.data.cache_writer import create_cache, shard_path, write_join, write_shard
from tcf.data.dataset import Dataset
from tcf.data.keys import Keys, text_keys

__all__ = [
    "FACTS",
    "IDENTITY",
    "flip_bit",
    "join",
    "keys_of",
    "new_cache",
    "sequences_of",
    "shard",
]


IDENTITY: dict[str, Any] = {
    "architecture": "a" * 64,
    "weights": "b" * 64,
    "pooling": "mean",
    "max_tokens": 30,
    "compute": "float32",
    "storage": "float16",
}


FACTS = {"items": 0, "texts": 0, "sequences": 0, "texts_cut": 0}


def new_cache(path: Path, width: int = 3, **changes: Any) -> Path:
    create_cache(path, identity={**IDENTITY, **changes}, model="toy", width=width)
    return path


def keys_of(texts: Sequence[str]) -> Keys:
    return text_keys(pa.array(list(texts), pa.large_string()))


def sequences_of(texts: Sequence[str]) -> Keys:
    """Token sequences of a tokenizer that knows no upper case."""
    return keys_of([f"tokens {text.lower()}" for text in texts])


def join(cache: Path, dataset: Dataset) -> None:
    texts = list(dict.fromkeys(dataset.texts.to_pylist()))
    write_join(cache, dataset, texts=keys_of(texts), sequences=sequences_of(texts), facts=FACTS)


def shard(cache: Path, texts: Sequence[str], first: float, dtype: type = np.float16, width: int = 3) -> Path:
    """A shard whose i-th vector is (first + i, first + i, ...)."""
    vectors: Vectors = np.repeat(np.arange(len(texts))[:, None] + first, width, axis=1).astype(dtype)
    write_shard(cache, sequences_of(texts), vectors)
    return shard_path(cache, sequences_of(texts))


def flip_bit(file: Path, position: int) -> None:
    content = bytearray(file.read_bytes())
    content[position] ^= 4
    file.write_bytes(content)
