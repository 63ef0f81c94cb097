"""Memory available to this process: that of the machine, within the control groups that a container sets."""

import os
from pathlib import Path

__all__ = ["host_memory", "installed_memory", "resident_bytes"]


def installed_memory() -> int:
    """Return the bytes of memory this process can ever have: the machine's, or its control groups' tightest limit."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([machine, *(limit for limit, _ in _group_limits())])


def host_memory() -> tuple[int, int]:
    """Return the bytes of memory this process can ever have, and how many more it can allocate now."""
    available = _fields(Path("/proc/meminfo"))["MemAvailable"]
    return installed_memory(), max(0, min([available, *(left for _, left in _group_limits())]))


def resident_bytes() -> int:
    """Return the bytes of this process's memory that no file backs: anonymous and shared."""
    fields = _fields(Path("/proc/self/status"))
    return fields.get("RssAnon", 0) + fields.get("RssShmem", 0)


def _group_limits(root: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> list[tuple[int, int]]:
    """Return limit and remaining bytes of each memory control group of this process, and of their parent groups.

    Args:
        root: mount point of the control groups.
        own: the file that lists this process's groups.
    """
    try:
        lines = own.read_text().splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if "memory" in controllers.split(","):
            found += _limits(root / "memory", path, "memory.limit_in_bytes", "memory.usage_in_bytes", "total_")
        elif not controllers:
            found += _limits(root, path, "memory.max", "memory.current", "")
            found += _limits(root / "unified", path, "memory.max", "memory.current", "")
    return found


def _limits(root: Path, path: str, limit: str, usage: str, prefix: str) -> list[tuple[int, int]]:
    """Return limit and remaining bytes for one hierarchy, from a group up to its root."""
    found = []
    folder = root / path.strip("/")
    while folder.is_relative_to(root):
        try:
            most, used = int((folder / limit).read_text()), int((folder / usage).read_text())
            cached = _fields(folder / "memory.stat", unit=1)
        except (OSError, ValueError):  # the group does not exist here, or has no limit
            folder = folder.parent
            continue
        # The kernel drops cached files when memory is needed.
        files = cached.get(f"{prefix}inactive_file", 0) + cached.get(f"{prefix}active_file", 0)
        found.append((most, most - max(0, used - files)))
        folder = folder.parent
    return found


def _fields(file: Path, unit: int = 1024) -> dict[str, int]:
    """Parse lines of a name and an integer, in bytes; other lines are ignored."""
    found = {}
    for line in file.read_text().splitlines():
        words = line.replace(":", " ").split()
        if len(words) >= 2 and words[1].isdigit():
            found[words[0]] = int(words[1]) * unit
    return found
