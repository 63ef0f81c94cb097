"""Workers that share the work of this process, and of which any may fail: the others continue with its work."""

import logging
import threading
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from tcf.launch.workers.local_processes import DEFAULT_STARTER
from tcf.launch.workers.worker import Outcome, ProcessStarter, Worker, WorkerSpec, end_workers, start_failure

__all__ = ["IndependentWorkers"]

logger = logging.getLogger(__name__)
_WARNING = "tcf: warning: "  # before the warnings in a worker's log


@dataclass
class IndependentWorkers:
    """A context manager for workers that share this process's work, and end with it.

    A worker that fails is reported at once, as a warning.

    Attributes:
        starter: starts the workers.
        failed: names of the workers that failed.
    """

    starter: ProcessStarter = DEFAULT_STARTER
    failed: list[str] = field(default_factory=list)
    _workers: list[Worker] = field(default_factory=list)
    _watches: list[threading.Thread] = field(default_factory=list)
    _ending: bool = False

    def start(self, spec: WorkerSpec) -> None:
        """Start a worker; if it cannot be started, it counts as failed."""
        try:
            worker = self.starter.start(spec)
        except OSError as error:
            self._report_failure(spec.name, start_failure(error))
            return
        self._workers.append(worker)
        self._watches.append(threading.Thread(target=self._watch, args=(worker,), daemon=True))
        self._watches[-1].start()

    def __enter__(self) -> Self:
        """Begin without workers."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the remaining workers; once this process has done its own work, nothing is left for them."""
        self._ending = True
        end_workers(self._workers)
        for watch in self._watches:
            watch.join()

    def _watch(self, worker: Worker) -> None:
        outcome = worker.wait()
        if outcome is None:
            return
        for line in outcome.stderr or ():
            if line.startswith(_WARNING):
                logger.warning(f"{worker.name}: {line.removeprefix(_WARNING)}")
        if outcome.status != 0 and not self._ending:
            self._report_failure(worker.name, _reason(outcome))

    def _report_failure(self, name: str, reason: str) -> None:
        self.failed.append(name)
        logger.warning(f"{name} failed: {reason}; the others continue with its work")


def _reason(outcome: Outcome) -> str:
    """Why a worker failed: a signal, its error report, or its last line on standard error that is not progress."""
    if outcome.ended_by is not None:
        return f"ended by {outcome.ended_by.name}"
    if outcome.report is not None:
        return outcome.report.summary
    lines = [line for line in outcome.stderr or () if line.strip() and not line.startswith("extract: ")]
    return lines[-1].removeprefix("tcf: error: ") if lines else f"ended with status {outcome.status}"
