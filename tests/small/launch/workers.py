"""What small workers do: a job whose action says how it goes."""

import json
import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from tcf.common.errors import CacheError
from tcf.launch.workers.jobs import Job
from tcf.launch.workers.worker_process import run_job

__all__ = ["SmallJob", "main"]


@dataclass(frozen=True)
class SmallJob(Job):
    """A job of a small worker, which first writes a file about itself.

    Attributes:
        action: what it does then.
        folder: where the file goes.
        name: of the file.
    """

    action: str
    folder: Path
    name: str


class _EmptyCacheError(CacheError):
    """An error that the process which started this one has not heard of."""


def main() -> None:
    """Do a small job."""
    run_job(SmallJob, _work)


def _work(job: SmallJob) -> None:
    if job.action == "ignore SIGTERM":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    _publish(job.folder / job.name, job.action)
    print("printed")
    print("progress", file=sys.stderr)
    try:
        _act(job.action)
    finally:
        (job.folder / f"{job.name}.cleaned-up").touch()


def _publish(path: Path, action: str) -> None:
    variables = {name: os.environ.get(name) for name in ("OMP_NUM_THREADS", "SMALL", "TCF_LOG_LEVEL")}
    path.with_suffix(".new").write_text(json.dumps({"pid": os.getpid(), "action": action, **variables}))
    path.with_suffix(".new").rename(path)


def _act(action: str) -> None:
    match action:
        case "end":
            return
        case "sleep" | "ignore SIGTERM":
            time.sleep(300)
        case "refuse":
            raise CacheError("c: expected vectors,\nfound none")
        case "refuse with an error of its own":
            raise _EmptyCacheError("c: expected vectors,\nfound none")
        case "defect":
            print(1 / 0)
        case "exit":
            raise SystemExit(3)
        case "SIGINT" | "SIGKILL":
            os.kill(os.getpid(), signal.Signals[action])
        case _:
            raise ValueError(action)
