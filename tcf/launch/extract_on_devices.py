"""Extraction on several devices, each of which holds the whole model: one worker for every device but the first.

This process computes on the first device. The workers start after its model is loaded: by then it is known that there
is work, the micro-batch size is settled, and the weights are in the page cache. Leases share out the work.
"""

import dataclasses
import logging
from collections.abc import Sequence
from pathlib import Path

import torch

from tcf.common.devices import dtype_name, resolve_devices
from tcf.config.extract import ExtractConfig
from tcf.config.fields import from_mapping, to_mapping
from tcf.data.item_table import ItemTable
from tcf.extract.fill_caches import CacheFiller
from tcf.extract.inputs import open_inputs
from tcf.extract.result import Extraction, finish_extraction
from tcf.extract.schedules.engine import Engine
from tcf.extract.stage import PlannedExtraction, extract, load_planned, plan_stage
from tcf.launch.workers.independent_workers import IndependentWorkers
from tcf.launch.workers.jobs import ExtractionJob
from tcf.launch.workers.local_processes import DEFAULT_STARTER
from tcf.launch.workers.worker import ProcessStarter, WorkerSpec

__all__ = ["extract_on_devices"]

logger = logging.getLogger(__name__)


def extract_on_devices(
    *, data: Path, model: Path, name: str, out: Path, config: ExtractConfig, starter: ProcessStarter = DEFAULT_STARTER
) -> Extraction:
    """Fill caches with what an encoder computes for every item text of a dataset, on every requested device.

    If a device fails, a warning names it, and the others take over its work. Workers end with this process, even if it
    is killed by SIGKILL.

    Args:
        data: a dataset directory.
        model: a local model folder, or a file of word vectors.
        name: the model's name, for messages.
        out: the cache, or the folder of several.
        config: settings.
        starter: starts the workers if there are several devices.

    Raises:
        TcfError: see `tcf.extract.stage.extract`; the first device failed.
    """
    devices = resolve_devices(config.devices)
    if len(devices) == 1 or config.schedule not in ("auto", "resident"):
        return extract(data=data, model=model, name=name, out=out, config=config)
    threads = torch.get_num_threads()
    with IndependentWorkers(starter) as workers:
        try:
            done = _extract_with_workers(ExtractionJob(data, model, out, name, config, threads), devices, workers)
        finally:
            torch.set_num_threads(threads)
    if workers.failed:
        logger.warning(f"the other devices did the work of {', '.join(workers.failed)}")
    return done


def _extract_with_workers(
    job: ExtractionJob, devices: Sequence[torch.device], workers: IndependentWorkers
) -> Extraction:
    """The steps of `tcf.extract.stage.extract`, with workers for the other devices once the model is loaded.

    Args:
        job: the whole extraction.
        devices: the first is for this process, the others for workers.
        workers: the group that started workers join.
    """
    inputs = open_inputs(data=job.data, model=job.model, name=job.name, out=job.out, config=job.config)
    counts = inputs.finished_counts()
    if counts is not None:
        return finish_extraction(inputs, counts, computed=0)
    planned = plan_stage(inputs)
    with CacheFiller.open(inputs, planned.plan, planned.sweep_folder) as filler:
        engine = None
        if filler.has_work and planned.plan.schedule == "resident":
            used = _used_devices(job, devices, planned.plan.macro_batch_rows)
            threads = _share_threads(job, planned, len(used))
            engine = load_planned(planned)
            _start_workers(job, used, threads, planned, engine, workers)
        elif filler.has_work:
            engine = load_planned(planned)  # a single copy of the model, which this process lays over the devices
        counts, computed = filler.fill(engine)
    return finish_extraction(inputs, counts, computed)


def _used_devices(job: ExtractionJob, devices: Sequence[torch.device], shard_rows: int) -> Sequence[torch.device]:
    """The devices for which there is a shard, at least one; logs a note if that is not all of them."""
    shards = -(-ItemTable.open(job.data).n_items // shard_rows)
    part, parts = job.config.shard_slice or (0, 1)
    used = devices[: max(1, len(range(part, shards, parts)))]
    if len(used) < len(devices):
        logger.info(
            f"extract: {len(used)} of {len(devices)} devices are used, since there are no more shards of "
            f"{shard_rows} rows; set a lower --shard-rows to use more"
        )
    return used


def _share_threads(job: ExtractionJob, planned: PlannedExtraction, n_devices: int) -> int:
    """Limit this process to its share of the processor; returns the number of threads of each process."""
    device = planned.inputs.settings.device
    threads = max(1, job.threads // n_devices) if device.type == "cpu" else job.threads
    torch.set_num_threads(threads)
    if device.type != "cpu":
        torch.cuda.set_device(device)
    return threads


def _start_workers(
    job: ExtractionJob,
    used: Sequence[torch.device],
    threads: int,
    planned: PlannedExtraction,
    engine: Engine,
    workers: IndependentWorkers,
) -> None:
    """Start a worker for every device but the first, with everything that this process has already determined."""
    if engine.encoder.folder.family == "words":
        return  # looking words up takes less time than starting a process
    for number, device in enumerate(used[1:], start=2):
        config = _config_for(device, job.config, planned, engine)
        worker_job = dataclasses.replace(job, config=config, threads=threads)
        worker = f"{device} (process {number} of {len(used)})"
        workers.start(WorkerSpec(worker, "tcf.launch.extract_process", worker_job, threads))


def _config_for(
    device: torch.device, config: ExtractConfig, planned: PlannedExtraction, engine: Engine
) -> ExtractConfig:
    """A worker's settings: those left open take the values that this process determined."""
    values = {
        **to_mapping(config),
        "devices": str(device),
        "schedule": "resident",
        "dtype": dtype_name(planned.inputs.settings.dtype),
        "shard_rows": planned.plan.macro_batch_rows,
        "tokens_per_batch": engine.metadata["tokens_per_batch"],
        "parquet": False,
        "repair": False,
    }
    values.pop("max_memory", None)  # this process has found that the model fits
    return from_mapping(ExtractConfig, values, "extract")
