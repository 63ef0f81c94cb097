"""The workers that train trials of a search, seen from their parent process."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tcf.common.errors import RunError
from tcf.common.files import writing
from tcf.common.logs import LEVEL_VARIABLE, level_for_workers
from tcf.launch.workers.jobs import TrainingJob
from tcf.launch.workers.local_processes import DEFAULT_STARTER
from tcf.launch.workers.worker import Outcome, ProcessStarter, Worker, WorkerSpec, end_workers, start_failure
from tcf.launch.workers.worker_slot import WorkerSlot

__all__ = ["TrialWorker", "trial_workers"]


@dataclass(eq=False)
class TrialWorker(WorkerSlot):
    """A slot in which trials are trained one after the other; its worker is started on demand.

    Attributes:
        number: its number, from 1.
        log: file to which the worker's output is appended.
        device: device to train on; None for that of the settings.
        threads: number of torch threads; 0 for torch's default.
        starter: starts the worker.
        worker: the worker; None while there is none.
    """

    number: int
    log: Path
    device: str | None
    threads: int
    starter: ProcessStarter = DEFAULT_STARTER
    worker: Worker | None = None

    def train(self, job: TrainingJob) -> None:
        """Start to train a trial.

        Raises:
            RunError: the worker cannot be started.
        """
        try:
            worker = self._running()
        except OSError as error:
            raise RunError(
                f"worker {self.number}: expected a worker process, but {start_failure(error)}; free memory or "
                "processes, and run the same command again: the search resumes"
            ) from error
        worker.send(job.as_message())

    def decide(self, go_on: bool) -> None:
        """Send whether to continue after an epoch."""
        self._started().send({"go_on": go_on})

    def failure(self, outcome: Outcome) -> str:
        """Why a worker has exited: its error report, or the last line of its log."""
        if outcome.report is not None:
            return outcome.report.summary.strip()
        lines = self.log.read_text(encoding="utf-8", errors="replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "without a message")

    def _spec(self) -> WorkerSpec:
        return WorkerSpec(
            f"worker {self.number}",
            "tcf.launch.search.trial_process",
            threads=self.threads,
            # Notes are kept in its file whatever is shown of this process: they are all that there is of a trial.
            environment={LEVEL_VARIABLE: str(min(level_for_workers() or logging.INFO, logging.INFO))},
            stderr=self.log,
            converses=True,
        )


@contextmanager
def trial_workers(
    folder: Path, number: int, devices: Sequence[str], threads: int, starter: ProcessStarter = DEFAULT_STARTER
) -> Iterator[list[TrialWorker]]:
    """Create workers, none of them started yet; those that were started are ended with the block.

    Args:
        folder: folder for their logs.
        number: number of workers.
        devices: devices assigned to them in turn; empty for those of the settings.
        threads: number of threads for all workers together.
        starter: starts the workers.
    """
    share = 0 if number == 1 else max(1, threads // number)
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    workers = [
        TrialWorker(
            place + 1,
            folder / f"worker-{place + 1}.log",
            devices[place % len(devices)] if devices else None,
            share,
            starter,
        )
        for place in range(number)
    ]
    try:
        yield workers
    finally:
        end_workers([worker.worker for worker in workers if worker.worker is not None])
