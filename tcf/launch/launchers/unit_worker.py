"""A worker that runs units, seen from the process that started it."""

import logging
from dataclasses import dataclass
from pathlib import Path

from tcf.common.files import writing
from tcf.common.logs import LEVEL_VARIABLE, level_for_workers
from tcf.common.output.folders import make_folder
from tcf.launch.units.run_unit import UnitEnd
from tcf.launch.units.unit import Unit
from tcf.launch.workers.worker import Outcome, ProcessStarter, Worker, WorkerSpec
from tcf.launch.workers.worker_slot import WorkerSlot

__all__ = ["UnitWorker"]


@dataclass(eq=False)
class UnitWorker(WorkerSlot):
    """A place in which units run one after the other in a process, which is started for the first of them.

    Attributes:
        number: its number, from 1.
        threads: number of its threads; 0 for torch's default.
        gpus: its GPUs, as `CUDA_VISIBLE_DEVICES` names them.
        hides_gpus: whether the machine has GPUs, of which only its own may be seen.
        records: folder of the units' records.
        starter: starts the process.
        worker: the process; None while there is none.
        unit: what it runs; None while it has nothing to do.
    """

    number: int
    threads: int
    gpus: tuple[str, ...]
    hides_gpus: bool
    records: Path
    starter: ProcessStarter
    worker: Worker | None = None
    unit: Unit | None = None

    @property
    def computes(self) -> bool:
        """Whether it runs something that needs its threads; a download waits for the network."""
        return self.unit is not None and self.unit.stage != "download"

    @property
    def log(self) -> Path:
        """File to which what it says between units is appended."""
        return self.records / "logs" / f"worker-{self.number}.log"

    def begin(self, unit: Unit) -> None:
        """Start to run a unit.

        Raises:
            OSError: the process cannot be started.
            RunError: its log cannot be written.
        """
        with writing(self.log):
            make_folder(self.log.parent)
        if self.worker is not None and self.worker.wait(0) is not None:
            self.wait()  # killed while it had nothing to do, which is no failure of this unit
        worker = self._running()
        self.unit = unit
        worker.send({"unit": unit.as_message(), "records": str(self.records), "threads": self.threads})

    def end(self) -> tuple[UnitEnd, bool] | None:
        """Read how the unit has ended, once there is something to read.

        Returns:
            The end, and whether the process can run another unit; None if it runs nothing.
        """
        unit, self.unit = self.unit, None
        if unit is None:
            return None
        match self.receive():
            case {"ended": ("done" | "failed" | "held") as ended, "reason": str(reason), "usable": bool(usable)}:
                return UnitEnd(unit.name, ended, reason), usable
            case _:
                return UnitEnd(unit.name, "lost", f"its process {self._end_words(self.wait())}"), True

    def _end_words(self, outcome: Outcome) -> str:
        """How a process ended that was expected to go on."""
        if outcome.ended_by is not None:
            memory = ", perhaps because memory ran out" if outcome.ended_by.name == "SIGKILL" else ""
            return f"was ended by {outcome.ended_by.name}{memory}"
        if outcome.report is not None:
            return f"failed: {outcome.report.summary.strip()}"
        return f"ended with status {outcome.status} (see {self.log})"

    def _spec(self) -> WorkerSpec:
        # Notes are kept in the log whatever is shown of this process: they are all that there is of a unit.
        environment = {LEVEL_VARIABLE: str(min(level_for_workers() or logging.INFO, logging.INFO))}
        if self.hides_gpus:
            environment["CUDA_VISIBLE_DEVICES"] = ",".join(self.gpus)
        return WorkerSpec(
            f"worker {self.number}",
            "tcf.launch.units.unit_process",
            threads=self.threads,
            environment=environment,
            stderr=self.log,
            converses=True,
        )
