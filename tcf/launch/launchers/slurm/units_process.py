"""The process inside a job that runs its units, one after the other; the job's own process starts and ends it.

Slurm's signals are for the job's process. Some clusters send them to this one as well: the warning before a time-out
(SIGUSR2) is ignored here and in all processes that units start, and SIGTERM means the end anyway.
"""

import logging
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from tcf.common.errors import TcfError
from tcf.launch.launchers.slurm.batches import read_batch
from tcf.launch.units.records import Records
from tcf.launch.units.run_unit import run_unit
from tcf.launch.units.unit import Unit
from tcf.launch.units.unit_process import free_memory, prepare_process
from tcf.launch.workers.jobs import Job
from tcf.launch.workers.worker_process import run_job

__all__ = ["UnitsJob", "main"]

logger = logging.getLogger(__name__)
_POLL = 2.0  # seconds between two looks at a unit that another process runs


@dataclass(frozen=True)
class UnitsJob(Job):
    """What the process does.

    Attributes:
        batch: file of the batch.
        task: number of the task in it.
        units: names of the units to run, each once.
        rank: number of this node in the job; records are written by node 0 alone.
        job: id of the job, for the records.
    """

    batch: Path
    task: int
    units: tuple[str, ...]
    rank: int
    job: str


def main() -> None:
    """Run units; the exit status says nothing about them, the records do."""
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    run_job(UnitsJob, _run_units)


def _run_units(job: UnitsJob) -> None:
    signal.signal(signal.SIGTERM, _end)
    batch = read_batch(job.batch)
    records = Records(Path(batch.records))
    for unit in batch.units(job.task):
        if unit.name in job.units:
            prepare_process(unit, _threads())
            if job.rank == 0:
                _run_once_free(unit, records, job.job)
            else:
                _help(unit, job.rank)
            free_memory()


def _run_once_free(unit: Unit, records: Records, job: str) -> None:
    """Run a unit, once no other process runs it, unless it is done then."""
    if records.state(unit) == "running":
        logger.warning(f"{unit.name}: another process runs it (see {records.file(unit.name)}); waiting for its end")
    while (state := records.state(unit)) != "done":
        if state != "running" and run_unit(unit, records, job).ended != "held":
            return
        time.sleep(_POLL)


def _help(unit: Unit, rank: int) -> None:
    """Do a further node's part of a unit; what it prints is in the job's files, and node 0 writes the record."""
    try:
        unit.task.run()
    except TcfError as error:
        logger.error(f"{unit.name}: failed on node {rank}: {' '.join(str(error).split())}")


def _end(number: int, frame: FrameType | None) -> None:
    """End, and clean up undisturbed: both Slurm and the job's process may ask for it."""
    signal.signal(number, signal.SIG_IGN)
    raise SystemExit(128 + number)


def _threads() -> int:
    """The number of threads that this process was started with; 0 for what torch chooses."""
    threads = os.environ.get("OMP_NUM_THREADS", "")
    return int(threads) if threads.isdecimal() else 0
