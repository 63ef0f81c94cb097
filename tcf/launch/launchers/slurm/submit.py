"""Submits batches with submitit, which writes the files of arrays and calls `sbatch`."""

import contextlib
import io
import math
import os
import re
import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tcf.common.errors import ConfigError, RunError
from tcf.common.files import writing
from tcf.common.output.folders import make_folder
from tcf.config.launch import LaunchConfig, memory_bytes, time_minutes
from tcf.launch.launchers.slurm.batches import Batch
from tcf.launch.launchers.slurm.environment import submitting
from tcf.launch.launchers.slurm.job import SlurmJob

if TYPE_CHECKING:
    from submitit import SlurmExecutor

__all__ = ["BusyError", "submit"]

_SIGNAL_SECONDS = 90  # before the time limit, the job is asked to stop
_MOST_AT_ONCE = 100_000  # tasks of an array at the same time, where the user sets no limit
# What sbatch says, and the option that it is about.
_OPTIONS = (
    ("partition specified", "--partition"),
    ("access/permission", "--partition"),
    ("account", "--account"),
    ("qos", "--qos"),
    ("time limit", "--time"),
    ("generic resource", "--gpus-per-worker"),
    ("gres", "--gpus-per-worker"),
    ("memory", "--memory"),
    ("cpu count", "--cpus-per-worker"),
    ("cpus per task", "--cpus-per-worker"),
    ("node count", "--nodes-per-worker"),
    ("option", "--sbatch"),
    ("node configuration", "--gpus-per-worker, --cpus-per-worker, --memory or --partition"),
)
_PASSING = re.compile(
    "timed out|unable to contact|connect failure|connection refused|temporarily|submit limit|submitjob|too many|"
    "job dependency problem",
    re.IGNORECASE,
)


class BusyError(RunError):
    """Slurm accepts no jobs at the moment; later it may."""


def submit(batch: Batch, config: LaunchConfig, nodes: int = 1, dependency: str = "") -> Batch:
    """Submit a batch, as one job or as an array, and note which job it became.

    Args:
        batch: the batch, of at most as many tasks as an array may have.
        config: settings of its stage.
        nodes: number of nodes of each job.
        dependency: the jobs to wait for, as sbatch takes them; empty for none.

    Raises:
        ConfigError: Slurm refuses it, and always would.
        BusyError: Slurm refuses it at the moment.
        RunError: its files cannot be written.
    """
    if "%" in str(batch.folder):
        raise ConfigError(
            f"{batch.folder}: expected a path without %, which Slurm replaces, found one; use another folder"
        )
    batch.write()
    with writing(batch.folder):
        make_folder(batch.folder)
        job = _submitted(batch, config, _executor(batch, config, nodes, dependency))
    batch = replace(batch, job=job)
    batch.write()
    return batch


def _submitted(batch: Batch, config: LaunchConfig, executor: "SlurmExecutor") -> str:
    """Submit; returns the id of the job, or of the array."""
    from submitit.core.utils import FailedJobError, FailedSubmissionError

    calls = [SlurmJob(str(batch.file), number) for number in range(len(batch.tasks))]
    try:
        # submitit prints what sbatch says against an error, which is the error's message here.
        with submitting(config), contextlib.redirect_stderr(io.StringIO()):
            jobs: Sequence[Any] = executor.submit_array(calls)
    except (FailedJobError, FailedSubmissionError) as error:
        batch.file.unlink(missing_ok=True)
        raise _refusal(str(error)) from error
    return str(jobs[0].job_id).split("_")[0]


def _refusal(said: str) -> ConfigError | BusyError:
    """The error for what sbatch says."""
    words = "; ".join(" ".join(line.removeprefix("sbatch: error: ").split()) for line in said.splitlines())
    if _PASSING.search(words):
        return BusyError(
            f"Slurm: expected the job to be accepted, found: {words}; run the same command again in a while, which "
            "finds what has been submitted"
        )
    option = next((option for part, option in _OPTIONS if part in words.lower()), "the options for jobs of Slurm")
    return ConfigError(f"Slurm: expected the job to be accepted, found: {words}; change {option}")


def _executor(batch: Batch, config: LaunchConfig, nodes: int, dependency: str) -> "SlurmExecutor":
    """The executor of submitit for one batch, with the resources of its jobs."""
    from submitit import SlurmExecutor

    minutes = None if config.time is None else math.ceil(time_minutes(config.time, "--time"))
    executor = SlurmExecutor(batch.folder)
    executor.update_parameters(
        job_name=batch.name,
        partition=config.partition,
        account=config.account,
        qos=config.qos,
        time=minutes,
        signal_delay_s=_SIGNAL_SECONDS if minutes is None else min(_SIGNAL_SECONDS, minutes * 15),
        nodes=nodes,
        ntasks_per_node=1,
        cpus_per_task=config.cpus_per_worker,
        gpus_per_node=config.gpus_per_worker or None,
        mem=None if config.memory is None else f"{memory_bytes(config.memory, '--memory') >> 20}M",
        dependency=dependency or None,
        array_parallelism=config.workers or _MOST_AT_ONCE,
        wckey=None,
        setup=_setup(),
        srun_args=_srun_args(config),
        additional_parameters=_further_options(config, dependency),
    )
    return executor


def _srun_args(config: LaunchConfig) -> list[str]:
    """Options of the step in which a job's tasks run.

    A task may use all cores of the job on its node, of which newer versions of Slurm give a step one unless they are
    told; MPI's variables would be taken for those of torchrun. Where the user's environment is not passed on to jobs,
    Slurm would not even pass on that of the job's script.
    """
    cores = "--cpu-bind=none" if config.cpus_per_worker is None else f"--cpus-per-task={config.cpus_per_worker}"
    return [cores, "--mpi=none", "--export=ALL", "--kill-on-bad-exit=1"]


def _further_options(config: LaunchConfig, dependency: str) -> dict[str, str | bool]:
    """Options of sbatch for which submitit has no parameter, and the user's own."""
    own: dict[str, str | bool] = {}
    for entry in config.sbatch:
        name, found, value = entry.lstrip("-").partition("=")
        own[name] = value if found else True
    kill: dict[str, str | bool] = {"kill-on-invalid-dep": "yes"} if dependency else {}
    return {"requeue": True, **kill, **own}


def _setup() -> list[str]:
    """Lines of the job's script: what its process needs even where the submitter's environment is not passed on."""
    path = os.environ.get("PYTHONPATH", "")
    folders = os.pathsep.join(str(Path(folder).absolute()) for folder in path.split(os.pathsep) if folder)
    variables = {"PYTHONPATH": folders, "TCF_HOME": os.environ.get("TCF_HOME", "")}
    return [f"export {name}={shlex.quote(value)}" for name, value in variables.items() if value]
