"""Leases on the shards that workers are computing, so that several workers share the work on one cache.

A lease is only a hint: if two workers compute a shard, one of them publishes it, and a lost or ignored lease costs only
time. A lease is a file `.NAME.claim` next to the path of the shard or, as long as there is no cache,
`.CACHE.NAME.claim` next to the path of the cache; its worker creates and removes it. It expires when its process is
dead, when its worker has sent no heartbeat for ten minutes, or, if its worker was killed before it wrote its name into
the file (`lease_file`), ten seconds after it was created.
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
        shard: the path where the shard will be published.

    Returns:
        False if another worker has leased it; True if this process has the lease, new or already held, or if there is
        no folder for the lease yet.

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
    """Send heartbeats within the block, however long a step of the computation takes."""
    return lease_file.heartbeats(*_files(shard))


def release(shard: Path) -> None:
    """Release this process's lease on a shard; a lease of another worker is kept."""
    for file in _files(shard):
        if is_own(file):
            file.unlink(missing_ok=True)


def is_leased(shard: Path) -> bool:
    """Return whether any worker, including this one, holds a valid lease on the shard."""
    return any(is_held(file) for file in _files(shard))


def remove_expired_leases(shards: Path) -> int:
    """Remove the expired leases on a cache's shards; return their number."""
    cache = shards.parent
    files = [*shards.glob(".*.claim"), *cache.parent.glob(f".{glob.escape(cache.name)}.*.claim")]
    expired = [file for file in files if is_expired(file)]
    for file in expired:
        lease_file.remove(file)
    return len(expired)


def _files(shard: Path) -> tuple[Path, Path]:
    """Return the two possible files of a lease: within the cache, and next to it while there is no cache."""
    cache = shard.parents[1]
    return shard.parent / f".{shard.name}.claim", cache.parent / f".{cache.name}.{shard.name}.claim"
