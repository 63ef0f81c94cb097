"""A worker that extracts on one device while the main process uses another."""

import torch

from tcf.common.devices import resolve_devices
from tcf.extract.plan.measured_rates import Rates
from tcf.extract.stage import extract
from tcf.launch.workers.jobs import ExtractionJob
from tcf.launch.workers.worker_process import run_job

__all__ = ["main"]


def main() -> None:
    """Run the extraction described by the first message."""
    run_job(ExtractionJob, _extract)


def _extract(job: ExtractionJob) -> None:
    torch.set_num_threads(job.threads)
    [device] = resolve_devices(job.config.devices)
    if device.type == "cuda":
        torch.cuda.set_device(device)  # otherwise each process would also take memory on the first device
    # A calibration run would be disturbed by the other processes, and nothing uses this process's plan.
    rates = Rates(products=1.0, plain=1.0, block_share=1.0, storage=1.0, copy=1.0)
    extract(data=job.data, model=job.model, name=job.name, out=job.out, config=job.config, rates=rates)
