"""A process that extracts on one device beside the one that a user started, and ends when that one does."""

import json
import os
import signal
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import torch

from tcf.config import ExtractConfig
from tcf.errors import TcfError
from tcf.extract.rates import Rates
from tcf.extract.stage import extract
from tcf.models.device import resolve_devices
from tcf.settings_fields import from_mapping, to_mapping

__all__ = ["Job", "main"]

_PATIENCE = 5.0  # seconds for cleaning up, once the other process has gone


@dataclass(frozen=True)
class Job:
    """What a process is to do.

    Attributes:
        data: a dataset directory.
        model: a local model folder, or a file of word vectors.
        out: the cache, or the folder of several.
        name: the model's name, for people.
        config: settings, with one device.
        threads: of torch.
    """

    data: Path
    model: Path
    out: Path
    name: str
    config: ExtractConfig
    threads: int

    def as_line(self) -> bytes:
        """The job as a line of JSON."""
        values = {key: os.fspath(getattr(self, key)) for key in ("data", "model", "out", "name")}
        return f"{json.dumps({**values, 'config': to_mapping(self.config), 'threads': self.threads})}\n".encode()

    @classmethod
    def from_line(cls, line: bytes) -> "Job":
        """The job of such a line."""
        values = json.loads(line)
        data, model, out = (Path(values[key]) for key in ("data", "model", "out"))
        config = from_mapping(ExtractConfig, values["config"], "extract")
        return cls(data, model, out, name=values["name"], config=config, threads=values["threads"])


def main() -> None:
    """Do the job that comes as the first line of standard input, for as long as that is open."""
    signal.signal(signal.SIGTERM, _asked_to_end)
    with open(0, "rb", buffering=0, closefd=False) as stream:
        job = Job.from_line(stream.readline())
    threading.Thread(target=_end_with_the_other, daemon=True).start()
    torch.set_num_threads(job.threads)
    try:
        [device] = resolve_devices(job.config.devices)
        if device.type == "cuda":
            torch.cuda.set_device(device)  # else each process would also take memory of the first device
        # Measuring would be disturbed by the others, and nobody reads this process's plan.
        rates = Rates(products=1.0, plain=1.0, block_share=1.0, storage=1.0, copy=1.0)
        extract(data=job.data, model=job.model, name=job.name, out=job.out, config=job.config, rates=rates)
    except TcfError as error:
        print(f"tcf: error: {' '.join(str(error).split())}", file=sys.stderr)
        raise SystemExit(2) from None


def _asked_to_end(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def _end_with_the_other() -> None:
    """Wait until nobody holds the other end of standard input; then end this process, with force if need be."""
    while os.read(0, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_PATIENCE)
    os._exit(128 + signal.SIGTERM)
