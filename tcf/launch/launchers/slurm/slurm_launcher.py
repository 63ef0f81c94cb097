"""The launcher that runs units as jobs of Slurm, for a command that stays until they have ended."""

import logging
import time
from collections.abc import Iterator, Mapping, Sequence

from tcf.common.errors import RunError
from tcf.common.units import counted
from tcf.config.launch import LaunchConfig
from tcf.launch.launchers.slurm.batches import find_batches, new_batch
from tcf.launch.launchers.slurm.flights import Flight, in_the_queue
from tcf.launch.launchers.slurm.packing import nodes_of, packed, pieces, together
from tcf.launch.launchers.slurm.queue import QueuedTask, is_stuck, most_tasks, queued_tasks, require_slurm
from tcf.launch.launchers.slurm.submit import BusyError, submit
from tcf.launch.units.records import Records
from tcf.launch.units.run_unit import UnitEnd
from tcf.launch.units.tasks import Stage
from tcf.launch.units.unit import Unit

__all__ = ["SlurmLauncher"]

logger = logging.getLogger(__name__)

_POLL = 3.0  # seconds between two looks at the queue
_PATIENCE = 20.0  # seconds that records of another node may take to be seen here
_LINES = 15
_PAUSE = 60.0  # seconds until Slurm is asked again, after it has accepted no jobs


