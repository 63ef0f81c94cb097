"""Verification of a cache: every byte of every file, every number, and files that do not belong there."""

import os
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tcf.common.errors import CacheError
from tcf.common.files import MANIFEST
from tcf.common.integrity.verified_files import verify_files
from tcf.common.manifest import Format, Manifest, fingerprint_of
from tcf.common.progress import Progress
from tcf.data.cache.cache_files import (
    TEXT_MAP,
    Kind,
    load_keys,
    published,
    read_cache_manifest,
    read_shard_manifest,
    read_text_map,
    remedy,
    unknown_origin,
)
from tcf.data.cache.writer import shard_path
from tcf.data.npy_files import map_array

__all__ = ["VerifiedCache", "verify_cache", "verify_shard", "verify_text_map"]

_LARGE = 2**29  # bytes; larger caches show progress, as half a gigabyte takes some seconds
_NUMBERS = 2**22  # numbers checked at once


@dataclass(frozen=True)
class VerifiedCache:
    """The content of a verified cache.

    Attributes:
        shards: number of shards.
        rows: rows in all shards; a token sequence in several shards is counted for each.
        bytes: size of all files listed in manifests.
        strays: files not listed in any manifest, except files that workers are writing now.
    """

    shards: int
    rows: int
    bytes: int
    strays: tuple[Path, ...]


def verify_cache(path: Path, kind: Kind) -> VerifiedCache:
    """Compare every byte of a cache with its manifests and check that every stored number is finite.

    Raises:
        CacheError: a file differs, or a shard has a number that is not finite; names the first one.
    """
    cache = _verify_identity(path, kind)
    # Listed before the manifests, so that what workers publish meanwhile does not count as a stray.
    files = set(_files(path))
    text_maps = [(folder, read_text_map(folder)) for folder in published(path / "datasets")]
    shards = [(folder, read_shard_manifest(folder, kind, cache)) for folder in published(path / "shards")]
    sizes = {folder: _size(manifest) for folder, manifest in [*text_maps, *shards]}
    total = sum(sizes.values())
    with ExitStack() as stack:
        large = stack.enter_context(Progress("verify", total / 1e6, "MB")) if total >= _LARGE else None
        for folder, manifest in text_maps:
            verify_text_map(folder, manifest)
        for folder, manifest in shards:
            verify_shard(folder, manifest, kind, path)
            if large:
                large.advance(sizes[folder] / 1e6)
    named = {path / MANIFEST, *(f / name for f, m in [*text_maps, *shards] for name in (MANIFEST, *m.files))}
    return VerifiedCache(
        shards=len(shards),
        rows=sum(int(manifest.facts["rows"]) for _, manifest in shards),
        bytes=total,
        strays=tuple(sorted(files - named)),
    )


def verify_text_map(folder: Path, manifest: Manifest) -> None:
    """Compare every byte of a text map with its manifest.

    Raises:
        CacheError: a file differs; names it.
    """
    _verify_part(folder, manifest, TEXT_MAP)


def verify_shard(folder: Path, manifest: Manifest, kind: Kind, path: Path) -> None:
    """Compare every byte of a shard with its manifest, and check its name and numbers.

    Raises:
        CacheError: a file differs; names it.
    """
    _verify_part(folder, manifest, kind.shard)
    keys = load_keys(folder, manifest, kind, "once")
    if folder.name != shard_path(path, keys).name:
        raise CacheError(
            f"{folder}: expected the folder name {shard_path(path, keys).name}, the digest of its keys, found "
            f"{folder.name}; {remedy(folder)}"
        )
    numbers = map_array(folder / kind.numbers, CacheError, remedy(folder)).reshape(-1)
    for start in range(0, len(numbers), _NUMBERS):
        if not _are_finite(numbers[start : start + _NUMBERS]):
            raise CacheError(
                f"{folder / kind.numbers}: expected finite numbers, found one that is not finite; {remedy(folder)}"
            )


def _verify_identity(path: Path, kind: Kind) -> Manifest:
    manifest = read_cache_manifest(path, kind)
    settings = {key: value for key, value in manifest.config.items() if key != "model"}
    if manifest.fingerprint != fingerprint_of(kind.cache, settings):
        raise CacheError(f"{path / MANIFEST}: its config does not match its fingerprint, so {unknown_origin(path)}")
    return manifest


def _verify_part(folder: Path, manifest: Manifest, format: Format) -> None:
    verify_files(folder, manifest, format, remedy=remedy(folder))


def _are_finite(numbers: npt.NDArray[Any]) -> bool:
    """Return whether all numbers are finite; a bfloat16, stored as bits, is not if its exponent is all ones."""
    if numbers.dtype == np.uint16:
        return not ((numbers & np.uint16(0x7F80)) == 0x7F80).any()
    return bool(np.isfinite(numbers).all())


def _size(manifest: Manifest) -> int:
    return sum(int(entry["bytes"]) for entry in manifest.files.values())


def _files(path: Path) -> Iterator[Path]:
    """Yield all files of a cache except those of running workers: unfinished directories and files, and leases."""
    for parent, folders, names in os.walk(path):
        folders[:] = [name for name in folders if not _is_temporary(name)]
        yield from (Path(parent) / name for name in names if not _is_temporary(name))


def _is_temporary(name: str) -> bool:
    return name.startswith(".") and (".partial-" in name or name.endswith(".claim"))
