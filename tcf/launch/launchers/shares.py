"""What each stage's units get of this machine: GPUs, threads, and how many of them run at the same time."""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tcf.common.errors import ConfigError
from tcf.common.units import counted
from tcf.config.launch import LaunchConfig
from tcf.launch.units.tasks import Stage

__all__ = ["AT_HOME", "Machine", "Share", "shares", "this_machine"]

AT_HOME: tuple[Stage, ...] = ("download", "compare")
"""Stages that always run on this machine: other nodes may lack the internet, and tables take no time."""
_ON_GPUS: tuple[Stage, ...] = ("extract", "train", "combine", "evaluate", "recommend", "search")


_DRIVERS = (Path("/dev/nvidiactl"), Path("/dev/dxg"), Path("/dev/kfd"))  # of NVIDIA, within Windows, of AMD


@dataclass(frozen=True)
class Machine:
    """What there is to share.

    Attributes:
        gpus: the GPUs, as `CUDA_VISIBLE_DEVICES` names them.
        threads: number of threads for computing.
    """

    gpus: tuple[str, ...]
    threads: int


@dataclass(frozen=True)
class Share:
    """What each unit of a stage gets; it depends on settings and machine alone, so that results do not on chance.

    Attributes:
        gpus: number of GPUs.
        threads: number of threads of its process; 0 for all that there are, as the stage's command has alone.
        most: how many units of the stage run at the same time at most.
    """

    gpus: int
    threads: int
    most: int


def this_machine(launch: Mapping[Stage, LaunchConfig]) -> Machine:
    """Return what this process may use: the GPUs and threads that torch finds.

    Args:
        launch: settings of all stages; where they share nothing out, and there are no GPUs, torch is not loaded to ask.
    """
    shared = any((config.workers or 1) > 1 or config.cpus_per_worker for config in _here(launch).values())
    if sys.platform == "linux" and not shared and not any(device.exists() for device in _DRIVERS):
        return Machine((), os.cpu_count() or 1)
    import torch

    count = torch.cuda.device_count()
    named = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    gpus = named[:count] if len(named) >= count else [str(number) for number in range(count)]
    return Machine(tuple(gpus), torch.get_num_threads())


def shares(launch: Mapping[Stage, LaunchConfig], machine: Machine) -> Mapping[Stage, Share]:
    """Return the share of each stage that runs on this machine.

    Args:
        launch: settings of all stages.
        machine: what there is to share.

    Raises:
        ConfigError: a stage asks for more GPUs than there are.
    """
    return {stage: _share(stage, config, machine) for stage, config in _here(launch).items()}


def _here(launch: Mapping[Stage, LaunchConfig]) -> dict[Stage, LaunchConfig]:
    return {stage: config for stage, config in launch.items() if stage in AT_HOME or config.launcher == "local"}


def _share(stage: Stage, config: LaunchConfig, machine: Machine) -> Share:
    gpus = _gpus(stage, config, machine)
    at_once = len(machine.gpus) // gpus if gpus else config.workers or 1
    most = min(config.workers or at_once, at_once)
    equal = 0 if most == 1 else max(1, machine.threads // most)
    return Share(gpus, config.cpus_per_worker or equal, most)


def _gpus(stage: Stage, config: LaunchConfig, machine: Machine) -> int:
    """The number of GPUs of a unit; one by default, if there is any and the stage computes with it."""
    if stage not in _ON_GPUS:
        return 0
    if config.gpus_per_worker is None:
        return min(1, len(machine.gpus))
    if config.gpus_per_worker > len(machine.gpus):
        raise ConfigError(
            f"--gpus-per-worker, for {stage}: expected at most the {counted(len(machine.gpus), 'GPU')} of this "
            f"machine, found {config.gpus_per_worker}; lower it, or run on others with --launcher slurm"
        )
    return config.gpus_per_worker
