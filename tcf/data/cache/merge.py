"""Merging caches of one encoder: every row once, and all text maps."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tcf.common.errors import CacheError
from tcf.common.files import MANIFEST, check_early, publishing
from tcf.common.manifest import Manifest, differences
from tcf.common.progress import Progress
from tcf.data.cache.cache_base import CacheBase
from tcf.data.cache.cache_files import load_keys, published, read_shard_manifest, read_text_map
from tcf.data.cache.caches import open_cache
from tcf.data.cache.verify import verify_shard, verify_text_map
from tcf.data.cache.writer import computed_with, publish_shard, shard_path
from tcf.data.key_set import KeySet

__all__ = ["MergeResult", "merge"]


@dataclass(frozen=True)
class MergeResult:
    """The content of a merged cache.

    Attributes:
        words: what the caches hold, in words.
        rows: rows of the new cache.
        repeated: rows of the old caches that were left out as repetitions.
        shards: shards of the new cache.
        datasets: datasets that the new cache knows.
    """

    words: str
    rows: int
    repeated: int
    shards: int
    datasets: int


def merge(paths: Sequence[Path], out: Path) -> MergeResult:
    """Merge caches into a new one; memory holds one shard, and 16 bytes for each row.

    A shard with only new rows is copied unchanged. Everything that is read is compared with its manifest.

    Args:
        paths: caches of one kind, encoder and set of options.
        out: the new cache; must not exist.

    Raises:
        CacheError: the caches differ in kind, encoder or options, or one is damaged.
        RunError: `out` exists or cannot be written.
    """
    check_early(out)
    caches = [open_cache(path) for path in paths]
    _check_alike(caches)
    stored = KeySet()
    total = sum(cache.n_rows for cache in caches)
    with publishing(out) as staging, Progress("merge", total, caches[0].kind.words) as progress:
        for name in ("shards", "datasets"):
            (staging / name).mkdir()
        for cache in caches:
            for number, folder in enumerate(cache.folders):
                _merge_shard(cache, number, folder, staging, stored)
                progress.advance(int(np.diff(cache.starts)[number]))
            for folder in cache.text_map_folders:
                _merge_text_map(folder, staging / "datasets" / folder.name)
        shutil.copyfile(paths[0] / MANIFEST, staging / MANIFEST)
        shards, datasets = (len(published(staging / name)) for name in ("shards", "datasets"))
    return MergeResult(caches[0].kind.words, len(stored), total - len(stored), shards, datasets)


def _check_alike(caches: Sequence[CacheBase[Any]]) -> None:
    first = caches[0]
    for other in caches[1:]:
        if other.kind is not first.kind:
            raise CacheError(
                f"{other.path}: expected a cache of {first.kind.words} like {first.path}, found one of "
                f"{other.kind.words}; merge caches of one kind"
            )
        if other.manifest.fingerprint != first.manifest.fingerprint:
            settings = [
                {key: value for key, value in cache.manifest.config.items() if key != "model"}
                for cache in (other, first)
            ]
            raise CacheError(
                f"{other.path}: expected the encoder and the options of {first.path}, found others "
                f"({differences(*settings)}); merge caches of one encoder"
            )


def _merge_shard(cache: CacheBase[Any], number: int, folder: Path, staging: Path, stored: KeySet) -> None:
    manifest = read_shard_manifest(folder, cache.kind, cache.manifest)
    verify_shard(folder, manifest, cache.kind, cache.path)
    cache.checks.pass_over(number)
    keys = load_keys(folder, manifest, cache.kind, "once")
    new = stored.new(keys)
    if not len(new):
        return
    place = shard_path(staging, keys[new])
    if len(new) == len(keys):
        _copy(folder, manifest, place)
        return
    metadata = {"computed_with": computed_with([manifest])}
    arrays = cache.arrays(cache.starts[number] + new)
    publish_shard(place, cache.kind, keys[new], arrays, metadata, encoder=cache.manifest.fingerprint)


def _merge_text_map(folder: Path, place: Path) -> None:
    if not place.exists():
        manifest = read_text_map(folder)
        verify_text_map(folder, manifest)
        _copy(folder, manifest, place)


def _copy(folder: Path, manifest: Manifest, place: Path) -> None:
    place.mkdir()
    for name in (*manifest.files, MANIFEST):
        shutil.copyfile(folder / name, place / name)
