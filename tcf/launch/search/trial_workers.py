"""The processes that train a search's trials, as seen from the process that started them."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

from tcf.common.files import writing
from tcf.launch.search.trial_process import Task

__all__ = ["Worker", "crew", "speaking"]

_PATIENCE = 10.0  # seconds for a process to end
# The other process finds the modules that this one finds, wherever either was started.
_PROGRAM = """
import json, sys
sys.path[:] = json.loads(sys.argv[1])
from tcf.launch.search.trial_process import main
main()
"""


@dataclass(eq=False)
class Worker:
    """A process that trains one trial after the other; it is started when there is something to do.

    Attributes:
        number: counted from 1.
        log: file that everything it says for people is added to.
        device: where it trains; None for where the settings say.
        threads: of torch; 0 for as many as it takes by itself.
    """

    number: int
    log: Path
    device: str | None
    threads: int
    _process: "subprocess.Popen[bytes] | None" = None

    def begin(self, task: Task) -> None:
        """Let it train a run."""
        if self._process is None:
            self._process = self._started()
        self._send(task.as_message())

    def answer(self, go_on: bool) -> None:
        """Tell it whether to go on after an epoch."""
        self._send({"go_on": go_on})

    def hear(self) -> dict[str, Any] | None:
        """Its next message; None where the process has ended instead."""
        stream = self._running.stdout
        line = b"" if stream is None else stream.readline()
        return json.loads(line) if line.endswith(b"\n") else None

    def end(self) -> int:
        """End the process, if it has not ended by itself; returns its exit status, below zero for a signal."""
        process, self._process = self._running, None
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                stream.close()  # it ends at once when it cannot hear any more
        try:
            return process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()

    def last_words(self) -> str:
        """The last line that it said for people."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "nothing was said")

    @property
    def is_running(self) -> bool:
        """Whether it has been started and not ended."""
        return self._process is not None

    @property
    def descriptor(self) -> int:
        """The file descriptor on which it speaks."""
        stream = self._running.stdout
        return -1 if stream is None else stream.fileno()

    @property
    def _running(self) -> "subprocess.Popen[bytes]":
        if self._process is None:
            raise ValueError(f"worker {self.number} has not been started")
        return self._process

    def _send(self, message: dict[str, Any]) -> None:
        stream = self._running.stdin
        try:
            if stream is not None:
                stream.write(f"{json.dumps(message)}\n".encode())
        except BrokenPipeError:
            pass  # it has ended, as the next attempt to hear it finds out

    def _started(self) -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-c", _PROGRAM, json.dumps(sys.path)]
        threads = {"OMP_NUM_THREADS": str(self.threads)} if self.threads else {}
        pipe = subprocess.PIPE
        with writing(self.log), self.log.open("ab") as log:
            return subprocess.Popen(
                command, stdin=pipe, stdout=pipe, stderr=log, env={**os.environ, **threads}, bufsize=0
            )


@contextmanager
def crew(folder: Path, number: int, devices: Sequence[str], threads: int) -> Iterator[list[Worker]]:
    """Some workers, none of them started; those that were started are ended with the block.

    Args:
        folder: where their logs go.
        number: how many.
        devices: dealt out to them in turn; none for where the settings say.
        threads: for all together.
    """
    share = 0 if number == 1 else max(1, threads // number)
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    workers = [
        Worker(place + 1, folder / f"worker-{place + 1}.log", devices[place % len(devices)] if devices else None, share)
        for place in range(number)
    ]
    try:
        yield workers
    finally:
        for worker in workers:
            if worker.is_running:
                worker.end()


def speaking(workers: Sequence[Worker]) -> list[Worker]:
    """Those of the workers that have something to say, or have ended; waits until there is one."""
    ready = wait([worker.descriptor for worker in workers])
    return [worker for worker in workers if worker.descriptor in ready]
