"""What a launcher provides: processes that work for this one, exchange messages with it, and end with it.

`tcf.launch.processes.LocalProcesses` starts them on this machine. What runs inside of them is
`tcf.launch.worker_process`, whoever starts them.
"""

import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

from tcf.common import errors
from tcf.common.errors import TcfError
from tcf.common.logs import LEVEL_VARIABLE, level_for_workers
from tcf.launch.jobs import Job

__all__ = ["ErrorReport", "Launcher", "Outcome", "Worker", "WorkerSpec", "end_workers", "ready"]

_PATIENCE = 10.0  # seconds for a worker to end when it is asked to


@dataclass(frozen=True)
class WorkerSpec:
    """A worker to start.

    Attributes:
        name: for people.
        module: its function `main` is called; it calls a function of `tcf.launch.worker_process`.
        job: the first message to it; None where the first one is sent later.
        threads: of OpenMP and BLAS, from the start of the process on; 0 for as many as the environment says.
        environment: variables to add to ours; the level of our log is added to those given.
        stderr: `capture` keeps what it writes to standard error for its outcome; `inherit` writes it to ours; a path
            adds it to that file.
        converses: whether it answers with messages.
    """

    name: str
    module: str
    job: Job | None = None
    threads: int = 0
    environment: Mapping[str, str] = field(default_factory=dict)
    stderr: Path | Literal["capture", "inherit"] = "capture"
    converses: bool = False

    def __post_init__(self) -> None:
        """Let the worker log as this process does; here, so that no launcher has to know of it."""
        level = {LEVEL_VARIABLE: str(level_for_workers())}
        object.__setattr__(self, "environment", {**level, **self.environment})


@dataclass(frozen=True)
class ErrorReport:
    """Why a worker failed, in its own words.

    Attributes:
        error: the error's class, or the nearest one above it, that `tcf.common.errors` defines; None for a defect of
            tcf.
        text: the error's message, or the defect's traceback.
        at: seconds on the monotonic clock of its machine.
    """

    error: str | None
    text: str
    at: float

    @property
    def summary(self) -> str:
        """The message on one line; of a defect, the last line of its traceback."""
        if self.error is not None:
            return " ".join(self.text.split())
        return next((line for line in reversed(self.text.splitlines()) if line.strip()), "")

    def exception(self) -> TcfError:
        """The error that was reported; not for a defect."""
        kind = getattr(errors, self.error or "", None)
        return kind(self.text) if isinstance(kind, type) and issubclass(kind, TcfError) else TcfError(self.text)


@dataclass(frozen=True)
class Outcome:
    """How a worker ended.

    Attributes:
        status: exit status; below zero for the signal that ended it.
        report: the error that it reported; None where there is none.
        stderr: lines of its standard error, if they were captured.
    """

    status: int
    report: ErrorReport | None = None
    stderr: tuple[str, ...] | None = None

    @property
    def ended_by(self) -> signal.Signals | None:
        """The signal that ended it; None where it has exited."""
        return signal.Signals(-self.status) if self.status < 0 else None


class Worker(Protocol):
    """A worker that was started."""

    @property
    def name(self) -> str:
        """For people."""

    def send(self, message: Mapping[str, Any]) -> None:
        """Send a message; to a worker that has ended, it is lost without an error."""

    def receive(self) -> dict[str, Any] | None:
        """Wait for the next message of a worker that converses; None when it has ended instead."""

    def fileno(self) -> int:
        """A descriptor that is readable when a worker that converses has sent a message or ended."""

    def wait(self, timeout: float | None = None) -> Outcome | None:
        """How it ended, which may be asked again and by several threads; None when it has not within the timeout.

        Args:
            timeout: in seconds; None for any time.
        """

    def terminate(self) -> None:
        """Ask it to end, as SIGTERM does; of no effect on one that has ended."""

    def kill(self) -> None:
        """End it with force, as SIGKILL does; of no effect on one that has ended."""

    def close(self) -> None:
        """Give back what belongs to a worker that has ended; its outcome stays."""


class Launcher(Protocol):
    """Starts workers, on this machine or elsewhere.

    They end when this process ends, also by SIGKILL, and take no notice of SIGINT, which reaches them from a terminal
    as well: this process decides what it means.
    """

    def start(self, spec: WorkerSpec) -> Worker:
        """Start a worker.

        Args:
            spec: what to start.

        Raises:
            OSError: it cannot be started.
        """


class _Readable(Protocol):
    def fileno(self) -> int: ...


_Conversing = TypeVar("_Conversing", bound=_Readable)


def ready(workers: Sequence[_Conversing]) -> list[_Conversing]:
    """Those workers that have sent a message or ended; waits until there is one."""
    readable = wait([worker.fileno() for worker in workers])
    return [worker for worker in workers if worker.fileno() in readable]


def end_workers(workers: Sequence[Worker]) -> list[Outcome]:
    """Ask workers to end and wait until they have ended, with force where that takes long; how each ended."""
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
