"""The worker that extracts on one device while the process that a user started does so on another."""

import torch

from tcf.common.devices import resolve_devices
from tcf.extract.plan.measured_rates import Rates
from tcf.extract.stage import extract
from tcf.launch.jobs import ExtractionJob
from tcf.launch.worker_process import run_job

__all__ = ["main"]


def main() -> None:
    """Do the extraction that comes as the first message."""
    run_job(ExtractionJob, _extract)


def _extract(job: ExtractionJob) -> None:
    torch.set_num_threads(job.threads)
    [device] = resolve_devices(job.config.devices)
    if device.type == "cuda":
        torch.cuda.set_device(device)  # else each process would also take memory of the first device
    # Measuring would be disturbed by the others, and nobody reads this process's plan.
    rates = Rates(products=1.0, plain=1.0, block_share=1.0, storage=1.0, copy=1.0)
    extract(data=job.data, model=job.model, name=job.name, out=job.out, config=job.config, rates=rates)
