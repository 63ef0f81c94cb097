"""A process that trains on one device together with others, and ends when the one that started it does."""

import json
import os
import sys
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import torch

from tcf.common.errors import TcfError
from tcf.config.fields import from_mapping, to_mapping
from tcf.config.train import TrainConfig
from tcf.launch.lifeline import run_beside
from tcf.train.distributed import join_group
from tcf.train.follow import follow
from tcf.train.stage import TrainResult, train

__all__ = ["TrainingJob", "main", "train_among_others"]


@dataclass(frozen=True)
class TrainingJob:
    """What a process is to do; which of the processes it is, its environment says.

    Attributes:
        data: a dataset directory.
        caches: cache directories for items as text.
        out: the run's directory.
        config: settings; its devices are those of all processes.
        threads: of torch.
    """

    data: Path
    caches: tuple[Path, ...]
    out: Path
    config: TrainConfig
    threads: int

    def as_line(self) -> bytes:
        """The job as a line of JSON."""
        places = {"data": os.fspath(self.data), "out": os.fspath(self.out), "caches": [*map(os.fspath, self.caches)]}
        return f"{json.dumps({**places, 'config': to_mapping(self.config), 'threads': self.threads})}\n".encode()

    @classmethod
    def from_line(cls, line: bytes) -> "TrainingJob":
        """The job of such a line."""
        values = json.loads(line)
        config = from_mapping(TrainConfig, values["config"], "train")
        caches = tuple(map(Path, values["caches"]))
        return cls(Path(values["data"]), caches, Path(values["out"]), config, values["threads"])


def main() -> None:
    """Do the job that comes as the first line of standard input, for as long as that is open.

    Why it fails, it says as a line of JSON on standard output: `error`, the kind of error or null for a defect;
    `text`, its message or the defect's traceback; `at`, the machine's monotonic clock.
    """
    sys.excepthook = _tell_defect
    run_beside(lambda line: _train(TrainingJob.from_line(line)))


def train_among_others(job: TrainingJob, devices: str | None = None) -> TrainResult | None:
    """Be the process of a group that the environment says.

    Args:
        job: what to do.
        devices: those of all processes, as settings name them; None: as many as there are processes.

    Returns:
        What became of the training, in the first process; None in the others.
    """
    cpu = job.config.devices.startswith("cpu") or not torch.cuda.is_available()
    with join_group(cpu=cpu, devices=devices) as group:
        if group.rank == 0:
            return train(data=job.data, caches=job.caches, out=job.out, config=job.config, group=group)
        follow(data=job.data, caches=job.caches, out=job.out, config=job.config, group=group)
    return None


def _train(job: TrainingJob) -> None:
    torch.set_num_threads(job.threads)
    try:
        train_among_others(job, job.config.devices)
    except TcfError as error:
        _tell(type(error).__name__, str(error))
        raise SystemExit(2) from None


def _tell_defect(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    _tell(None, "".join(traceback.format_exception(kind, error, trace)))


def _tell(error: str | None, text: str) -> None:
    print(json.dumps({"error": error, "text": text, "at": time.monotonic()}), flush=True)
