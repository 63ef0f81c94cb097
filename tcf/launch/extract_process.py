"""A process that extracts on one device beside the one that a user started, and ends when that one does."""

import json
import os
from dataclasses import dataclass
from pathlib import Path

import torch

from tcf.common.devices import resolve_devices
from tcf.config.extract import ExtractConfig
from tcf.config.fields import from_mapping, to_mapping
from tcf.extract.plan.measured_rates import Rates
from tcf.extract.stage import extract
from tcf.launch.lifeline import run_beside

__all__ = ["Job", "main"]


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
    run_beside(lambda line: _extract(Job.from_line(line)))


def _extract(job: Job) -> None:
    torch.set_num_threads(job.threads)
    [device] = resolve_devices(job.config.devices)
    if device.type == "cuda":
        torch.cuda.set_device(device)  # else each process would also take memory of the first device
    # Measuring would be disturbed by the others, and nobody reads this process's plan.
    rates = Rates(products=1.0, plain=1.0, block_share=1.0, storage=1.0, copy=1.0)
    extract(data=job.data, model=job.model, name=job.name, out=job.out, config=job.config, rates=rates)
