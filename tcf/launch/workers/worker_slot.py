"""A place for a worker that exchanges messages: it is started when there is work, and anew after it has ended."""

from typing import Any

from tcf.launch.workers.worker import Outcome, ProcessStarter, Worker, WorkerSpec, end_workers

__all__ = ["WorkerSlot"]

_PATIENCE = 10.0  # seconds that a worker has to end after its last message


class WorkerSlot:
    """Base of the places in which workers do one job after the other.

    Attributes:
        number: its number, from 1.
        starter: starts the worker.
        worker: the worker; None while there is none.
    """

    number: int
    starter: ProcessStarter
    worker: Worker | None

    def _spec(self) -> WorkerSpec:
        """The worker to start."""
        raise NotImplementedError

    def _running(self) -> Worker:
        """The worker, started if there is none.

        Raises:
            OSError: it cannot be started.
        """
        if self.worker is None:
            self.worker = self.starter.start(self._spec())
        return self.worker

    def receive(self) -> dict[str, Any] | None:
        """Wait for the next message; None if the worker has ended instead."""
        return self._started().receive()

    def fileno(self) -> int:
        """A descriptor that becomes readable when the worker has sent a message or has ended."""
        return self._started().fileno()

    def wait(self) -> Outcome:
        """The outcome of a worker that sends no more messages; the next job starts a new one."""
        worker, self.worker = self._started(), None
        if worker.wait(_PATIENCE) is None:
            worker.kill()
        [outcome] = end_workers([worker])
        return outcome

    def _started(self) -> Worker:
        """The worker, which there is."""
        if self.worker is None:
            raise ValueError(f"worker {self.number} has not been started")
        return self.worker
