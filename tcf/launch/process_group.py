"""Workers that can only do their work together: when one of them fails, all are ended, and the reason is raised."""

import dataclasses
import signal
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Literal

from tcf.common.errors import RunError
from tcf.launch.launcher import ErrorReport, Launcher, Outcome, Worker, WorkerSpec, end_workers

__all__ = ["run_process_group"]

_POLL = 0.05  # seconds between two looks at the workers
_GRACE = 3.0  # seconds in which the others may report why they failed too
_LINES = 20


def run_process_group(launcher: Launcher, specs: Sequence[WorkerSpec]) -> None:
    """Start workers and wait until all have done their work; whatever ends this process ends them.

    What the first one writes to standard error goes to ours, what the others write is kept for the case that one fails.

    Args:
        launcher: starts them.
        specs: the workers.

    Raises:
        OSError: one cannot be started.
        TcfError: what a worker reported for a reason that a user can mend; or it was ended from outside.
        RuntimeError: a worker failed for another reason.
    """
    workers: list[Worker] = []
    with ExitStack() as stack:
        # Also when one cannot be started, or this process is interrupted.
        stack.callback(lambda: end_workers(workers))
        for spec in specs:
            stderr: Literal["capture", "inherit"] = "capture" if workers else "inherit"
            workers.append(launcher.start(dataclasses.replace(spec, stderr=stderr)))
        failed = _wait_for_all(workers)
        if failed:
            # The first to fail has failed by itself; of the others nobody knows.
            raise _reason(failed, workers)


def _wait_for_all(workers: Sequence[Worker]) -> dict[Worker, Outcome]:
    """Wait until all have ended, or one has failed; those that failed, the first ones to end first."""
    ended: dict[Worker, Outcome] = {}
    deadline = float("inf")
    while len(ended) < len(workers) and time.monotonic() < deadline:
        time.sleep(_POLL)
        for worker in workers:
            outcome = None if worker in ended else worker.wait(0)
            if outcome is not None:
                ended[worker] = outcome
        if deadline == float("inf") and any(outcome.status for outcome in ended.values()):
            deadline = time.monotonic() + _GRACE
    return {worker: outcome for worker, outcome in ended.items() if outcome.status}


def _reason(failed: Mapping[Worker, Outcome], workers: Sequence[Worker]) -> Exception:
    """What ended a worker from outside; else what a user can mend; else what was reported first.

    A worker whose partner is gone fails as well, so not everything that was reported is a reason.
    """
    for worker, outcome in failed.items():
        number = -outcome.status if outcome.status < 0 else outcome.status - 128
        if number in set(signal.Signals):
            name = signal.Signals(number).name
            return RunError(f"{worker.name} was ended by {name}, and so were the others; run the same command again")
    reports = [(worker.name, _report(failed[worker])) for worker in workers if worker in failed]
    for _, report in reports:
        if report.error is not None:
            return report.exception()
    name, report = min(reports, key=lambda pair: pair[1].at)
    return RuntimeError(f"{name} failed:\n{report.text}")


def _report(outcome: Outcome) -> ErrorReport:
    """What a worker reported of its failure; the end of its standard error, if nothing."""
    if outcome.report is not None:
        return outcome.report
    text = "see above" if outcome.stderr is None else "\n".join(outcome.stderr[-_LINES:])
    return ErrorReport(None, f"status {outcome.status}: {text}", float("inf"))
