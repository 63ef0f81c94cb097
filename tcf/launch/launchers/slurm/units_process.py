"""The process inside a job that runs its units, one after the other; the job's own process starts and ends it.

Slurm's signals are for the job's process. Some clusters send them to this one as well: the warning before a time-out
(SIGUSR2) is ignored here and in all processes that units start, and SIGTERM means the end anyway.
"""

import logging
import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from tcf.common.errors import TcfError
from tcf.common.lease_file import is_held
from tcf.launch.launchers.slurm.batches import read_batch
from tcf.launch.units.records import Records
from tcf.launch.units.run_unit import run_unit
from tcf.launch.units.unit import Unit
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
    batch = read_batch(job.batch)
    records = Records(Path(batch.records))
    for unit in batch.units(job.task):
        if unit.name in job.units:
            _set_threads()
            if job.rank == 0:
                _run_once_free(unit, records, job.job)
            else:
                _help(unit, job.rank)


def _run_once_free(unit: Unit, records: Records, job: str) -> None:
    """Run a unit, once no other process runs it, unless it is done then."""
    if is_held(records.lease(unit.name)):
        logger.warning(f"{unit.name}: another process runs it (see {records.file(unit.name)}); waiting for its end")
    while is_held(records.lease(unit.name)):
        time.sleep(_POLL)
    if records.state(unit) != "done":
        run_unit(unit, records, job)


def _help(unit: Unit, rank: int) -> None:
    """Do a further node's part of a unit; what it prints is in the job's files, and node 0 writes the record."""
    try:
        unit.task.run()
    except TcfError as error:
        logger.error(f"{unit.name}: failed on node {rank}: {' '.join(str(error).split())}")


def _set_threads() -> None:
    """Give each unit the same number of threads, whatever the one before it has set; the start of torch sets it too."""
    torch, threads = sys.modules.get("torch"), os.environ.get("OMP_NUM_THREADS", "")
    if torch is not None and threads.isdecimal() and int(threads) > 0:
        torch.set_num_threads(int(threads))
