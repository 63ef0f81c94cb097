"""Tasks of jobs that have been submitted and have not ended, as far as is known."""

import contextlib
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from tcf.common.lease_file import remove
from tcf.launch.launchers.slurm.batches import Batch, unit_key
from tcf.launch.launchers.slurm.queue import QueuedTask
from tcf.launch.units.records import Records, UnitRecord
from tcf.launch.units.run_unit import UnitEnd
from tcf.launch.units.unit import Unit

__all__ = ["Flight", "in_the_queue"]

_LAST = 15  # lines; the same file has what was said before the job was queued again


@dataclass(eq=False)
class Flight:
    """A task of a batch that Slurm has.

    Attributes:
        batch: the batch.
        task: number of the task.
        state: Slurm's short form of its state.
        units: its units that are waited for, by name.
        over: keys of its units whose ends have been reported.
        gone_since: when the queue lacked it for the first time, on the monotonic clock; None while it is there.
    """

    batch: Batch
    task: int
    state: str = "PD"
    units: dict[str, Unit] = field(default_factory=dict)
    over: set[str] = field(default_factory=set)
    gone_since: float | None = None

    def __post_init__(self) -> None:
        self.keys = frozenset(self.batch.keys(self.task))

    @property
    def job(self) -> str:
        """The id of its job, as Slurm's commands take it."""
        return self.batch.job_of(self.task)

    @property
    def is_open(self) -> bool:
        """Whether units of it are waited for, or may yet be; not while it only ends, after its units."""
        return bool(self.units) or (self.gone_since is None and not self.keys <= self.over)

    def goes_on(self, records: Records) -> bool:
        """Whether Slurm has it, and a unit of it has not ended."""
        names = [message["name"] for message in self.batch.tasks[self.task]]
        return self.gone_since is None and not all(self._has_ended(records.read(name)) for name in names)

    def _has_ended(self, record: UnitRecord | None) -> bool:
        if record is None or f"{record.unit} {record.digest}" not in self.keys:
            return False
        return record.ended == "done" or (record.ended == "failed" and record.job == self.job)

    def runs(self, unit: Unit) -> bool:
        """Whether a unit is one of its own, and has not ended."""
        return unit_key(unit) in self.keys - self.over

    def note(self, queued: QueuedTask | None, clock: Callable[[], float] = time.monotonic) -> None:
        """Note what the queue says of it.

        Args:
            queued: its entry; None if there is none.
            clock: seconds on a clock that never goes back.
        """
        if queued is not None:
            self.state, self.gone_since = queued.state, None
        elif self.gone_since is None:
            self.gone_since = clock()

    def gone_for(self, clock: Callable[[], float] = time.monotonic) -> float:
        """Seconds for which the queue has lacked it; below 0 while it is there."""
        return -1.0 if self.gone_since is None else clock() - self.gone_since

    def ends(self, records: Records, is_over: bool) -> list[UnitEnd]:
        """Return the ends of its units that are new.

        Args:
            records: what is known of units.
            is_over: whether the job has ended for so long that it has written all that it ever will, also where a file
                system shows the files of other nodes late.
        """
        found = [self._end(unit, records, is_over) for unit in self.units.values()]
        ends = [end for end in found if end is not None]
        for end in ends:
            self.over.add(unit_key(self.units.pop(end.unit)))
        return ends

    def _end(self, unit: Unit, records: Records, is_over: bool) -> UnitEnd | None:
        record = records.read(unit.name)
        if record is not None and record.digest == unit.digest:
            if record.ended == "done" and records.state(unit) == "done":
                return UnitEnd(unit.name, "done")
            # A job that tries units several times may be about to try it again.
            if record.ended == "failed" and record.job == self.job and (self.batch.tries == 1 or is_over):
                return UnitEnd(unit.name, "failed", record.error)
        if not is_over:
            return None
        return UnitEnd(unit.name, "lost", f"its job {self.job} ended without it{self._why()}")

    def release(self, records: Records) -> None:
        """Remove the leases of what the job was running when it ended, which would be believed for some minutes.

        Its process cannot tell any more that it has ended, and from another machine nobody can see it.
        """
        for message in self.batch.tasks[self.task]:
            record = records.read(message["name"])
            if record is not None and record.job == self.job and record.ended == "running":
                with contextlib.suppress(OSError):
                    remove(records.lease(message["name"]))

    def said(self) -> list[str]:
        """The lines that Slurm and the job itself have said, such as why it was cancelled."""
        file = self.batch.stderr(self.task)
        try:
            text = file.read_text(encoding="utf-8", errors="replace")
        except OSError:
            return []
        return [line.rstrip() for line in text.splitlines() if line.strip()]

    def _why(self) -> str:
        file, lines = self.batch.stderr(self.task), self.said()
        if lines:
            return f": {_telling(lines[-_LAST:])} (see {file})"
        # Slurm says nothing anywhere about a job whose output it cannot open.
        if file.exists():
            return ""
        return f", and without {file}; was it cancelled before it began, or do not all nodes see that folder?"


def _telling(lines: Sequence[str]) -> str:
    """The line that most likely says why a job ended: Slurm's own, or else the last that is not about its end."""
    for mark in ("slurmstepd", ""):
        for line in reversed(lines):
            if line.startswith(mark) and not line.startswith(("srun: ", "submitit ")):
                return line.strip()
    return lines[-1].strip()


def in_the_queue(batches: Iterable[Batch], queue: Iterable[QueuedTask]) -> list[Flight]:
    """Return the tasks of earlier commands' batches that Slurm still has.

    They are known by the job's name, which is unique, since ids begin anew when Slurm is installed again.

    Args:
        batches: batches that were submitted, or were about to be when the command was killed.
        queue: what the queue holds.
    """
    known = {batch.name: batch for batch in batches}
    flights = []
    for queued in queue:
        batch = known.get(queued.name)
        if batch is not None and queued.number < len(batch.tasks):
            submitted = batch if batch.job else _with_job(batch, queued.job)
            flights.append(Flight(submitted, queued.number, queued.state))
    return flights


def _with_job(batch: Batch, job: str) -> Batch:
    return replace(batch, job=job)
