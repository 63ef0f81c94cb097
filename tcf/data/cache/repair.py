"""Repairing a cache: what is damaged is dropped, so that an extraction computes it again, and nothing else."""

import logging
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tcf.common.errors import CacheError, RunError
from tcf.common.files import is_published, staging_place, writing
from tcf.common.progress import Progress
from tcf.common.units import counted
from tcf.data.cache.cache_files import Kind, parts, read_cache_manifest, read_shard_manifest, read_text_map, remedy
from tcf.data.cache.shard_leases import lease, release
from tcf.data.cache.verify import verify_shard, verify_text_map

__all__ = ["Dropped", "drop_damaged"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Dropped:
    """What a repair has removed.

    Attributes:
        shards: number of damaged shards.
        text_maps: number of damaged text maps.
    """

    shards: int = 0
    text_maps: int = 0

    def __str__(self) -> str:
        """The counts in words."""
        return f"{counted(self.shards, 'damaged shard')} and {counted(self.text_maps, 'damaged text map')}"


def drop_damaged(path: Path, kind: Kind) -> Dropped:
    """Remove every shard and text map that is not, byte for byte, as it was written; a warning names each.

    A shard that another worker is computing is left to it.

    Args:
        path: the cache directory; nothing is done if there is no cache.
        kind: the kind of cache.

    Raises:
        CacheError: the manifest of the cache is damaged, so that the origin of its numbers is unknown.
        RunError: a file cannot be read, or a damaged part cannot be removed.
    """
    if not is_published(path):
        return Dropped()
    cache = read_cache_manifest(path, kind)

    def check_shard(folder: Path) -> None:
        verify_shard(folder, read_shard_manifest(folder, kind, cache), kind, path)

    def check_text_map(folder: Path) -> None:
        verify_text_map(folder, read_text_map(folder))

    shards, text_maps = parts(path / "shards"), parts(path / "datasets")
    with Progress("repair: verifying", len(shards) + len(text_maps), "folders") as progress:
        dropped = Dropped(
            shards=sum(_dropped_shard(folder, check_shard, progress) for folder in shards),
            text_maps=sum(_dropped(folder, check_text_map, progress) for folder in text_maps),
        )
    logger.info(f"{path}: --repair has dropped {dropped}")
    return dropped


def _dropped_shard(folder: Path, check: Callable[[Path], None], progress: Progress) -> bool:
    """Verify a shard and drop it if it is damaged, under a lease, so that none is dropped that has just been made."""
    progress.advance(1)
    if _fault(folder, check) is None or not lease(folder):
        return False
    try:
        return _dropped(folder, check)
    finally:
        release(folder)


def _dropped(folder: Path, check: Callable[[Path], None], progress: Progress | None = None) -> bool:
    """Verify a part of a cache and drop it if it is damaged."""
    if progress is not None:
        progress.advance(1)
    fault = _fault(folder, check)
    if fault is None:
        return False
    why = str(fault).removesuffix(f"; {remedy(folder)}")  # which is being done
    logger.warning(f"repair: dropping {folder}: {why}")
    with writing(folder):
        # Out of sight at once: other processes see all of it or none of it.
        hidden = folder.rename(staging_place(folder))
        shutil.rmtree(hidden)
    return True


def _fault(folder: Path, check: Callable[[Path], None]) -> CacheError | None:
    """What is wrong with a part of a cache; None if it is whole, or gone in the meantime."""
    if not folder.is_dir():
        return None
    for file in folder.iterdir():
        if not os.access(file, os.R_OK):
            raise RunError(f"{file}: cannot be read (permission denied); fix that and retry")
    try:
        check(folder)
    except CacheError as error:
        return error
    return None
