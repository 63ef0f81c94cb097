"""Small caches of vectors and of token states, written shard by shard."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tcf.data.cache.cache_files import TOKEN_STATES, Vectors
from tcf.data.cache.caches import stored_dtype, write_token_shard
from tcf.data.cache.text_maps import write_text_map
from tcf.data.cache.writer import create_cache, shard_path, write_shard
from tcf.data.dataset import Dataset
from tcf.data.keys import Keys, text_keys

__all__ = [
    "FACTS",
    "IDENTITY",
    "add_text_map",
    "content",
    "flip_bit",
    "keys_of",
    "new_cache",
    "new_token_states",
    "sequences_of",
    "shard",
    "states_of",
    "token_shard",
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


def new_token_states(path: Path, width: int = 3, **changes: Any) -> Path:
    identity = {key: value for key, value in IDENTITY.items() if key != "pooling"}
    create_cache(path, identity={**identity, "layer": 1, **changes}, model="toy", width=width, kind=TOKEN_STATES)
    return path


def keys_of(texts: Sequence[str]) -> Keys:
    return text_keys(pa.array(list(texts), pa.large_string()))


def sequences_of(texts: Sequence[str]) -> Keys:
    """Token sequences of a tokenizer that knows no upper case."""
    return keys_of([f"tokens {text.lower()}" for text in texts])


def add_text_map(cache: Path, dataset: Dataset) -> None:
    texts = list(dict.fromkeys(dataset.texts.to_pylist()))
    write_text_map(cache, dataset, texts=keys_of(texts), sequences=sequences_of(texts), metadata=FACTS)


def shard(cache: Path, texts: Sequence[str], first: float, dtype: type = np.float16, width: int = 3) -> Path:
    """A shard whose i-th vector is (first + i, first + i, ...)."""
    vectors: Vectors = np.repeat(np.arange(len(texts))[:, None] + first, width, axis=1).astype(dtype)
    write_shard(cache, sequences_of(texts), vectors)
    return shard_path(cache, sequences_of(texts))


def states_of(text: str, storage: str = "float16", width: int = 3) -> npt.NDArray[Any]:
    """One state a character: its code point and the numbers after it, or for bfloat16 these as bits."""
    points = np.array([ord(character) for character in text.lower()], np.int64)
    return (points[:, None] + np.arange(width)).astype(stored_dtype(storage)).reshape(-1, width)


def token_shard(cache: Path, texts: Sequence[str], storage: str = "float16", width: int = 3) -> Path:
    offsets = np.cumsum([0, *map(len, texts)])
    states = np.concatenate([states_of(text, storage, width) for text in texts])
    write_token_shard(cache, sequences_of(texts), states, offsets, {"device": "cpu"})
    return shard_path(cache, sequences_of(texts))


def flip_bit(file: Path, position: int) -> None:
    content = bytearray(file.read_bytes())
    content[position] ^= 4
    file.write_bytes(content)


def content(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, hidden ones included."""
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}
