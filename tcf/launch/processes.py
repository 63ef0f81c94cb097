"""Processes beside this one: started, watched, and ended with it."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import IO, Protocol, Self

__all__ = ["Crew", "Work", "end", "start"]

_PATIENCE = 10.0  # seconds for a process to end when it is asked to
# An interruption typed at a terminal reaches both processes, and this one decides what it means. The other process
# finds the modules that this one finds, wherever either was started.
_PROGRAM = """
import importlib, json, signal, sys
signal.signal(signal.SIGINT, signal.SIG_IGN)
sys.path[:] = json.loads(sys.argv[1])
importlib.import_module(sys.argv[2]).main()
"""


class Work(Protocol):
    """What a process is to do."""

    @property
    def threads(self) -> int:
        """Threads of torch."""

    def as_line(self) -> bytes:
        """All of it as a line, for the standard input of the process."""


@dataclass(frozen=True, eq=False)
class _Member:
    """A process of the crew.

    Attributes:
        name: for people.
        process: its standard input is open for as long as it shall live.
        said: what it writes to standard error.
        watch: waits for its end.
    """

    name: str
    process: "subprocess.Popen[bytes]"
    said: IO[bytes]
    watch: threading.Thread


@dataclass
class Crew:
    """A context manager for processes that do the same work as this one, and end with it.

    A process that ends on its own with an error is told of at once, on standard error.

    Attributes:
        failed: names of those that did.
    """

    failed: list[str] = field(default_factory=list)
    _members: list[_Member] = field(default_factory=list)
    _ending: bool = False

    def start(self, name: str, job: Work) -> None:
        """Start a process; where that cannot be, it counts as one that failed.

        Args:
            name: for people.
            job: what it is to do.
        """
        said = tempfile.TemporaryFile()  # noqa: SIM115 - closed when the process has ended
        try:
            process = start("tcf.launch.extract_process", job, told=subprocess.DEVNULL, said=said)
        except OSError as error:
            said.close()
            self._tell(name, str(error))
            return
        watch = threading.Thread(target=self._watch, args=(name, process, said), daemon=True)
        self._members.append(_Member(name, process, said, watch))
        watch.start()

    def __enter__(self) -> Self:
        """Begin without processes."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End those that are still there; when this process has done its own work, nothing is left for them."""
        self._ending = True
        end([member.process for member in self._members])
        for member in self._members:
            member.watch.join()
            member.said.close()

    def _watch(self, name: str, process: "subprocess.Popen[bytes]", said: IO[bytes]) -> None:
        status = process.wait()
        if status != 0 and not self._ending:
            self._tell(name, _reason(status, said))

    def _tell(self, name: str, reason: str) -> None:
        self.failed.append(name)
        print(f"tcf: warning: {name} failed: {reason}; the others go on with its work", file=sys.stderr, flush=True)


def start(
    module: str,
    work: Work,
    *,
    told: IO[bytes] | int,
    said: IO[bytes] | None,
    environment: Mapping[str, str] | None = None,
) -> "subprocess.Popen[bytes]":
    """Start a process; its standard input is open for as long as it shall live, and begins with what it is to do.

    Args:
        module: its function `main` is called.
        work: what it is to do.
        told: where its standard output goes.
        said: where its standard error goes; None: where ours goes.
        environment: variables to add to ours.
    """
    command = [sys.executable, "-c", _PROGRAM, json.dumps(sys.path), module]
    variables = {**os.environ, "OMP_NUM_THREADS": str(work.threads), **(environment or {})}
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=told, stderr=said, env=variables, bufsize=0)
    if process.stdin is not None:
        with suppress(BrokenPipeError):  # it has ended already, and says why
            process.stdin.write(work.as_line())
    return process


def end(processes: "Sequence[subprocess.Popen[bytes]]") -> None:
    """Ask processes to end and wait until they have ended, with force where that takes long."""
    for process in processes:
        if process.poll() is None:
            process.terminate()
    for process in processes:
        _wait(process)


def _wait(process: "subprocess.Popen[bytes]") -> None:
    """Wait for the end of a process that was asked to end, with force where that takes long."""
    try:
        process.wait(_PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdin is not None:
        process.stdin.close()


def _reason(status: int, said: IO[bytes]) -> str:
    """Why a process ended: a signal, or its last line that is not about progress."""
    if status < 0:
        return f"ended by {signal.Signals(-status).name}"
    said.seek(0)
    lines = said.read().decode(errors="replace").splitlines()
    told = [line for line in lines if line.strip() and not line.startswith("extract: ")]
    return told[-1].removeprefix("tcf: error: ") if told else f"ended with status {status}"
