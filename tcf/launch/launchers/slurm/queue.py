"""What Slurm says: its queue and its configuration, through its own commands.

Only `squeue` and `scontrol` are asked, which work on every cluster; accounting (`sacct`) is off on many.
"""

import re
import shutil
import subprocess
from dataclasses import dataclass

from tcf.common.errors import ConfigError, RunError
from tcf.launch.launchers.slurm.environment import without_filters

__all__ = ["QueuedTask", "is_stuck", "most_tasks", "queued_tasks", "requeue", "require_slurm", "running_now"]

_COMMANDS = ("sbatch", "srun", "squeue", "scontrol")
_PATIENCE = 60.0  # seconds for an answer of a busy controller
# The name comes last, as the only part that may contain anything.
_FORMAT = "%F|%K|%t|%r|%j"
# Reasons that time does not end; those of load, such as Priority or Resources, are not among them.
_STUCK = (
    "AccountNotAllowed",
    "AssocMax",
    "BadConstraints",
    "DependencyNeverSatisfied",
    "InvalidAccount",
    "InvalidQOS",
    "JobHeld",
    "JobHoldMaxRequeue",
    "PartitionDown",
    "PartitionInactive",
    "PartitionNodeLimit",
    "PartitionTimeLimit",
    "QOSMaxCpuPerJobLimit",
    "QOSMaxGRESPerJob",
    "QOSMaxMemoryPerJob",
    "QOSMaxNodePerJobLimit",
    "QOSMaxWallDurationPerJobLimit",
    "QOSNotAllowed",
    "ReqNodeNotAvail",
    "launch failed requeued held",
)


@dataclass(frozen=True)
class QueuedTask:
    """A job, or a task of an array, that waits, runs or is just ending.

    Attributes:
        job: id of the job or of the whole array.
        number: number in the array; 0 without one.
        state: Slurm's short form, such as `PD`, `R` or `CG`.
        reason: why it waits.
        name: the job's name.
    """

    job: str
    number: int
    state: str
    reason: str
    name: str


def require_slurm(needed_by: str) -> None:
    """Check that Slurm's commands are there.

    Args:
        needed_by: what needs them, for the message.

    Raises:
        ConfigError: one is not.
    """
    missing = [name for name in _COMMANDS if shutil.which(name) is None]
    if missing:
        raise ConfigError(
            f"{needed_by}: expected Slurm's commands on this machine, found no {', '.join(missing)} on the PATH; run "
            "this on a login node of the cluster, or use --launcher local"
        )


def queued_tasks() -> list[QueuedTask]:
    """Return all jobs of this user, each task of an array for itself, in one call however many they are.

    Raises:
        RunError: Slurm does not answer.
    """
    lines = _answer("squeue", "--me", "--noheader", "--array", "--format", _FORMAT).splitlines()
    return [_queued_task(line) for line in lines if line.count("|") >= 4]


def _queued_task(line: str) -> QueuedTask:
    job, number, state, reason, name = line.split("|", 4)
    return QueuedTask(job, int(number) if number.isdigit() else 0, state, reason, name)


def is_stuck(task: QueuedTask) -> bool:
    """Whether a task waits for something that does not come by itself."""
    return task.state == "PD" and task.reason.strip("()").startswith(_STUCK)


def running_now(job: str) -> bool:
    """Whether Slurm has a job as running, rather than as one that it ends or has queued again.

    Raises:
        RunError: Slurm does not answer.
    """
    return _answer("squeue", "--noheader", "--jobs", job, "--format", "%T").strip() == "RUNNING"


def requeue(job: str) -> None:
    """Let a job that runs be queued again, which ends it.

    Raises:
        RunError: Slurm does not answer, or refuses.
    """
    _answer("scontrol", "requeue", job)


def most_tasks() -> int:
    """Return how many tasks an array may have; `max_array_tasks` of the scheduler's parameters may lower the number.

    Raises:
        RunError: Slurm does not answer.
    """
    said = _answer("scontrol", "show", "config")
    size = re.search(r"^MaxArraySize\s*=\s*([0-9]+)", said, re.MULTILINE)
    tasks = re.search(r"^SchedulerParameters\s*=.*\bmax_array_tasks=([0-9]+)", said, re.MULTILINE)
    return max(1, min((int(found[1]) for found in (size, tasks) if found), default=1))


def _answer(*command: str) -> str:
    """What a command prints.

    Raises:
        RunError: it fails, or does not answer.
    """
    try:
        done = subprocess.run(
            command,
            env=without_filters(),
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_PATIENCE,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise RunError(f"Slurm: expected an answer of {command[0]}, found none ({error})") from error
    if done.returncode != 0:
        said = " ".join(done.stderr.split()) or f"exit status {done.returncode}"
        raise RunError(f"Slurm: expected an answer of {command[0]}, found an error: {said}")
    return done.stdout
