"""Writing a vector cache: created once for an encoder, then only appended to, one published directory at a time."""

from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from tcf.data.cache_files import CACHE, JOIN, SHARD, Vectors
from tcf.data.dataset import Dataset
from tcf.data.keys import Keys
from tcf.errors import CacheError
from tcf.files import is_published, publishing, remove_leftovers
from tcf.manifest import differences, digest, read_manifest, seal

__all__ = ["check_cache", "create_cache", "shard_path", "write_join", "write_shard"]


def create_cache(path: Path, *, identity: Mapping[str, Any], model: str, width: int) -> None:
    """Make an empty cache for an encoder, or check that the one at `path` is of the same encoder.

    Args:
        path: the cache's directory.
        identity: all that decides the vectors: weights, tokenizer, limit, layer, pooling, types.
        model: the encoder's name, for people.
        width: numbers a vector.

    Raises:
        CacheError: the cache there is of another encoder or other options; names the differences.
    """
    remove_leftovers(path.parent, path.name)
    if not check_cache(path, identity):
        config = {**identity, "model": model}
        with publishing(path, duplicate_is_harmless=True) as staging:
            (staging / "shards").mkdir()
            (staging / "datasets").mkdir()
            seal(staging, CACHE, inputs={}, config=config, facts={"width": width}, identity=dict(identity))
    _check_identity(path, identity)
    for parent in (path / "shards", path / "datasets"):
        parent.mkdir(exist_ok=True)
        remove_leftovers(parent)


def check_cache(path: Path, identity: Mapping[str, Any]) -> bool:
    """Whether a cache is at `path`; if not, one can be made there.

    Raises:
        CacheError: the cache there is of another encoder or other options, or other files are there.
    """
    if is_published(path):
        _check_identity(path, identity)
        return True
    if path.is_dir() and any(path.iterdir()):
        raise CacheError(f"{path}: expected a vector cache or nothing, found other files; name another folder")
    return False


def shard_path(path: Path, keys: Keys) -> Path:
    """Where the shard with these rows is published: its name is a digest of its keys."""
    return path / "shards" / sha256(keys.astype("<u8").tobytes()).hexdigest()[:32]


def write_shard(path: Path, keys: Keys, vectors: Vectors) -> None:
    """Publish one shard of an existing cache; if another worker has published the same one, ours is discarded.

    Args:
        path: the cache's directory.
        keys: (rows, 2) the token sequence of each row.
        vectors: (rows, width) in the cache's storage type.
    """
    encoder = read_manifest(path, CACHE).fingerprint
    with publishing(shard_path(path, keys), duplicate_is_harmless=True) as staging:
        np.save(staging / "keys.npy", keys)
        np.save(staging / "vectors.npy", vectors)
        seal(staging, SHARD, inputs={"cache": encoder}, config={}, facts={"rows": len(keys)})


def write_join(path: Path, dataset: Dataset, *, texts: Keys, sequences: Keys, facts: Mapping[str, Any]) -> None:
    """Publish which token sequence each of a dataset's texts became, and where the dataset is.

    A dataset that has moved is published again, so that it is found where it is now.

    Args:
        path: the cache's directory.
        dataset: whose texts they are.
        texts: (n, 2) keys of its unique texts.
        sequences: (n, 2) keys of their token sequences.
        facts: counts, for `tcf cache describe`.
    """
    config = {"path": str(dataset.path.resolve())}
    place = path / "datasets" / digest([dataset.fingerprint, config["path"]])[:32]
    if is_published(place):
        return
    with publishing(place, duplicate_is_harmless=True) as staging:
        np.save(staging / "texts.npy", np.concatenate([texts, sequences], axis=1))
        seal(staging, JOIN, inputs={"dataset": dataset.fingerprint}, config=config, facts=facts)


def _check_identity(path: Path, identity: Mapping[str, Any]) -> None:
    found = {key: value for key, value in read_manifest(path, CACHE).config.items() if key != "model"}
    differing = differences(found, identity)
    if differing:
        raise CacheError(
            f"{path}: a cache holds one encoder with one set of options, but {differing}; "
            "name another --out, or use the options of the cache"
        )
