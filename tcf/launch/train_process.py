"""A worker that is one rank of a training on several devices."""

import torch

from tcf.launch.workers.jobs import TrainingJob
from tcf.launch.workers.worker_process import run_job
from tcf.train.distributed import join_group
from tcf.train.follow import follow
from tcf.train.stage import TrainResult, train

__all__ = ["main", "train_as_rank"]


def main() -> None:
    """Run this rank's part of the training described by the first message."""
    run_job(TrainingJob, _train)


def train_as_rank(job: TrainingJob, devices: str | None = None) -> TrainResult | None:
    """Train as the rank that the environment names.

    Args:
        job: the training.
        devices: the devices of all ranks, in the form of the setting; None if there are as many as ranks.

    Returns:
        The result, in the first rank; None in the others.
    """
    cpu = job.config.devices.startswith("cpu") or not torch.cuda.is_available()
    with join_group(cpu=cpu, devices=devices) as group:
        if group.rank == 0:
            return train(data=job.data, caches=job.caches, out=job.out, config=job.config, group=group)
        follow(data=job.data, caches=job.caches, out=job.out, config=job.config, group=group)
    return None


def _train(job: TrainingJob) -> None:
    torch.set_num_threads(job.threads)
    train_as_rank(job, job.config.devices)
