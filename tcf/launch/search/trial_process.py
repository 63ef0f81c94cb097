"""A process that trains a search's trials, one after the other, as the process that started it tells it to.

Both speak in lines of JSON. What comes on standard input is a `Task` or, while one is trained, whether to go on after
an epoch; the process ends at once when that is closed. What it says on standard output is an epoch, or how the task
ended.
"""

import gc
import json
import os
import queue
import signal
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from tcf.common.errors import ConfigError, DivergedError, TcfError
from tcf.config.fields import from_mapping, to_mapping
from tcf.config.train import TrainConfig
from tcf.train.run.epoch_log import Epoch
from tcf.train.stage import train

__all__ = ["Task", "main"]


@dataclass(frozen=True)
class Task:
    """A run to train.

    Attributes:
        data: a dataset directory.
        caches: cache directories.
        out: the run's directory.
        config: settings.
        threads: of torch; 0 for as many as it takes by itself.
    """

    data: Path
    caches: tuple[Path, ...]
    out: Path
    config: TrainConfig
    threads: int

    def as_message(self) -> dict[str, Any]:
        """The task as JSON values."""
        return {
            "data": os.fspath(self.data),
            "caches": [os.fspath(cache) for cache in self.caches],
            "out": os.fspath(self.out),
            "config": to_mapping(self.config),
            "threads": self.threads,
        }

    @classmethod
    def from_message(cls, values: dict[str, Any]) -> "Task":
        """The task of such values."""
        config = from_mapping(TrainConfig, values["config"], "task")
        caches = tuple(Path(cache) for cache in values["caches"])
        return cls(Path(values["data"]), caches, Path(values["out"]), config, values["threads"])


class _PrunedError(Exception):
    """The process that started this one has had enough of a run."""


@dataclass(frozen=True)
class _Line:
    """The two directions of the talk."""

    heard: "queue.SimpleQueue[dict[str, Any]]"
    spoken: int

    def ask(self, epoch: Epoch) -> None:
        """Tell of an epoch, and find out whether to go on."""
        self.say({"epoch": epoch.number, **epoch.metrics_by_key})
        if not self.heard.get()["go_on"]:
            raise _PrunedError

    def say(self, message: dict[str, Any]) -> None:
        os.write(self.spoken, f"{json.dumps(message)}\n".encode())


def main() -> None:
    """Train what comes on standard input, for as long as that is open."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # typed at a terminal, it reaches the other process too, which decides
    line = _Line(queue.SimpleQueue(), os.dup(1))
    os.dup2(2, 1)  # whatever else is printed does not get into the talk
    threading.Thread(target=_listen, args=(line.heard,), daemon=True).start()
    while True:
        line.say(_ending(Task.from_message(line.heard.get()), line))
        gc.collect()  # before the next run asks for memory
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def _listen(heard: "queue.SimpleQueue[dict[str, Any]]") -> None:
    with open(0, "rb", buffering=0, closefd=False) as stream:
        while line := stream.readline():
            heard.put(json.loads(line))
    os._exit(0)  # what is trained can be taken up at any moment


def _ending(task: Task, line: _Line) -> dict[str, Any]:
    """Train a run; returns how that ended."""
    if task.threads:
        torch.set_num_threads(task.threads)
    print(f"{task.out}", file=sys.stderr, flush=True)
    try:
        result = train(data=task.data, caches=task.caches, out=task.out, config=task.config, watch=line.ask)
    except _PrunedError:
        return {"ended": "pruned"}
    except (ConfigError, DivergedError, torch.OutOfMemoryError) as error:
        return {"ended": "failed", "reason": " ".join(str(error).split())}
    except TcfError as error:
        return {"ended": "refused", "reason": " ".join(str(error).split())}
    return {"ended": "trained", "facts": result.metadata}
