"""Writing a cache: it is created once for an encoder, then only appended to, one published directory at a time."""

from collections.abc import Iterable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tcf.common.errors import CacheError
from tcf.common.files import is_published, publishing, remove_leftovers
from tcf.common.manifest import Manifest, differences, seal
from tcf.data.cache.cache_files import TOKEN_STATES, VECTORS, Kind, Vectors, read_cache_manifest
from tcf.data.cache.shard_leases import remove_expired_leases
from tcf.data.keys import Keys

__all__ = [
    "check_cache",
    "check_identity",
    "computed_with",
    "create_cache",
    "publish_shard",
    "shard_path",
    "write_shard",
]


def create_cache(path: Path, *, identity: Mapping[str, Any], model: str, width: int, kind: Kind = VECTORS) -> None:
    """Create an empty cache for an encoder, or check that the one at `path` is of the same encoder.

    Args:
        path: the cache directory.
        identity: everything that determines the numbers: weights, tokenizer, token limit, layer, pooling, types.
        model: the encoder's name, for display.
        width: numbers in a vector, or for a token.
        kind: the kind of cache.

    Raises:
        CacheError: the existing cache has another encoder, other options or another kind; names the differences.
    """
    remove_leftovers(path.parent, path.name)
    if not check_cache(path, identity, kind):
        config = {**identity, "model": model}
        with publishing(path, duplicate_is_harmless=True) as staging:
            (staging / "shards").mkdir()
            (staging / "datasets").mkdir()
            seal(staging, kind.cache, inputs={}, config=config, facts={"width": width}, identity=dict(identity))
    check_identity(path, identity, kind)
    for parent in (path / "shards", path / "datasets"):
        parent.mkdir(exist_ok=True)
        remove_leftovers(parent)
    remove_expired_leases(path / "shards")


def check_cache(path: Path, identity: Mapping[str, Any], kind: Kind = VECTORS) -> bool:
    """Return whether there is a cache at `path`; if not, one can be created there.

    Raises:
        CacheError: the existing cache has another encoder, other options or another kind, or `path` has other files.
    """
    if is_published(path):
        check_identity(path, identity, kind)
        return True
    if path.is_dir() and any(path.iterdir()):
        raise CacheError(f"{path}: expected a cache or an empty folder, found other files; name another folder")
    return False


def shard_path(path: Path, keys: Keys) -> Path:
    """Return where the shard with these rows is published; its name is a digest of its keys."""
    return path / "shards" / sha256(keys.astype("<u8").tobytes()).hexdigest()[:32]


def write_shard(path: Path, keys: Keys, vectors: Vectors, metadata: Mapping[str, Any] | None = None) -> None:
    """Publish a shard of vectors; if another worker has published the same one, this one is discarded.

    Args:
        path: the cache directory.
        keys: (rows, 2) the token sequence of each row.
        vectors: (rows, width) in the storage type of the cache.
        metadata: how the vectors were computed, for the shard's manifest.
    """
    publish_shard(shard_path(path, keys), VECTORS, keys, {"vectors.npy": vectors}, metadata or {})


def publish_shard(
    place: Path,
    kind: Kind,
    keys: Keys,
    arrays: Mapping[str, npt.NDArray[Any]],
    metadata: Mapping[str, Any],
    *,
    encoder: str | None = None,
) -> None:
    """Publish a shard of either kind.

    Args:
        place: the path from `shard_path`.
        kind: the kind of cache.
        keys: (rows, 2) the token sequence of each row.
        arrays: the other arrays, by file name.
        metadata: how the numbers were computed.
        encoder: fingerprint of the cache; None reads it from the cache.
    """
    inputs = {"cache": encoder or read_cache_manifest(place.parents[1], kind).fingerprint}
    with publishing(place, duplicate_is_harmless=True) as staging:
        np.save(staging / "keys.npy", keys)
        for name, array in arrays.items():
            np.save(staging / name, array)
        counts = {"rows": len(keys)}
        if kind is TOKEN_STATES:
            counts["tokens"] = len(arrays["states.npy"])
        seal(staging, kind.shard, inputs=inputs, config={}, facts={**metadata, **counts})


def computed_with(shards: Iterable[Manifest]) -> list[dict[str, str]]:
    """Return the versions of tcf and libraries that computed these shards, for the metadata of a shard made of them."""
    found: list[dict[str, str]] = []
    for manifest in shards:
        for versions in manifest.facts.get("computed_with", [dict(manifest.versions)]):
            if versions not in found:
                found.append(versions)
    return found


def check_identity(path: Path, identity: Mapping[str, Any], kind: Kind = VECTORS) -> None:
    """Check that the cache at `path` is of this kind and has this identity.

    Raises:
        CacheError: it differs; names the differences.
    """
    found = {key: value for key, value in read_cache_manifest(path, kind).config.items() if key != "model"}
    differing = differences(found, identity)
    if differing:
        raise CacheError(
            f"{path}: expected the encoder and options of this cache, found others: {differing}; name another --out, "
            "or use the options of the cache"
        )
