"""What a task of a job does: it starts a process for its units, and answers Slurm's signals.

Only records say what has become of units, so a job that is queued again does what is not done, and nothing has to be
saved for it. This module is imported in the job's own process, beside submitit, and loads nothing heavy.
"""

import logging
import signal
import socket
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from tcf import __version__
from tcf.common.errors import RunError
from tcf.common.lease_file import remove
from tcf.common.logs import LEVEL_VARIABLE
from tcf.launch.launchers.slurm.batches import Batch, read_batch
from tcf.launch.launchers.slurm.node import SlurmNode
from tcf.launch.launchers.slurm.queue import requeue, running_now
from tcf.launch.launchers.slurm.units_process import UnitsJob
from tcf.launch.units.records import Records, UnitRecord
from tcf.launch.units.unit import Unit
from tcf.launch.workers.local_processes import DEFAULT_STARTER
from tcf.launch.workers.worker import Outcome, Worker, WorkerSpec, end_workers

if TYPE_CHECKING:
    from submitit.helpers import DelayedSubmission

__all__ = ["SlurmJob"]

_POLL = 0.3  # seconds between two looks at the process and for signals
_SOON = 2.0  # seconds within which a signal that has ended the process has reached this one too
_STOPS = (signal.SIGUSR2, signal.SIGTERM)
_ATTEMPTS = 10  # at being queued again
_PAUSE = 2.0  # seconds between them
_LINGER = 3600.0  # seconds that the task of a job of several nodes waits to be ended


