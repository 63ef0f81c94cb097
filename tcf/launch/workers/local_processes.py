"""A starter of processes on this machine."""

import json
import logging
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from tcf.common.files import writing
from tcf.common.parsing import parse_json
from tcf.launch.workers.jobs import decode_message, encode_message
from tcf.launch.workers.worker import ErrorReport, Outcome, ProcessStarter, WorkerSpec
from tcf.launch.workers.worker_process import REPORT_VARIABLE

__all__ = ["DEFAULT_STARTER", "LocalProcesses", "LocalWorker"]

logger = logging.getLogger(__name__)

# Ctrl-C at a terminal reaches both processes, and the parent decides what to do. The worker gets the parent's module
# search path, so that it finds the same modules from any working directory.
_BOOTSTRAP = """
import importlib, json, signal, sys
signal.signal(signal.SIGINT, signal.SIG_IGN)
sys.path[:] = json.loads(sys.argv[1])
importlib.import_module(sys.argv[2]).main()
"""


@dataclass(eq=False)
class LocalWorker:
    """A process of this machine; see `tcf.launch.workers.worker.Worker`.

    Its standard input stays open for as long as it may live.

    Attributes:
        name: its name, for messages.
    """

    name: str
    _process: "subprocess.Popen[bytes]"
    _report: IO[bytes]
    _stderr: IO[bytes] | None
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _outcome: Outcome | None = None

    @property
    def pid(self) -> int:
        """Its process id on this machine."""
        return self._process.pid

    def send(self, message: Mapping[str, Any]) -> None:
        """See `Worker`."""
        if self._process.stdin is not None and not self._process.stdin.closed:
            with suppress(BrokenPipeError):  # it has ended; its outcome tells why
                self._process.stdin.write(encode_message(message))

    def receive(self) -> dict[str, Any] | None:
        """See `Worker`."""
        line = b"" if self._process.stdout is None else self._process.stdout.readline()
        return decode_message(line)

    def fileno(self) -> int:
        """See `Worker`."""
        return -1 if self._process.stdout is None else self._process.stdout.fileno()

    def wait(self, timeout: float | None = None) -> Outcome | None:
        """See `Worker`."""
        try:
            status = self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            return None
        with self._lock:
            if self._outcome is None:
                stderr = None if self._stderr is None else tuple(_read(self._stderr).splitlines())
                self._outcome = Outcome(status, _report_in(_read(self._report)), stderr)
            return self._outcome

    def terminate(self) -> None:
        """See `Worker`."""
        self._process.terminate()

    def kill(self) -> None:
        """See `Worker`."""
        self._process.kill()

    def close(self) -> None:
        """See `Worker`."""
        for stream in (self._process.stdin, self._process.stdout, self._report, self._stderr):
            if stream is not None:
                stream.close()


@dataclass(frozen=True)
class LocalProcesses:
    """Starts every worker as a process of this machine; see `tcf.launch.workers.worker.ProcessStarter`."""

    def start(self, spec: WorkerSpec) -> LocalWorker:
        """See `ProcessStarter`."""
        with ExitStack() as opened:
            report = opened.enter_context(tempfile.TemporaryFile())
            captured = opened.enter_context(tempfile.TemporaryFile()) if spec.stderr == "capture" else None
            process = _started(spec, report, captured)
            opened.pop_all()  # from now on the files belong to the worker
        worker = LocalWorker(spec.name, process, report, captured)
        if spec.job is not None:
            worker.send(spec.job.as_message())
        return worker


DEFAULT_STARTER: ProcessStarter = LocalProcesses()
"""Starts workers unless a caller of `extract_on_devices`, `train_on_devices` or `run_search` passes another."""


def _started(spec: WorkerSpec, report: IO[bytes], captured: IO[bytes] | None) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-c", _BOOTSTRAP, json.dumps(sys.path), spec.module]
    threads = {"OMP_NUM_THREADS": str(spec.threads)} if spec.threads else {}
    # The files have no name on disk, so nothing is left behind, however this process ends.
    variables = {**os.environ, **threads, **spec.environment, REPORT_VARIABLE: f"/dev/fd/{report.fileno()}"}
    with ExitStack() as opened:
        stderr = captured
        if isinstance(spec.stderr, Path):
            with writing(spec.stderr):
                stderr = opened.enter_context(spec.stderr.open("ab"))
        started = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE if spec.converses else subprocess.DEVNULL,
            stderr=stderr,
            env=variables,
            bufsize=0,
            pass_fds=(report.fileno(),),
        )
    logger.debug(f"{spec.name}: started as process {started.pid}")
    return started


def _read(stream: IO[bytes]) -> str:
    stream.seek(0)
    return stream.read().decode(errors="replace")


def _report_in(text: str) -> ErrorReport | None:
    """A worker's error report; None if it wrote none, or was killed while writing."""
    try:
        return ErrorReport(**parse_json(text))
    except ValueError:
        return None
