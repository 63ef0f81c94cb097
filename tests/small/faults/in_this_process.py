"""A starter whose workers are no processes of their own: they train in this one, as soon as they are told to."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tcf.launch.workers.jobs import TrainingJob
from tcf.launch.workers.worker import Outcome, WorkerSpec
from tcf.train.run.epoch_log import Epoch
from tcf.train.stage import train

__all__ = ["InThisProcess"]


@dataclass
class _Worker:
    name: str
    said: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._pipe = os.pipe()
        os.write(self._pipe[1], b".")  # there is always something to hear

    def send(self, message: Mapping[str, Any]) -> None:
        if "config" in message:
            self._train(TrainingJob.from_message(message))

    def receive(self) -> dict[str, Any] | None:
        return self.said.pop(0)

    def fileno(self) -> int:
        return self._pipe[0]

    def wait(self, timeout: float | None = None) -> Outcome | None:
        return Outcome(0)

    def terminate(self) -> None:
        """It has ended."""

    def kill(self) -> None:
        """It has ended."""

    def close(self) -> None:
        for end in self._pipe:
            os.close(end)

    def _train(self, job: TrainingJob) -> None:
        def report(epoch: Epoch, goes_on: bool) -> None:
            value = epoch.metrics[job.config.monitor]
            self.said.append({"epoch": epoch.number, "value": value, "goes_on": goes_on})

        done = train(data=job.data, caches=job.caches, out=job.out, config=job.config, watch=report)
        self.said.append({"ended": "trained", "facts": done.metadata})


class InThisProcess:
    """Starts such workers."""

    def start(self, spec: WorkerSpec) -> _Worker:
        return _Worker(spec.name)
