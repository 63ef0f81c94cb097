"""Verification of the shards of an opened cache: each when it is first touched, by the thread that touches it."""

import threading
from collections.abc import Iterable, Sequence
from pathlib import Path

from tcf.common.errors import CacheError
from tcf.common.integrity.checksums import Reading, Verify
from tcf.common.integrity.verified_files import verify_directories
from tcf.common.manifest import Manifest
from tcf.data.cache.cache_files import Kind, remedy

__all__ = ["ShardChecks"]

# A shard of the CPU's default size has a few megabytes; reading thousands of them takes longer than looking them up.
_SMALL = 2**20


class ShardChecks:
    """Which shards have been compared with their manifests; threads that touch the same one do not do it twice.

    Args:
        folders: the directories of the shards.
        manifests: their manifests.
        kind: the kind of cache.
        verify: whether a shard that this machine has verified is verified again.
    """

    def __init__(self, folders: Sequence[Path], manifests: Sequence[Manifest], kind: Kind, verify: Verify) -> None:
        self._shards = list(zip(folders, manifests, strict=True))
        self._kind, self._verify = kind, verify
        self._verified: set[int] = set()
        self._lock = threading.Lock()

    def check(self, numbers: Iterable[int]) -> None:
        """Verify the numbers in these shards, several at a time, unless this has been done.

        Args:
            numbers: of the shards.

        Raises:
            CacheError: a shard has changed; names it.
        """
        if self._verified.issuperset(numbers := [*numbers]):
            return
        with self._lock:
            new = [number for number in numbers if number not in self._verified]
            shards = [self._shards[number] for number in new]
            reading = Reading("the shards", CacheError, "fix that and retry", _SMALL)
            verify_directories(shards, self._kind.shard, (self._kind.numbers,), reading, remedy, self._verify)
            self._verified.update(new)

    def pass_over(self, number: int) -> None:
        """Take a shard as verified, because its bytes have just been compared."""
        with self._lock:
            self._verified.add(number)
