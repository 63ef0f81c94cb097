"""Batches: files that say which units the tasks of one submission run, and which job that became.

A batch is written before it is submitted, and read by its tasks. A later command finds from it which units are queued
or run already.
"""

import json
import logging
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tcf import __version__
from tcf.common.files import publish_file
from tcf.common.output.folders import make_folder
from tcf.common.parsing import LARGEST_JSON, read_json
from tcf.launch.units.records import Records
from tcf.launch.units.unit import Unit, decode_unit

__all__ = ["Batch", "find_batches", "new_batch", "read_batch", "unit_key"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Batch:
    """The units of one submission, a job or an array of jobs.

    Attributes:
        name: the job's name, unique.
        version: tcf's, of the process that submits it.
        records: folder of the units' records.
        stage: the stage of all units.
        tries: how often a task tries each of its units.
        checks_needs: whether a task leaves out units that need some that are not done, as no command does it.
        job: the id that Slurm gave; empty until then.
        tasks: the units of each task, as JSON values with their digests, so that another version can tell them apart.
    """

    name: str
    version: str
    records: str
    stage: str
    tries: int
    checks_needs: bool
    job: str
    tasks: tuple[tuple[Mapping[str, Any], ...], ...]

    @property
    def file(self) -> Path:
        """Where it is written."""
        return Path(self.records) / "jobs" / f"{self.name}.json"

    @property
    def folder(self) -> Path:
        """Where submitit's files and the output of the jobs are; named to Slurm, so without a `%`."""
        return self.file.with_suffix("")

    def units(self, task: int) -> tuple[Unit, ...]:
        """The units of a task."""
        return tuple(decode_unit(message) for message in self.tasks[task])

    def keys(self, task: int) -> tuple[str, ...]:
        """The units of a task as `unit_key` names them, whatever version wrote them."""
        return tuple(f"{message['name']} {message['digest']}" for message in self.tasks[task])

    def job_of(self, task: int) -> str:
        """The id of a task's job, as Slurm's commands take it: `17`, or `17_2` in an array."""
        return f"{self.job}_{task}" if len(self.tasks) > 1 else self.job

    def stderr(self, task: int) -> Path:
        """Where the standard error of a task's job goes, outside its units; of several nodes, the first node's."""
        return self.folder / f"{self.job_of(task)}_0_log.err"

    def write(self) -> None:
        """Write it.

        Raises:
            RunError: it cannot be written.
        """
        make_folder(self.file.parent)
        publish_file(self.file, json.dumps(asdict(self)).encode())


def unit_key(unit: Unit) -> str:
    """What is done, and for which unit."""
    return f"{unit.name} {unit.digest}"


def new_batch(tasks: Sequence[Sequence[Unit]], records: Records, tries: int, *, checks_needs: bool = False) -> Batch:
    """Return a batch with a name of its own.

    Args:
        tasks: the units of each task, all of one stage.
        records: where their records are.
        tries: how often a task tries each.
        checks_needs: see `Batch`.
    """
    stage = tasks[0][0].stage
    messages = tuple(tuple({**unit.as_message(), "digest": unit.digest} for unit in task) for task in tasks)
    name = f"tcf-{stage}-{uuid.uuid4().hex[:8]}"
    return Batch(name, __version__, str(records.folder.absolute()), stage, tries, checks_needs, "", messages)


def read_batch(file: Path) -> Batch:
    """Read a batch.

    Raises:
        OSError: it cannot be read.
        ValueError: it is damaged.
    """
    values = read_json(file, most=LARGEST_JSON)
    try:
        batch = Batch(**{**values, "tasks": tuple(tuple(task) for task in values["tasks"])})
        for task in range(len(batch.tasks)):
            batch.keys(task)
        return batch
    except (KeyError, TypeError) as error:
        raise ValueError(f"{file}: expected a batch of units, found other entries") from error


def find_batches(records: Records) -> list[Batch]:
    """Return the batches of earlier commands; damaged ones, of which nothing is known, are named and left out."""
    found = []
    for file in sorted((records.folder / "jobs").glob("*.json")):
        try:
            found.append(read_batch(file))
        except (OSError, ValueError) as error:
            logger.warning(
                f"{file}: cannot be read ({' '.join(str(error).split())}); if Slurm still has jobs of that name (see "
                f"`squeue --me --name {file.stem}`), their units are submitted again, and wait until these have ended"
            )
    return found
