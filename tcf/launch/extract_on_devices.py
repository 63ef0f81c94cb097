"""Extraction on several devices that hold the whole model each: one process for every device but the first.

This process computes on the first device. The others start when its model is loaded, so that there is work, its size
of a micro-batch is known to all, and the weights are in the page cache. All of them share the work through claims.
"""

import dataclasses
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from tcf.common.devices import dtype_name, resolve_devices
from tcf.config.extract import ExtractConfig
from tcf.config.fields import from_mapping, to_mapping
from tcf.data.item_table import ItemTable
from tcf.extract.plan.plan import Plan
from tcf.extract.resolved_settings import Settings
from tcf.extract.schedules.engine import Engine
from tcf.extract.stage import Extraction, extract
from tcf.launch.independent_workers import IndependentWorkers
from tcf.launch.jobs import ExtractionJob
from tcf.launch.launcher import WorkerSpec

__all__ = ["extract_on_devices"]


def extract_on_devices(*, data: Path, model: Path, name: str, out: Path, config: ExtractConfig) -> Extraction:
    """Bring caches to hold what an encoder gives for every item text of a dataset, on every device that is asked for.

    A device that fails is named on standard error, and the others do its work. Whatever ends this process, by SIGKILL
    even, ends the others.

    Args:
        data: a dataset directory.
        model: a local model folder, or a file of word vectors.
        name: the model's name, for people.
        out: the cache, or the folder of several.
        config: settings.

    Raises:
        TcfError: as `tcf.extract.stage.extract` does; the first device failed.
    """
    devices = resolve_devices(config.devices)
    if len(devices) == 1 or config.schedule not in ("auto", "resident"):
        return extract(data=data, model=model, name=name, out=out, config=config)
    threads = torch.get_num_threads()
    with IndependentWorkers() as workers:
        job = ExtractionJob(data, model, out, name, config, threads)
        start = _Start(job, devices, workers)
        try:
            done = extract(data=data, model=model, name=name, out=out, config=config, loading=start.load)
        finally:
            torch.set_num_threads(threads)
    if workers.failed:
        print(f"tcf: warning: the others did the work of {', '.join(workers.failed)}", file=sys.stderr)
    return done


@dataclasses.dataclass(frozen=True)
class _Start:
    """Loads the model in this process and starts the others.

    Attributes:
        job: what is asked for.
        devices: for this process and for the others.
        workers: the other processes.
    """

    job: ExtractionJob
    devices: Sequence[torch.device]
    workers: IndependentWorkers

    def load(self, load: Callable[[], Engine], settings: Settings, plan: Plan) -> Engine:
        """Load the model, then start a process for every other device that there is a shard for."""
        used = self.devices[: self._shards(plan.macro_batch_rows)]
        if len(used) < len(self.devices):
            print(
                f"extract: {len(used)} of {len(self.devices)} devices are used, since there are no more shards of "
                f"{plan.macro_batch_rows}; --shard-rows makes them smaller",
                file=sys.stderr,
            )
        on_cpu = settings.device.type == "cpu"
        threads = max(1, self.job.threads // len(used)) if on_cpu else self.job.threads
        torch.set_num_threads(threads)
        if not on_cpu:
            torch.cuda.set_device(settings.device)
        engine = load()
        if engine.encoder.folder.family == "words":
            return engine  # looked up in less time than a process takes to start
        for number, device in enumerate(used[1:], start=2):
            job = dataclasses.replace(self.job, config=self._config(device, engine, settings, plan), threads=threads)
            worker = f"{device} (process {number} of {len(used)})"
            self.workers.start(WorkerSpec(worker, "tcf.launch.extract_process", job, threads))
        return engine

    def _shards(self, shard_rows: int) -> int:
        """Shards to compute at most; one at least."""
        shards = -(-ItemTable.open(self.job.data).n_items // shard_rows)
        part, parts = self.job.config.shard_slice or (0, 1)
        return max(1, len(range(part, shards, parts)))

    def _config(self, device: torch.device, engine: Engine, settings: Settings, plan: Plan) -> ExtractConfig:
        """The settings of another process: what was left open is what this process found."""
        values = {
            **to_mapping(self.job.config),
            "devices": str(device),
            "schedule": "resident",
            "dtype": dtype_name(settings.dtype),
            "shard_rows": plan.macro_batch_rows,
            "tokens_per_batch": engine.facts["tokens_per_batch"],
            "parquet": False,
        }
        values.pop("max_memory", None)  # the model fits, as this process has found
        return from_mapping(ExtractConfig, values, "extract")
