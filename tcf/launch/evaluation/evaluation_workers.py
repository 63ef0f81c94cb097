"""The workers that evaluate runs, seen from their parent process, which hands out one run at a time.

Whichever worker is free takes the next run, of the inputs that it has open if it can. A run whose worker ends is given
to another one, and given up when it has ended two of them.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tcf.common.errors import RunError
from tcf.config.evaluate import EvaluateConfig
from tcf.evaluate.batch.batch import Batch
from tcf.evaluate.batch.requests import BaselineRequest, Places, Request, RunRequest
from tcf.evaluate.evaluation import open_evaluation
from tcf.evaluate.finished_run import caches_of
from tcf.launch.workers.jobs import EvaluationJob
from tcf.launch.workers.worker import Outcome, ProcessStarter, Worker, WorkerSpec, end_workers, ready, start_failure
from tcf.launch.workers.worker_slot import WorkerSlot

__all__ = ["evaluate_in_workers"]

logger = logging.getLogger(__name__)


@dataclass(eq=False)
class _EvaluationWorker(WorkerSlot):
    """A place in which runs are evaluated one after the other.

    Attributes:
        config: settings, with its device.
        threads: number of torch threads.
        vectors: where the vectors for the diversity of lists are.
        request: what it evaluates; None while it has nothing to do.
        places: what its worker has open.
    """

    number: int
    config: EvaluateConfig
    threads: int
    vectors: Path | None
    starter: ProcessStarter
    worker: Worker | None = None
    request: Request | None = None
    places: Places | None = None

    def begin(self, request: Request) -> None:
        """Start to evaluate.

        Raises:
            OSError: the worker cannot be started.
        """
        worker = self._running()
        self.request, self.places = request, request.places
        worker.send(self._job(request).as_message())

    def _job(self, request: Request) -> EvaluationJob:
        values: dict[str, Any] = {"out": request.out, "config": self.config, "threads": self.threads}
        values["vectors"] = self.vectors
        match request:
            case RunRequest(run=run):
                return EvaluationJob(run.path, "", run.data, caches_of(run), seed=0, **values)
            case BaselineRequest(baseline=name, data=data, seed=seed):
                return EvaluationJob(data, name, data, (), seed=seed, **values)

    def _spec(self) -> WorkerSpec:
        return WorkerSpec(
            f"worker {self.number}", "tcf.launch.evaluation.evaluate_process", threads=self.threads, converses=True
        )


def evaluate_in_workers(
    batch: Batch,
    config: EvaluateConfig,
    devices: Sequence[str],
    threads: int,
    starter: ProcessStarter,
    vectors: Path | None = None,
) -> None:
    """Evaluate all that wait, in worker processes, which end with this one.

    Args:
        batch: what waits, and where results are noted.
        config: settings.
        devices: the device of each worker.
        threads: number of threads of all workers together.
        starter: starts the workers.
        vectors: where the vectors for the diversity of lists are.

    Raises:
        RunError: no worker can be started.
    """
    share = max(1, threads // len(devices))
    workers = [
        _EvaluationWorker(number, replace(config, device=device), share, vectors, starter)
        for number, device in enumerate(devices, start=1)
    ]
    try:
        _Distribution(batch, workers).run()
    finally:
        end_workers([worker.worker for worker in workers if worker.worker is not None])


@dataclass
class _Distribution:
    """Hands out what waits until everything has ended.

    Attributes:
        batch: what waits, and where results are noted.
        workers: those that can be started.
        ended_one: names of evaluations that have ended a worker.
        said: notes of workers that have been passed on; each says once what several find of a dataset.
    """

    batch: Batch
    workers: list[_EvaluationWorker]
    ended_one: set[str] = field(default_factory=set)
    said: set[str] = field(default_factory=set)

    def run(self) -> None:
        """Hand out evaluations and handle messages of the workers."""
        self._hand_out()
        while busy := [worker for worker in self.workers if worker.request is not None]:
            for worker in ready(busy):
                self._handle_message(worker)
            self._hand_out()

    def _hand_out(self) -> None:
        for worker in [worker for worker in self.workers if worker.request is None]:
            if not self.batch.waiting:
                return
            request = _next_for(worker.places, self.batch.waiting)
            try:
                worker.begin(request)
            except OSError as error:
                self._do_without(worker, error)
            else:
                self.batch.waiting.remove(request)

    def _do_without(self, worker: _EvaluationWorker, error: OSError) -> None:
        """Leave the work of a worker that cannot be started to the others."""
        self.workers.remove(worker)
        if not self.workers:
            raise RunError(
                f"worker {worker.number}: expected a worker process, but {start_failure(error)}; free memory or "
                "processes, and run the same command again, which finds what has been evaluated"
            ) from error
        logger.warning(f"worker {worker.number}: {start_failure(error)}; the others do its work")

    def _handle_message(self, worker: _EvaluationWorker) -> None:
        request = worker.request
        if request is None:
            return
        match worker.receive():
            case None:
                worker.request = worker.places = None
                self._take_back(request, _end_words(worker.wait()))
            case {"said": str(text), "level": int(level)}:
                if text not in self.said:
                    self.said.add(text)
                    logger.log(level, text)
            case {"ended": "evaluated"}:
                worker.request = None
                self.batch.finish(request.name, open_evaluation(request.out))
            case {"ended": "failed", "reason": str(reason)}:
                worker.request = None
                self.batch.fail(request.name, reason)

    def _take_back(self, request: Request, how: str) -> None:
        """Let an evaluation whose worker has ended wait for another one, the first time."""
        if request.name in self.ended_one:
            self.batch.fail(request.name, f"its worker process {how}, and so did another one before it")
            return
        self.ended_one.add(request.name)
        logger.warning(f"{request.name}: its worker process {how}; another one evaluates it")
        self.batch.waiting.insert(0, request)


def _next_for(places: Places | None, waiting: Sequence[Request]) -> Request:
    """What to evaluate next: of the inputs that are open, else of those of which most waits."""
    of_open = next((request for request in waiting if request.places == places), None)
    if of_open is not None:
        return of_open
    numbers: dict[Places, int] = {}
    for request in waiting:
        numbers[request.places] = numbers.get(request.places, 0) + 1
    return max(waiting, key=lambda request: numbers[request.places])


def _end_words(outcome: Outcome) -> str:
    """How a worker ended that was expected to go on."""
    if outcome.ended_by is not None:
        return f"was ended by {outcome.ended_by.name}"
    if outcome.report is not None:
        return f"failed: {outcome.report.summary.strip()}"
    lines = [line for line in outcome.stderr or () if line.strip()]
    return f"failed: {lines[-1].strip()}" if lines else f"ended with status {outcome.status}"
