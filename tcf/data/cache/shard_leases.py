"""Leases: which shards workers are computing right now, so that several workers on one cache share the work.

A lease is a hint. Nothing relies on it: a shard that two workers compute is published by one of them, and a lease that
is lost or ignored costs time only. A lease is a file `.NAME.claim` beside the place of the shard or, as long as there
is no cache, `.CACHE.NAME.claim` beside the place of the cache; its worker makes and removes it. It stops counting when
its process is dead, when its worker has given no sign of life for ten minutes, or ten seconds after it was made where
its worker was killed before it had written its name there.
"""

import glob
from contextlib import AbstractContextManager
from pathlib import Path

from tcf.common import lease_file
from tcf.common.files import writing
from tcf.common.lease_file import acquire, is_expired, is_held, is_own

__all__ = ["is_leased", "lease", "release", "remove_expired_leases", "shard_heartbeats"]


def lease(shard: Path) -> bool:
    """Try to lease a shard for this process.

    Args:
        shard: the place where the shard will be published.

    Returns:
        False where another worker has leased it; True where this process has it, now or already, and where no folder
        for it is there yet.

    Raises:
        RunError: the cache cannot be written.
    """
    within, beside = _files(shard)
    if is_held(beside):
        return is_own(beside)
    with writing(shard):
        try:
            return acquire(within if within.parent.exists() else beside)
        except FileNotFoundError:
            return True


def shard_heartbeats(shard: Path) -> AbstractContextManager[None]:
    """Give signs of life within the block, however long a step of the computation takes."""
    return lease_file.heartbeats(*_files(shard))


def release(shard: Path) -> None:
    """Give up this process' lease to a shard; a lease of another worker stays."""
    for file in _files(shard):
        if is_own(file):
            file.unlink(missing_ok=True)


def is_leased(shard: Path) -> bool:
    """Whether a worker, this one included, has a lease to the shard that counts."""
    return any(is_held(file) for file in _files(shard))


def remove_expired_leases(shards: Path) -> int:
    """Remove the leases to a cache's shards that no longer count; returns how many."""
    cache = shards.parent
    files = [*shards.glob(".*.claim"), *cache.parent.glob(f".{glob.escape(cache.name)}.*.claim")]
    dead = [file for file in files if is_expired(file)]
    for file in dead:
        file.unlink(missing_ok=True)
    return len(dead)


def _files(shard: Path) -> tuple[Path, Path]:
    """Where a lease lies: within the cache, or beside it while there is none."""
    cache = shard.parents[1]
    return shard.parent / f".{shard.name}.claim", cache.parent / f".{cache.name}.{shard.name}.claim"
