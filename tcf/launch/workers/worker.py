"""The protocol of starters: they start worker processes, which exchange messages with this one and end with it.

`tcf.launch.workers.local_processes.LocalProcesses` starts them on this machine. Whatever starter starts them, they run
`tcf.launch.workers.worker_process`.
"""

import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

from tcf.common import errors
from tcf.common.errors import TcfError, os_error_words
from tcf.common.logs import LEVEL_VARIABLE, level_for_workers
from tcf.launch.workers.jobs import Job

__all__ = ["ErrorReport", "Outcome", "ProcessStarter", "Worker", "WorkerSpec", "end_workers", "ready", "start_failure"]

_PATIENCE = 10.0  # seconds that a worker has to end after SIGTERM


@dataclass(frozen=True)
class WorkerSpec:
    """A worker to start.

    Attributes:
        name: the worker's name, for messages.
        module: module whose function `main` is called, which calls a function of `tcf.launch.workers.worker_process`.
        job: the first message to the worker; None if it is sent later.
        threads: OpenMP and BLAS threads, from the start of the process on; 0 for what the environment sets.
        environment: variables to add to those of this process; the level of this process's log is among them.
        stderr: where its standard error goes: `capture` keeps it for the outcome, `inherit` passes it to that of this
            process, and a path appends it to that file.
        converses: whether it sends messages back.
    """

    name: str
    module: str
    job: Job | None = None
    threads: int = 0
    environment: Mapping[str, str] = field(default_factory=dict)
    stderr: Path | Literal["capture", "inherit"] = "capture"
    converses: bool = False

    def __post_init__(self) -> None:
        """Let the worker log as this process does; done here, so that starters need not know about it."""
        level = {LEVEL_VARIABLE: str(level_for_workers())}
        object.__setattr__(self, "environment", {**level, **self.environment})


@dataclass(frozen=True)
class ErrorReport:
    """Why a worker failed, as it reported itself.

    Attributes:
        error: name of the error's class in `tcf.common.errors`, or of its nearest base class there; None for a defect
            of tcf.
        text: the error's message, or the defect's traceback.
        at: time of the report, in seconds on the monotonic clock of the worker's machine.
    """

    error: str | None
    text: str
    at: float

    @property
    def summary(self) -> str:
        """The message on one line; for a defect, the last line of its traceback."""
        if self.error is not None:
            return " ".join(self.text.split())
        return next((line for line in reversed(self.text.splitlines()) if line.strip()), "")

    def exception(self) -> TcfError:
        """The reported error as an exception; only for errors of tcf, not for defects."""
        kind = getattr(errors, self.error or "", None)
        return kind(self.text) if isinstance(kind, type) and issubclass(kind, TcfError) else TcfError(self.text)


@dataclass(frozen=True)
class Outcome:
    """How a worker ended.

    Attributes:
        status: exit status; negative for the signal that ended it.
        report: its error report; None if it wrote none.
        stderr: lines of its standard error; None if they were not captured.
    """

    status: int
    report: ErrorReport | None = None
    stderr: tuple[str, ...] | None = None

    @property
    def ended_by(self) -> signal.Signals | None:
        """The signal that ended it; None if it exited by itself."""
        return signal.Signals(-self.status) if self.status < 0 else None


class Worker(Protocol):
    """A started worker."""

    @property
    def name(self) -> str:
        """Its name, for messages."""

    def send(self, message: Mapping[str, Any]) -> None:
        """Send a message; if the worker has ended, the message is lost without an error."""

    def receive(self) -> dict[str, Any] | None:
        """Wait for the next message of a worker that converses; None if it has ended instead."""

    def fileno(self) -> int:
        """A descriptor that becomes readable when a worker that converses has sent a message or has ended."""

    def wait(self, timeout: float | None = None) -> Outcome | None:
        """Wait for its end and return the outcome; None after the timeout. Repeatable, and safe in several threads.

        Args:
            timeout: in seconds; None to wait without limit.
        """

    def terminate(self) -> None:
        """Ask it to end, as SIGTERM does; no effect if it has ended."""

    def kill(self) -> None:
        """End it by force, as SIGKILL does; no effect if it has ended."""

    def close(self) -> None:
        """Release the resources of a worker that has ended; its outcome stays available."""


class ProcessStarter(Protocol):
    """Starts workers, on this machine or elsewhere.

    Workers end when this process ends, even by SIGKILL. They ignore SIGINT, which a terminal sends to them too: this
    process decides what to do about it.
    """

    def start(self, spec: WorkerSpec) -> Worker:
        """Start a worker.

        Args:
            spec: the worker to start.

        Raises:
            OSError: it cannot be started.
        """


class _Readable(Protocol):
    def fileno(self) -> int: ...


_Conversing = TypeVar("_Conversing", bound=_Readable)


def ready(workers: Sequence[_Conversing]) -> list[_Conversing]:
    """Wait until some workers have sent a message or ended, and return these."""
    readable = wait([worker.fileno() for worker in workers])
    return [worker for worker in workers if worker.fileno() in readable]


def start_failure(error: OSError) -> str:
    """Describe why a worker could not be started.

    Args:
        error: raised by a starter.
    """
    file = "" if error.filename is None else f": {error.filename}"
    return f"it cannot be started ({os_error_words(error)}{file})"


def end_workers(workers: Sequence[Worker]) -> list[Outcome]:
    """End workers, by force if they do not end in time, and return how each ended."""
    for worker in workers:
        worker.terminate()
    return [_ended(worker) for worker in workers]


def _ended(worker: Worker) -> Outcome:
    outcome = worker.wait(_PATIENCE)
    while outcome is None:
        worker.kill()
        outcome = worker.wait(_PATIENCE)
    worker.close()
    return outcome
