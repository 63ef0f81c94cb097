"""The machine as this process may use it: processor, memory and disks, within the limits of a container."""

import math
import os
import platform
import shutil
from dataclasses import dataclass
from pathlib import Path

from tcf.common.memory import host_memory
from tcf.common.units import as_bytes

__all__ = ["Disk", "Machine", "inspect_machine"]

_LITTLE = 2**30  # bytes; less free disk space than this is a problem


@dataclass(frozen=True)
class Disk:
    """The disk that a folder is on, or will be.

    Attributes:
        path: the folder.
        free_bytes: bytes that this process may still write.
        total_bytes: size of the disk.
    """

    path: Path
    free_bytes: int
    total_bytes: int


@dataclass(frozen=True)
class Machine:
    """The resources of this process.

    Attributes:
        processor: name of the processor.
        cores: number of cores of the machine.
        usable_cores: number of cores that this process may use, by its affinity and its control groups.
        memory_bytes: memory of the machine.
        memory_limit_bytes: most memory that this process may ever use.
        memory_available_bytes: memory that it could use now.
        disks: disks of the requested folders.
        problems: one line per problem: what is wrong and what to do.
    """

    processor: str
    cores: int
    usable_cores: int
    memory_bytes: int
    memory_limit_bytes: int
    memory_available_bytes: int
    disks: tuple[Disk, ...]
    problems: tuple[str, ...]


def inspect_machine(folders: list[Path]) -> Machine:
    """Inspect the machine.

    Args:
        folders: folders whose disks to inspect; they need not exist yet.
    """
    limit, available = host_memory()
    disks = tuple(map(_disk, folders))
    return Machine(
        processor=_processor(),
        cores=os.cpu_count() or 1,
        usable_cores=usable_cores(),
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        memory_limit_bytes=limit,
        memory_available_bytes=available,
        disks=disks,
        problems=tuple(problem for disk in disks for problem in _disk_problems(disk)),
    )


def usable_cores(root: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> int:
    """Number of cores that this process may use, by its affinity and the tightest quota of its control groups.

    Args:
        root: folder in which control groups are mounted.
        own: file that lists this process's control groups.
    """
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([affinity, *(math.ceil(quota) for quota in _quotas(root, own))]))


def _quotas(root: Path, own: Path) -> list[float]:
    """Quotas, in cores, of the process's control groups and of the groups above them."""
    try:
        lines = own.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if "cpu" in controllers.split(","):
            found += _quotas_above(root / "cpu", path, "cpu.cfs_quota_us", "cpu.cfs_period_us")
        elif not controllers:
            found += _quotas_above(root, path, "cpu.max", None)
    return found


def _quotas_above(root: Path, path: str, quota: str, period: str | None) -> list[float]:
    """Quotas in one hierarchy, from a group up to the root."""
    found = []
    folder = root / path.strip("/")
    while folder.is_relative_to(root):
        try:
            words = (folder / quota).read_text(encoding="utf-8").split()
            words += [] if period is None else (folder / period).read_text(encoding="utf-8").split()
            if int(words[0]) > 0:
                found.append(int(words[0]) / int(words[1]))
        except (OSError, ValueError, IndexError):
            pass  # the group does not exist here, or has no limit
        folder = folder.parent
    return found


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def _disk(folder: Path) -> Disk:
    there = _nearest(folder)
    usage = shutil.disk_usage(there)
    return Disk(folder, usage.free, usage.total)


def _disk_problems(disk: Disk) -> list[str]:
    problems = []
    there = _nearest(disk.path)
    if not os.access(there, os.W_OK):
        problems.append(f"{there}: cannot be written; change its permissions, or use another folder")
    if disk.free_bytes < _LITTLE:
        problems.append(f"{disk.path}: {as_bytes(disk.free_bytes)} of disk space left; free some space")
    return problems


def _nearest(folder: Path) -> Path:
    """The folder, or the nearest existing one above it."""
    return next(place for place in (folder, *folder.parents) if place.exists())
