"""Queries that do not open a whole cache: its token sequences, and whether it covers a dataset completely."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tcf.common.errors import CacheError
from tcf.common.files import is_published
from tcf.common.integrity.checksums import Verify
from tcf.common.manifest import Manifest
from tcf.data.cache.cache_files import (
    Kind,
    known_dataset,
    load_keys,
    load_texts,
    published,
    read_cache_manifest,
    read_shard_manifest,
    remedy,
)
from tcf.data.cache.shard_checks import ShardChecks
from tcf.data.cache.text_maps import DatasetIdentity, text_map_path
from tcf.data.key_set import KeySet
from tcf.data.keys import Keys

__all__ = ["finished_metadata", "lacking_sequences", "stored_sequences", "verify_stored"]

_AT_ONCE = 2**20  # keys sorted or looked up at once


def stored_sequences(path: Path, kind: Kind, verify: Verify) -> KeySet:
    """Return the token sequences that have a row; none if there is no cache yet.

    Args:
        path: the cache directory.
        kind: the kind of cache.
        verify: whether large files that this machine has verified are verified again.

    Raises:
        CacheError: the path holds something else, or a part of the cache is damaged.
    """
    stored = KeySet()
    if not is_published(path):
        return stored
    manifest = read_cache_manifest(path, kind)
    waiting: list[Keys] = []
    for folder in published(path / "shards"):
        shard = read_shard_manifest(folder, kind, manifest)
        _check_sizes(folder, shard)
        waiting.append(load_keys(folder, shard, kind, verify))
        if sum(map(len, waiting)) >= _AT_ONCE:
            stored.add(np.concatenate(waiting))
            waiting = []
    stored.add(np.concatenate([np.zeros((0, 2), np.uint64), *waiting]))
    return stored


def shard_facts(path: Path, kind: Kind) -> Iterator[Mapping[str, Any]]:
    """Yield what the manifest of each shard records, such as how it was computed; nothing if there is no cache yet.

    Args:
        path: the cache directory.
        kind: the kind of cache.

    Raises:
        CacheError: the path holds something else, or a manifest is damaged.
    """
    if is_published(path):
        manifest = read_cache_manifest(path, kind)
        for folder in published(path / "shards"):
            yield read_shard_manifest(folder, kind, manifest).facts


def _check_sizes(folder: Path, shard: Manifest) -> None:
    """Check the file sizes of a shard against its manifest, without reading the files."""
    for name, recorded in shard.files.items():
        file = folder / name
        size = file.stat().st_size if file.is_file() else None
        if size != recorded["bytes"]:
            found = "nothing" if size is None else f"{size} bytes"
            raise CacheError(f"{file}: expected {recorded['bytes']} bytes, found {found}; {remedy(folder)}")


def finished_metadata(path: Path, dataset: DatasetIdentity, stored: KeySet, verify: Verify) -> dict[str, Any] | None:
    """Return the counts recorded for a dataset if a cache has a row for each of its texts; else None.

    Args:
        path: the cache directory.
        dataset: the dataset of the texts.
        stored: the token sequences that have a row.
        verify: whether a large text map that this machine has verified is verified again.

    Raises:
        CacheError: the text map is damaged.
    """
    place = text_map_path(path, dataset)
    if place not in published(place.parent) or any(map(len, lacking_sequences(path, dataset, stored, verify))):
        return None
    return dict(known_dataset(place).metadata)


def lacking_sequences(path: Path, dataset: DatasetIdentity, stored: KeySet, verify: Verify) -> Iterator[Keys]:
    """Yield the token sequences of a dataset's texts that have no row, in parts, (n, 2) each; some may be repeated.

    Args:
        path: the cache directory; it must have a text map of the dataset.
        dataset: the dataset of the texts.
        stored: the token sequences that have a row.
        verify: whether a large text map that this machine has verified is verified again.

    Raises:
        CacheError: the text map is damaged.
    """
    table = load_texts(text_map_path(path, dataset), verify)
    for start in range(0, len(table), _AT_ONCE):
        sequences = table[start : start + _AT_ONCE, 2:]
        yield sequences[~stored.contains(sequences)]


def verify_stored(path: Path, dataset: DatasetIdentity, kind: Kind, verify: Verify) -> None:
    """Verify the numbers in the shards that hold a dataset's token sequences.

    Args:
        path: the cache directory; it must have a text map of the dataset.
        dataset: the dataset of the texts.
        kind: the kind of cache.
        verify: whether a shard that this machine has verified is verified again.

    Raises:
        CacheError: a shard or the text map is damaged; names it.
    """
    manifest, wanted = read_cache_manifest(path, kind), KeySet()
    for sequences in lacking_sequences(path, dataset, KeySet(), verify):
        wanted.add(sequences)
    folders = published(path / "shards")
    shards = [read_shard_manifest(folder, kind, manifest) for folder in folders]
    checks = ShardChecks(folders, shards, kind, verify)
    checks.check(
        number
        for number, (folder, shard) in enumerate(zip(folders, shards, strict=True))
        if wanted.contains(load_keys(folder, shard, kind, verify)).any()
    )
