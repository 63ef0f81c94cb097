"""Settings of where a command's work runs: on this machine, or as jobs of Slurm."""

import re
from dataclasses import dataclass
from typing import Literal

from tcf.common.errors import ConfigError
from tcf.config.fields import CheckedSettings, option

__all__ = ["JOBS", "LAUNCHING", "LaunchConfig", "LauncherName", "memory_bytes", "time_minutes"]

LAUNCHING = "Processes and jobs"
"""Heading of these options in a command's help."""
JOBS = "Jobs of Slurm"
"""Heading of the options that only Slurm needs."""
LauncherName = Literal["local", "slurm"]

_MEMORY = re.compile(r"([0-9]+(?:\.[0-9]+)?)(K|M|G|T)(?:i?B)?")
_UNITS = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
# What tcf itself says to sbatch.
_OWN_OPTIONS = (
    *("array", "chdir", "dependency", "error", "job-name", "kill-on-invalid-dep", "no-requeue", "ntasks"),
    *("ntasks-per-node", "open-mode", "output", "parsable", "requeue", "signal", "test-only", "wait", "wrap"),
)
_SBATCH = re.compile(r"(?:--)?([a-z][a-z-]*)(?:=.+)?")
_TIME = re.compile(r"(?:([0-9]+)-)?([0-9]+)(?::([0-9]{1,2}))?(?::([0-9]{1,2}))?")


@dataclass(frozen=True, repr=False)
class LaunchConfig(CheckedSettings):
    """Settings for sharing out work over processes of this machine, or over jobs of Slurm.

    Example:
        >>> import tcf
        >>> tcf.LaunchConfig(launcher='slurm', workers=8, gpus_per_worker=1)
        LaunchConfig(launcher='slurm', workers=8, gpus_per_worker=1)
    """

    launcher: LauncherName = option(
        "local",
        "Where the work runs: in processes of this machine (local), or as jobs of Slurm (slurm; needs the extra slurm, "
        "and a folder that all nodes see).",
        group=LAUNCHING,
    )
    workers: int | None = option(
        None,
        "Processes, or jobs of Slurm at the same time. Default: one for each GPU of this machine or group of them, one "
        "without; with Slurm as many as there is work for.",
        group=LAUNCHING,
        minimum=1,
    )
    gpus_per_worker: int | None = option(
        None, "GPUs of each. Default: one on this machine, if it has any; none with Slurm.", group=LAUNCHING, minimum=0
    )
    cpus_per_worker: int | None = option(
        None,
        "CPU cores, and so threads, of each. Default: an equal share of this machine; with Slurm what it gives.",
        group=LAUNCHING,
        minimum=1,
    )
    tries: int = option(
        3,
        "How often a piece of work is tried that fails or whose process is killed, before it is given up.",
        group=LAUNCHING,
        minimum=1,
    )
    memory: str | None = option(None, "Memory of each job, such as 64GB.", group=JOBS, metavar="SIZE")
    time: str | None = option(
        None,
        "Time limit of each job, such as 4:00:00, 90 (minutes) or 2-00:00:00. A job that reaches it is queued again, "
        "and goes on where it was.",
        group=JOBS,
        metavar="TIME",
    )
    nodes_per_worker: int = option(
        1, "Nodes of each job; several only to train one run on all of their GPUs.", group=JOBS, minimum=1
    )
    partition: str | None = option(None, "Partition.", group=JOBS, metavar="NAME")
    account: str | None = option(None, "Account.", group=JOBS, metavar="NAME")
    qos: str | None = option(None, "Quality of service.", group=JOBS, metavar="NAME")
    sbatch: tuple[str, ...] = option(
        (),
        "A further option of sbatch, such as constraint=a100 or exclusive; repeat for several.",
        group=JOBS,
        metavar="NAME[=VALUE]",
    )
    pack_minutes: float = option(
        10.0,
        "Work that takes less time is put into one job until that takes so long; 0 gives each piece a job of its own.",
        group=JOBS,
        minimum=0,
    )

    def __post_init__(self) -> None:
        """Check the forms of sizes and times, and settings that depend on one another.

        Raises:
            ConfigError: a value has another form, or settings contradict one another.
        """
        super().__post_init__()
        if self.memory is not None:
            memory_bytes(self.memory, "--memory")
        if self.time is not None:
            time_minutes(self.time, "--time")
        for entry in self.sbatch:
            _check_sbatch(entry)
        if self.launcher == "local" and self.nodes_per_worker > 1:
            raise ConfigError(
                f"--nodes-per-worker: expected 1 on this machine, found {self.nodes_per_worker}; add --launcher slurm"
            )


def _check_sbatch(entry: str) -> None:
    """Refuse what is no option of sbatch, and options by which tcf finds and ends jobs."""
    found = _SBATCH.fullmatch(entry)
    if found is None:
        raise ConfigError(
            f"--sbatch: expected an option with its value, such as constraint=a100 or exclusive, found {entry!r}"
        )
    if found[1] in _OWN_OPTIONS:
        raise ConfigError(f"--sbatch: expected an option that tcf does not set itself, found {found[1]}; leave it out")


def memory_bytes(text: str, name: str) -> int:
    """Return a size such as `64GB` in bytes; units are powers of 1,024, as Slurm has them.

    Raises:
        ConfigError: it has another form.

    Example:
        >>> memory_bytes("64GB", "--memory") == 64 * 2**30
        True
    """
    found = _MEMORY.fullmatch(text)
    if found is None:
        raise ConfigError(f"{name}: expected a size such as 64GB or 512M, found {text!r}")
    return int(float(found[1]) * _UNITS[found[2]])


def time_minutes(text: str, name: str) -> float:
    """Return a time limit in the forms of Slurm in minutes: `90`, `MM:SS`, `H:MM:SS`, `D-HH`, `D-HH:MM:SS`.

    Raises:
        ConfigError: it has another form.

    Example:
        >>> time_minutes("4:00:00", "--time"), time_minutes("90", "--time"), time_minutes("1-12", "--time")
        (240.0, 90.0, 2160.0)
    """
    found = _TIME.fullmatch(text)
    if found is None:
        raise ConfigError(f"{name}: expected a time such as 4:00:00, 90 (minutes) or 2-00:00:00, found {text!r}")
    days, first, second, third = (None if part is None else int(part) for part in found.groups())
    if days is not None:
        hours, minutes, seconds = first or 0, second or 0, third or 0
    elif third is not None:
        hours, minutes, seconds = first or 0, second or 0, third
    else:
        hours, minutes, seconds = 0, first or 0, second or 0
    return (days or 0) * 1440 + hours * 60 + minutes + seconds / 60
