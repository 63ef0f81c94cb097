"""Variables that change what Slurm's commands do, and that must not where tcf says it."""

import contextlib
import os
from collections.abc import Iterator

from tcf.config.launch import LaunchConfig

__all__ = ["submitting", "without_filters"]

# Slurm lets variables win over what is in a job's script. These would change what tcf finds its jobs by.
_OWN = ("ARRAY_INX", "ERROR", "JOB_NAME", "NO_REQUEUE", "OPEN_MODE", "OUTPUT", "SIGNAL", "WAIT")


def without_filters() -> dict[str, str]:
    """The variables of this process but those that hide jobs from `squeue`, such as `SQUEUE_STATES`."""
    return {name: value for name, value in os.environ.items() if not name.startswith("SQUEUE_")}


@contextlib.contextmanager
def submitting(config: LaunchConfig) -> Iterator[None]:
    """Hide variables from `sbatch`: those that would replace a setting, and those of the job that this process runs in.

    A job's own variables would be handed on to the new job.

    Args:
        config: settings of the job.
    """
    names = [f"SBATCH_{name}" for name in (*_OWN, *_replacing(config))]
    if "SLURM_JOB_ID" in os.environ:
        names += [
            name for name in os.environ if name.startswith(("SLURM_", "SLURMD_", "SRUN_")) and name != "SLURM_CONF"
        ]
    hidden = {name: os.environ.pop(name) for name in names if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(hidden)


def _replacing(config: LaunchConfig) -> list[str]:
    """The ends of the names of variables that stand for something that the settings say."""
    said: dict[str, object] = {
        "ACCOUNT": config.account,
        "GPUS": config.gpus_per_worker,
        "GPUS_PER_NODE": config.gpus_per_worker,
        "MEM_PER_CPU": config.memory,
        "MEM_PER_GPU": config.memory,
        "MEM_PER_NODE": config.memory,
        "PARTITION": config.partition,
        "QOS": config.qos,
        "TIMELIMIT": config.time,
    }
    further = [entry.lstrip("-").partition("=")[0].replace("-", "_").upper() for entry in config.sbatch]
    return [*(name for name, value in said.items() if value is not None), *further]