@dataclass(frozen=True)
class SlurmJob:
    """What submitit calls in a job.

    Attributes:
        batch: file of the batch.
        task: number of the task in it.
    """

    batch: str
    task: int

    def __call__(self) -> None:
        """Run the units of the task.

        Raises:
            SystemExit: 1 if a unit is not done, so that jobs that need it do not begin.
        """
        node = SlurmNode.of()
        # submitit's own answer to a time-out has to know the limit, and replaces a pickle in two steps, between which
        # a kill would leave nothing to start from.
        signals = _Signals()
        batch = read_batch(Path(self.batch))
        if batch.version != __version__:
            _refuse(batch, self.task, node)
            raise SystemExit(1)
        course = _Course(batch, self.task, node, signals)
        course.run()
        if signals.received:
            _stop(node, signals)
        raise SystemExit(0 if node.rank > 0 or course.is_done else 1)

    def checkpoint(self) -> "DelayedSubmission":
        """What the job does when it is queued again: the same, since records say what is left."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


@dataclass
class _Signals:
    """Notes Slurm's requests to stop: before a time-out, at a preemption, or because the job is cancelled.

    Attributes:
        received: numbers of the signals.
    """

    received: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        for number in _STOPS:
            signal.signal(number, self._note)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.received.append(number)


@dataclass
class _Course:
    """The course of a task's units.

    Attributes:
        batch: the batch.
        task: number of the task.
        node: this node.
        signals: requests to stop.
        tried: number of tries of this job, by name of the unit.
    """

    batch: Batch
    task: int
    node: SlurmNode
    signals: _Signals
    tried: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.units = self.batch.units(self.task)
        self.records = Records(Path(self.batch.records))
        for unit in self.units if self.node.rank == 0 else ():
            self._take_over(unit)

    @property
    def is_done(self) -> bool:
        """Whether all units are done."""
        return all(self.records.state(unit) == "done" for unit in self.units)

    def run(self) -> None:
        """Run the units until each is done or has been tried often enough, or a signal asks to stop."""
        # Nodes that have to meet do not know of one another's tries.
        tries = self.batch.tries if self.node.nodes == 1 else 1
        for unit in self.units:
            if missing := self._missing(unit):
                print(f"{unit.name}: left out, because it needs {missing}, which is not done", file=sys.stderr)
        while todo := [unit for unit in self.units if self._is_left(unit, tries)]:
            before = {unit.name: self._begun(unit) for unit in todo}
            outcome = self._run_process(todo)
            if self.signals.received or self.node.rank > 0:
                return
            for unit in todo:
                self._note_death(unit, outcome)
            tried = [unit for unit in todo if self._begun(unit) != before[unit.name]]
            for unit in tried or todo:  # a process that could not even begin would not begin the next time either
                self.tried[unit.name] = self.tried.get(unit.name, 0) + 1

    def _is_left(self, unit: Unit, tries: int) -> bool:
        return self.tried.get(unit.name, 0) < tries and self.records.state(unit) != "done" and not self._missing(unit)

    def _missing(self, unit: Unit) -> str:
        """The first of the units that a unit needs and that are not done; empty if it can run."""
        needs = unit.needs if self.batch.checks_needs and not unit.after_failures else ()
        return next((need for need in needs if not self._is_recorded_as_done(need)), "")

    def _is_recorded_as_done(self, name: str) -> bool:
        record = self.records.read(name)
        return record is not None and record.ended == "done"

    def _begun(self, unit: Unit) -> float:
        """When this job began the last try of a unit; 0 if it has not."""
        record = self._own_record(unit)
        return 0.0 if record is None else record.began

    def _own_record(self, unit: Unit) -> UnitRecord | None:
        record = self.records.read(unit.name)
        return record if record is not None and record.job == self.node.job else None

    def _take_over(self, unit: Unit) -> None:
        """Count the try of this job before it was queued again, and remove its lease: that process is gone for sure."""
        record = self._own_record(unit)
        if record is None or record.digest != unit.digest:
            return
        if record.ended == "failed":
            self.tried[unit.name] = 1
        remove(self.records.lease(unit.name))

    def _run_process(self, units: list[Unit]) -> Outcome:
        """Start a process for units, and wait for its end, which a signal brings about."""
        job = UnitsJob(self.batch.file, self.task, tuple(unit.name for unit in units), self.node.rank, self.node.job)
        worker = DEFAULT_STARTER.start(
            WorkerSpec(
                f"job {self.node.job}",
                UnitsJob.__module__,
                job,
                threads=self.node.threads,
                environment={LEVEL_VARIABLE: str(logging.INFO), **self.node.variables()},
                stderr="inherit",
            )
        )
        outcome = _outcome(worker, self.signals)
        if outcome.report is not None:
            print(f"job {self.node.job}: {outcome.report.text.strip()}", file=sys.stderr, flush=True)
        return outcome

    def _note_death(self, unit: Unit, outcome: Outcome) -> None:
        """Record that a unit failed because its process ended, which could not do so itself."""
        record = self._own_record(unit)
        if record is not None and record.ended == "running":
            remove(self.records.lease(unit.name))
            self.records.note_lost(unit, f"its process {_end_words(outcome)}")


def _outcome(worker: Worker, signals: _Signals) -> Outcome:
    """Wait for the end of the process; it is ended as soon as a signal asks for it."""
    while (outcome := worker.wait(_POLL)) is None:
        if signals.received:
            [outcome] = end_workers([worker])
            return outcome
    worker.close()
    if outcome.ended_by in _STOPS or outcome.status == 128 + signal.SIGTERM:
        _wait_for_signal(signals)
    return outcome


def _wait_for_signal(signals: _Signals) -> None:
    """Wait for a signal that has reached the process of the units first."""
    until = time.monotonic() + _SOON
    while not signals.received and time.monotonic() < until:
        time.sleep(_POLL)


def _end_words(outcome: Outcome) -> str:
    if outcome.ended_by is not None:
        memory = ", perhaps because memory ran out" if outcome.ended_by == signal.SIGKILL else ""
        return f"was ended by {outcome.ended_by.name}{memory}"
    return f"failed: {outcome.report.summary}" if outcome.report is not None else f"ended with {outcome.status}"


def _stop(node: SlurmNode, signals: _Signals) -> None:
    """Let the job be queued again, unless Slurm is ending it: then it is cancelled, or queued again already.

    Raises:
        SystemExit: of several nodes, after an hour in which nothing has ended this one.
    """
    if node.nodes > 1 and (node.rank > 0 or signal.SIGUSR2 not in signals.received):
        # The first node acts for all. A single SIGTERM may come from another node that failed, where a new start would
        # never end; at a preemption Slurm itself queues the job again.
        time.sleep(_LINGER)
    else:
        _queue_again(node.job)


def _queue_again(job: str) -> None:
    """Let a job be queued again that Slurm has as running; a busy controller is asked several times."""
    for _ in range(_ATTEMPTS):
        try:
            if running_now(job):
                requeue(job)
                print(f"job {job}: asked to stop; it is queued again, and goes on where it was", file=sys.stderr)
            return
        except RunError as error:
            print(f"job {job}: {error}", file=sys.stderr)
            time.sleep(_PAUSE)


def _refuse(batch: Batch, task: int, node: SlurmNode) -> None:
    """Record that units cannot be run by this version; of several nodes, the first does."""
    reason = (
        f"node {socket.gethostname()}: expected tcf {batch.version}, which submitted the job, found {__version__} in "
        f"{sys.executable}; install the same version for all nodes, and run the same command again"
    )
    print(reason, file=sys.stderr, flush=True)
    for message in batch.tasks[task] if node.rank == 0 else ():
        Records(Path(batch.records)).write(_refused(message, node, reason))


def _refused(message: Mapping[str, Any], node: SlurmNode, reason: str) -> UnitRecord:
    """The record of a unit that is not even decoded, since the other version may have other settings."""
    return UnitRecord(
        unit=message["name"],
        digest=message["digest"],
        ended="failed",
        tries=1,
        host=socket.gethostname(),
        job=node.job,
        version=__version__,
        began=time.time(),
        error=reason,
    )
