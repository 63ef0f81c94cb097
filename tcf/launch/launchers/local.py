"""A launcher of worker processes on this machine, each with its share of GPUs and threads.

A process runs units with its share one after the other, so that libraries are imported once. One that has ended,
whatever the cause, is replaced when there is work for it. Units are taken in the order in which they are offered, as
far as there is room: a unit with GPUs needs that many free ones, and one without them needs free threads.
"""

import logging
import time
from collections.abc import Mapping, Sequence
from multiprocessing.connection import wait

from tcf.common.errors import RunError
from tcf.config.launch import LaunchConfig
from tcf.launch.launchers.shares import Machine, Share, shares, this_machine
from tcf.launch.launchers.unit_worker import UnitWorker
from tcf.launch.units.records import Records
from tcf.launch.units.run_unit import UnitEnd
from tcf.launch.units.tasks import Stage
from tcf.launch.units.unit import Unit
from tcf.launch.workers.local_processes import DEFAULT_STARTER
from tcf.launch.workers.worker import ProcessStarter, end_workers, start_failure

__all__ = ["LocalLauncher"]

logger = logging.getLogger(__name__)


class LocalLauncher:
    """Runs units in worker processes of this machine; see `tcf.launch.launchers.launcher.Launcher`.

    Workers end with this process, even if it is killed. A worker that does not answer is left alone, since nobody knows
    how long a unit may take.

    Args:
        launch: settings of all stages.
        records: where records and logs are.
        machine: what is shared; found out if not given.
        starter: starts the workers.

    Raises:
        ConfigError: a stage asks for more than this machine has.
    """

    def __init__(
        self,
        launch: Mapping[Stage, LaunchConfig],
        records: Records,
        *,
        machine: Machine | None = None,
        starter: ProcessStarter = DEFAULT_STARTER,
    ) -> None:
        self._machine = machine or this_machine(launch)
        self._shares = shares(launch, self._machine)
        self._records, self._starter = records, starter
        self._workers: list[UnitWorker] = []

    def take(self, units: Sequence[Unit]) -> Sequence[Unit]:
        """See `Launcher`.

        Raises:
            RunError: no process can be started, and none is running.
        """
        taken = []
        for unit in units:
            if not self._has_room(unit):
                continue
            if not self._begin(unit):
                break
            taken.append(unit)
        return taken

    def ended(self, timeout: float) -> list[UnitEnd]:
        """See `Launcher`."""
        busy = self._busy()
        if not busy:
            time.sleep(timeout)  # another command may be at what is left
            return []
        readable = wait([worker.fileno() for worker in busy], timeout)
        return [end for worker in busy if worker.fileno() in readable for end in self._end(worker)]

    def running(self) -> Sequence[str]:
        """See `Launcher`."""
        return [worker.unit.name for worker in self._busy() if worker.unit is not None]

    def close(self) -> None:
        """End all workers; units that run clean up first, and can be started again."""
        self._stop(self._workers)

    def _busy(self) -> list[UnitWorker]:
        return [worker for worker in self._workers if worker.unit is not None]

    def _has_room(self, unit: Unit) -> bool:
        share, busy = self._shares[unit.stage], self._busy()
        if sum(worker.unit is not None and worker.unit.stage == unit.stage for worker in busy) >= share.most:
            return False
        if share.gpus:
            return len(self._machine.gpus) - sum(len(worker.gpus) for worker in busy) >= share.gpus
        # GPUs must not wait for the short stages without them, nor these for GPUs: each is limited by what it uses.
        return unit.stage == "download" or self._has_threads(share, [worker for worker in busy if worker.computes])

    def _has_threads(self, share: Share, busy: Sequence[UnitWorker]) -> bool:
        """Whether there are threads for a unit without GPUs; settings may ask for more than the machine has."""
        used = [worker.threads for worker in busy if not worker.gpus]
        if used and (share.threads == 0 or 0 in used):
            return False
        return sum(used) + share.threads <= max(self._machine.threads, share.most * share.threads)

    def _begin(self, unit: Unit) -> bool:
        """Start a unit in a worker; False if none can be started now, but others are running."""
        worker = self._worker_for(unit)
        try:
            worker.begin(unit)
        except (OSError, RunError) as error:
            self._workers.remove(worker)
            words = start_failure(error) if isinstance(error, OSError) else str(error)
            if not self._busy():
                raise _cannot_start(worker, error) from error
            logger.warning(f"worker {worker.number}: {words}; the others do its work")
            return False
        return True

    def _worker_for(self, unit: Unit) -> UnitWorker:
        """A worker that has nothing to do and has the unit's share; a new one if there is none."""
        share = self._shares[unit.stage]
        idle = [worker for worker in self._workers if worker.unit is None]
        for worker in idle:
            if (len(worker.gpus), worker.threads) == (share.gpus, share.threads):
                return worker
        gpus = self._free_gpus(share.gpus)
        self._stop([worker for worker in idle if set(worker.gpus) & set(gpus)])  # they would keep memory there
        number = min({*range(1, len(self._workers) + 2)} - {worker.number for worker in self._workers})
        hides = bool(self._machine.gpus)
        worker = UnitWorker(number, share.threads, gpus, hides, self._records.folder, self._starter)
        self._workers.append(worker)
        return worker

    def _free_gpus(self, number: int) -> tuple[str, ...]:
        """So many GPUs on which nothing runs; preferably those of no process, which is worth keeping."""
        busy = {gpu for worker in self._busy() for gpu in worker.gpus}
        kept = {gpu for worker in self._workers for gpu in worker.gpus}
        free = [gpu for gpu in self._machine.gpus if gpu not in busy]
        return tuple(sorted(free, key=lambda gpu: gpu in kept)[:number])

    def _end(self, worker: UnitWorker) -> list[UnitEnd]:
        found = worker.end()
        if found is None:
            return []
        end, usable = found
        if not usable:  # a defect, or memory that ran out, may have left anything behind
            self._stop([worker])
        return [end]

    def _stop(self, workers: Sequence[UnitWorker]) -> None:
        """End workers, and forget them."""
        ending = list(workers)
        self._workers = [worker for worker in self._workers if worker not in ending]
        end_workers([worker.worker for worker in ending if worker.worker is not None])


def _cannot_start(worker: UnitWorker, error: OSError | RunError) -> RunError:
    """The error of a worker without which nothing can go on."""
    if isinstance(error, RunError):
        return error
    return RunError(
        f"worker {worker.number}: expected a worker process, but {start_failure(error)}; free memory or processes, and "
        "run the same command again, which does only what is missing"
    )
