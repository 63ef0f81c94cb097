"""The workers that train a search's trials, as the process that started them sees them."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tcf.common.files import writing
from tcf.common.logs import LEVEL_VARIABLE, level_for_workers
from tcf.launch.jobs import TrainingJob
from tcf.launch.launcher import Launcher, Outcome, Worker, WorkerSpec, end_workers
from tcf.launch.processes import DEFAULT_LAUNCHER

__all__ = ["TrialWorker", "trial_workers"]

_PATIENCE = 10.0  # seconds for a worker that sends no more messages to end


@dataclass(eq=False)
class TrialWorker:
    """A place where one trial after the other is trained; its worker is started when there is something to do.

    Attributes:
        number: counted from 1.
        log: file that everything it prints is added to.
        device: where it trains; None for where the settings say.
        threads: of torch; 0 for as many as it takes by itself.
        launcher: starts the worker.
        worker: the worker; None while there is none.
    """

    number: int
    log: Path
    device: str | None
    threads: int
    launcher: Launcher = DEFAULT_LAUNCHER
    worker: Worker | None = None

    def train(self, job: TrainingJob) -> None:
        """Let it train a trial."""
        if self.worker is None:
            self.worker = self.launcher.start(self._spec())
        self.worker.send(job.as_message())

    def decide(self, go_on: bool) -> None:
        """Tell it whether to go on after an epoch."""
        self._started().send({"go_on": go_on})

    def receive(self) -> dict[str, Any] | None:
        """Wait for its next message; None when the worker has ended instead."""
        return self._started().receive()

    def fileno(self) -> int:
        """A descriptor that is readable when it has sent a message, or ended."""
        return self._started().fileno()

    def wait(self) -> Outcome:
        """How a worker ended that sends no more messages; the next trial starts another one."""
        worker, self.worker = self._started(), None
        if worker.wait(_PATIENCE) is None:
            worker.kill()
        [outcome] = end_workers([worker])
        return outcome

    def failure(self, outcome: Outcome) -> str:
        """Why a worker has exited: what it reported, or the last line that it printed."""
        if outcome.report is not None:
            return outcome.report.summary.strip()
        lines = self.log.read_text(encoding="utf-8", errors="replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "nothing was said")

    def _started(self) -> Worker:
        if self.worker is None:
            raise ValueError(f"worker {self.number} has not been started")
        return self.worker

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
    folder: Path, number: int, devices: Sequence[str], threads: int, launcher: Launcher = DEFAULT_LAUNCHER
) -> Iterator[list[TrialWorker]]:
    """Some workers, none of them started; those that were started are ended with the block.

    Args:
        folder: where their logs go.
        number: how many.
        devices: dealt out to them in turn; none for where the settings say.
        threads: for all together.
        launcher: starts them.
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
            launcher,
        )
        for place in range(number)
    ]
    try:
        yield workers
    finally:
        end_workers([worker.worker for worker in workers if worker.worker is not None])
