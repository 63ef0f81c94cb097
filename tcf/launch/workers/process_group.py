"""Workers that depend on one another: when one fails, all are ended, and its error is raised."""

import dataclasses
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Literal

from tcf.common.errors import RunError
from tcf.launch.workers.worker import (
    ErrorReport,
    Outcome,
    ProcessStarter,
    Worker,
    WorkerSpec,
    end_workers,
    start_failure,
)

__all__ = ["run_process_group"]

_POLL = 0.05  # seconds between two looks at the workers
_GRACE = 3.0  # seconds in which other workers may still report their own failures
_LINES = 20


def run_process_group(
    starter: ProcessStarter, specs: Sequence[WorkerSpec], check: Callable[[], None] = lambda: None
) -> None:
    """Start workers and wait until all have finished; they end with this process, however it ends.

    Standard error of the first worker goes to that of this process; that of the others is kept in case one fails.

    Args:
        starter: starts the workers.
        specs: the workers.
        check: called many times a second while they run; an error that it raises ends them.

    Raises:
        TcfError: a worker cannot be started, reported an error that the user can fix, or was ended from outside.
        RuntimeError: a worker failed for another reason.
    """
    workers: list[Worker] = []
    with ExitStack() as stack:
        # Also when one cannot be started, or this process is interrupted.
        stack.callback(lambda: end_workers(workers))
        for spec in specs:
            stderr: Literal["capture", "inherit"] = "capture" if workers else "inherit"
            workers.append(_started(starter, dataclasses.replace(spec, stderr=stderr)))
        failed = _wait_for_all(workers, check)
        if failed:
            # The first failure has its own cause; later ones may only follow from it.
            raise _reason(failed, workers)


def _started(starter: ProcessStarter, spec: WorkerSpec) -> Worker:
    try:
        return starter.start(spec)
    except OSError as error:
        raise RunError(
            f"{spec.name}: expected a worker process, but {start_failure(error)}; free memory or processes, and run "
            "the same command again"
        ) from error


def _wait_for_all(workers: Sequence[Worker], check: Callable[[], None]) -> dict[Worker, Outcome]:
    """Wait until all workers have ended or one has failed; returns the failed ones, in the order of their end."""
    ended: dict[Worker, Outcome] = {}
    deadline = float("inf")
    while len(ended) < len(workers) and time.monotonic() < deadline:
        time.sleep(_POLL)
        check()
        for worker in workers:
            outcome = None if worker in ended else worker.wait(0)
            if outcome is not None:
                ended[worker] = outcome
        if deadline == float("inf") and any(outcome.status for outcome in ended.values()):
            deadline = time.monotonic() + _GRACE
    return {worker: outcome for worker, outcome in ended.items() if outcome.status}


def _reason(failed: Mapping[Worker, Outcome], workers: Sequence[Worker]) -> Exception:
    """The cause of a failure: a signal from outside, else an error the user can fix, else the earliest report.

    A worker also fails when its partner has gone, so not every report states the cause.
    """
    for worker, outcome in failed.items():
        number = -outcome.status if outcome.status < 0 else outcome.status - 128
        if number in set(signal.Signals):
            name = signal.Signals(number).name
            return RunError(
                f"{worker.name} was ended by {name}, and the others with it; run the same command again to continue"
            )
    reports = [(worker.name, _report(failed[worker])) for worker in workers if worker in failed]
    for _, report in reports:
        if report.error is not None:
            return report.exception()
    name, report = min(reports, key=lambda pair: pair[1].at)
    return RuntimeError(f"{name} failed:\n{report.text}")


def _report(outcome: Outcome) -> ErrorReport:
    """A worker's error report; without one, the end of its standard error."""
    if outcome.report is not None:
        return outcome.report
    text = "see above" if outcome.stderr is None else "\n".join(outcome.stderr[-_LINES:])
    return ErrorReport(None, f"status {outcome.status}: {text}", float("inf"))
