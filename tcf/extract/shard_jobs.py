"""Shards that this process may compute: it takes a lease on each, so that several workers on one cache share the work.

A shard leased by another worker is postponed, and computed at the end if that worker has died.
"""

import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tcf.common.files import is_published
from tcf.common.manifest import digest
from tcf.data.cache.shard_leases import lease, release
from tcf.data.cache.writer import shard_path
from tcf.data.key_set import KeySet
from tcf.extract.micro_batches import Indices
from tcf.extract.outputs import Output
from tcf.extract.progress import ExtractionProgress
from tcf.extract.schedules.sweep_folder import SweepFolder
from tcf.extract.shards import Shard

__all__ = ["ShardJob", "leased_jobs"]

_POLL_SECONDS = 0.2  # between checks of another worker's lease


@dataclass(frozen=True, eq=False)
class ShardJob:
    """A shard, and which of its rows the caches lack.

    Attributes:
        shard: the token sequences.
        lacking: for each cache, the rows of the shard that it lacked at the start.
        places: where these rows are published, for the caches that lack any.
        scratch: directory for unfinished work on the shard.
    """

    shard: Shard
    lacking: tuple[Indices, ...]
    places: tuple[Path, ...]
    scratch: Path

    @property
    def is_done(self) -> bool:
        """Whether all of it is published, by any worker."""
        return all(is_published(place) for place in self.places)

    def lease(self) -> bool:
        """Take a lease; returns whether this process has one now, or needs none because the shard is done.

        Raises:
            RunError: the cache cannot be written.
        """
        return self.is_done or lease(self.places[0])

    def release(self) -> None:
        """Release this process's lease."""
        for place in self.places[:1]:
            release(place)


def leased_jobs(
    shards: Iterator[Shard],
    outputs: Sequence[Output],
    stored: Sequence[KeySet],
    sweep_folder: SweepFolder,
    progress: ExtractionProgress,
) -> Generator[ShardJob, None, None]:
    """Yield the shards that this process has to compute, each with a lease; ends when all are done or handed out.

    The caller releases a job once it is published. Closing the iterator releases the job taken last, whose work was
    aborted.

    Args:
        shards: all shards, including those with nothing to compute.
        outputs: the caches.
        stored: for each cache, the sequences that it had at the start.
        sweep_folder: where unfinished work is kept.
        progress: counts the items of shards that nobody has to compute any more.

    Raises:
        RunError: the cache cannot be written.
    """
    postponed: list[ShardJob] = []
    for shard in shards:
        postponed = _not_done(postponed, progress)
        job = _job(shard, outputs, stored, sweep_folder)
        if job.lease():
            yield from _unless_done(job, progress)
        else:
            postponed.append(job)
    for job in postponed:
        # Until the other worker has finished it, has died, or has shown no sign of life for long.
        while not job.lease():
            progress.wait()
            time.sleep(_POLL_SECONDS)
        yield from _unless_done(job, progress)


def _job(shard: Shard, outputs: Sequence[Output], stored: Sequence[KeySet], sweep_folder: SweepFolder) -> ShardJob:
    lacking = tuple(np.flatnonzero(~keys.contains(shard.keys)) for keys in stored)
    places = tuple(
        shard_path(output.path, shard.keys[rows]) for output, rows in zip(outputs, lacking, strict=True) if len(rows)
    )
    scratch = sweep_folder.of_shard(digest([str(place.name) for place in places])[:32])
    return ShardJob(shard, lacking, places, scratch)


def _unless_done(job: ShardJob, progress: ExtractionProgress) -> Iterator[ShardJob]:
    """The job, unless all of it is published."""
    if job.is_done:
        job.release()
        progress.pass_over(job.shard)
        return
    try:
        yield job
    except GeneratorExit:
        job.release()
        raise


def _not_done(jobs: Sequence[ShardJob], progress: ExtractionProgress) -> list[ShardJob]:
    """Forget jobs that another worker has published in the meantime, so that few are kept."""
    waiting = []
    for job in jobs:
        if job.is_done:
            progress.pass_over(job.shard)
        else:
            waiting.append(job)
    return waiting