class SlurmLauncher:
    """Runs units as jobs of Slurm; see `tcf.launch.launchers.launcher.Launcher`.

    How units end is known from their records, and that a job has ended without its units from the queue. Jobs of an
    earlier command that wait or run are found, and their units are not submitted again.

    Args:
        launch: settings of all stages.
        records: where records are; the jobs' files are beside them, in `jobs/`.
        poll: seconds between two looks at the queue.
        patience: seconds for which a job is missing in the queue before what it has not done counts as lost.

    Raises:
        ConfigError: Slurm's commands are not there.
        RunError: Slurm does not answer.
    """

    def __init__(
        self,
        launch: Mapping[Stage, LaunchConfig],
        records: Records,
        *,
        poll: float = _POLL,
        patience: float = _PATIENCE,
    ) -> None:
        require_slurm("--launcher slurm")
        self._launch, self._records, self._poll, self._patience = launch, records, poll, patience
        self._most = most_tasks()
        self._flights = in_the_queue(find_batches(records), queued_tasks())
        self._warned = set[str]()
        self._looked = time.monotonic()
        self._paused_until = 0.0
        self._has_accepted = False
        if self._flights:
            logger.info(
                f"Slurm has {counted(len(self._flights), 'job')} of an earlier command; their ends are waited for"
            )

    def take(self, units: Sequence[Unit]) -> Sequence[Unit]:
        """See `Launcher`; takes all units, or as many as `workers` of their stage allows.

        Raises:
            ConfigError: Slurm refuses the jobs.
            RunError: files of the jobs cannot be written.
        """
        if time.monotonic() >= self._looked + self._poll:  # nobody asks for ends while nothing is waited for
            self._refresh()
        found = [unit for unit in units if self._find(unit)]
        if time.monotonic() < self._paused_until:
            return found
        missing = together([(unit.stage, unit) for unit in units if unit not in found])
        try:
            for stage, of_stage in missing.items():
                for taken in self._submit(stage, of_stage):
                    found += taken
        except BusyError as error:
            if not self._has_accepted:
                raise
            self._paused_until = time.monotonic() + _PAUSE
            self._warn(f"{error}; meanwhile it is asked every minute")
        return found

    def _find(self, unit: Unit) -> bool:
        """Whether a job that has not ended runs a unit, whose end is waited for then."""
        for flight in self._flights:
            if flight.gone_since is None and flight.runs(unit) and not self._has_failed_in(flight, unit):
                flight.units[unit.name] = unit
                return True
        return False

    def _has_failed_in(self, flight: Flight, unit: Unit) -> bool:
        """Whether a job has given a unit up, although it goes on with others."""
        record = self._records.read(unit.name)
        return flight.batch.tries == 1 and record is not None and record.job == flight.job and record.ended == "failed"

    def _submit(self, stage: Stage, units: Sequence[Unit]) -> Iterator[list[Unit]]:
        """Submit units of a stage for which there is room, as arrays, each of which may be the last that is accepted.

        Yields:
            The units of each array.
        """
        config = self._launch[stage]
        busy = sum(flight.batch.stage == stage and flight.is_open for flight in self._flights)
        room = None if config.workers is None else max(0, config.workers - busy)
        for tasks in pieces(packed(units, config)[:room], self._most):
            batch = submit(new_batch(tasks, self._records, tries=1), config, nodes_of(stage, config))
            self._has_accepted = True
            for number, task in enumerate(tasks):
                self._flights.append(Flight(batch, number, units={unit.name: unit for unit in task}))
            logger.info(f"{counted(sum(map(len, tasks)), 'unit')} of {stage}: submitted as job {batch.job}")
            yield [unit for task in tasks for unit in task]

    def ended(self, timeout: float) -> list[UnitEnd]:
        """See `Launcher`."""
        until = time.monotonic() + timeout
        while True:
            next_look = self._looked + self._poll
            if time.monotonic() >= next_look:
                if ends := self._look():
                    return ends
                next_look = self._looked + self._poll
            left = until - time.monotonic()
            if left <= 0:
                return []
            time.sleep(max(0.01, min(left, next_look - time.monotonic())))

    def _look(self) -> list[UnitEnd]:
        """Look at the queue and at the records of what runs or is gone; returns the ends that are new."""
        if not self._refresh():
            return []
        ends: list[UnitEnd] = []
        for flight in list(self._flights):
            if flight.state == "PD" and flight.gone_since is None:
                continue
            is_over = flight.gone_for() > self._patience
            if is_over:
                flight.release(self._records)
                self._flights.remove(flight)
            of_flight = flight.ends(self._records, is_over)
            self._report_lost(flight, of_flight)
            ends += of_flight
        return ends

    def _refresh(self) -> bool:
        """Look at the queue; False if Slurm does not answer, when nothing is known of what is gone."""
        self._looked = time.monotonic()
        try:
            self._note(queued_tasks())
        except RunError as error:
            self._warn(f"{error}; asking again")
            return False
        return True

    def _note(self, queue: Sequence[QueuedTask]) -> None:
        by_name = {(queued.name, queued.number): queued for queued in queue}
        for flight in self._flights:
            queued = by_name.get((flight.batch.name, flight.task))
            flight.note(queued)
            if queued is not None and is_stuck(queued):
                self._warn(
                    f"job {flight.batch.job} ({flight.batch.stage}) waits for something that does not come by itself: "
                    f"Slurm says {queued.reason.strip('()')}; see `scontrol show job {flight.batch.job}`; if it is not "
                    f"to wait, stop this command, end the job with `scancel {flight.batch.job}`, correct the settings, "
                    "and run the command again"
                )

    def _report_lost(self, flight: Flight, ends: Sequence[UnitEnd]) -> None:
        """Show the end of what a job has said that ended without its units."""
        lines = flight.said()[-_LINES:] if any(end.ended == "lost" for end in ends) else []
        if lines:
            file = flight.batch.stderr(flight.task)
            logger.warning("\n".join([f"job {flight.job}: the end of {file}:", *(f"    {line}" for line in lines)]))

    def _warn(self, text: str) -> None:
        """Warn once."""
        if text not in self._warned:
            self._warned.add(text)
            logger.warning(text)

    def running(self) -> Sequence[str]:
        """See `Launcher`; of a job with several units, the first that has not ended."""
        return [next(iter(flight.units)) for flight in self._flights if flight.units and flight.state == "R"]

    def close(self) -> None:
        """See `Launcher`; jobs are left to Slurm, and how to end them is said."""
        jobs = list(dict.fromkeys(flight.batch.job for flight in self._flights if flight.goes_on(self._records)))
        if jobs:
            logger.warning(
                f"left to Slurm: {counted(len(jobs), 'job')}; run the same command again to wait for what they do, or "
                f"`scancel {' '.join(jobs)}` to end them"
            )
