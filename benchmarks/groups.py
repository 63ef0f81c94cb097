"""Linux control groups that limit the memory and the disk reads of a process; this needs root.

Both versions are supported: version 1, with a hierarchy for memory and another for disks, and version 2, with one.
"""

import argparse
import contextlib
import os
import re
import shlex
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from processes import drop_from_cache, watch

from tcf.common.errors import ConfigError
from tcf.extract.plan.machine import parse_max_memory

__all__ = ["Group", "as_size", "check_read_limit", "cold_read_rate", "control_group"]

_NO_LIMIT = 10**12  # bytes per second; version 1 counts reads of a disk only if they are limited
_REMOVAL = 10.0  # seconds
_RATE_BYTES = 2**30
_RATE_SECONDS = 4.0
_TOLERATED = 1.2  # a short cold read may exceed the limit by this factor


@dataclass(frozen=True)
class Group:
    """A control group, or a pair of them: one for memory and one for disks.

    Attributes:
        memory: its folder for memory.
        disk: its folder for disks; the same folder in version 2.
        device: the disk, as MAJOR:MINOR.
        version: version of control groups, 1 or 2.
    """

    memory: Path
    disk: Path
    device: str
    version: int

    def command(self, command: Sequence[str]) -> list[str]:
        """Return the command wrapped so that it enters the group before it starts."""
        enter = [f"echo $$ > {shlex.quote(str(folder / 'cgroup.procs'))}" for folder in {self.memory, self.disk}]
        return ["sh", "-c", " && ".join([*enter, 'exec "$@"']), "sh", *command]

    @property
    def peak(self) -> int | None:
        """Peak memory of the group in bytes, page cache included; None if the kernel does not report it."""
        file = self.memory / ("memory.max_usage_in_bytes" if self.version == 1 else "memory.peak")
        return int(file.read_text()) if file.is_file() else None

    @property
    def read_bytes(self) -> int:
        """Bytes that the group has read from the disk so far."""
        file = "blkio.throttle.io_service_bytes" if self.version == 1 else "io.stat"
        found = re.search(rf"^{self.device} (?:Read |.*rbytes=)(\d+)", (self.disk / file).read_text(), re.MULTILINE)
        return int(found[1]) if found else 0

    @property
    def kills(self) -> int:
        """Number of processes that the kernel has killed because memory ran out."""
        file = "memory.oom_control" if self.version == 1 else "memory.events"
        found = re.search(r"^oom_kill (\d+)", (self.memory / file).read_text(), re.MULTILINE)
        return int(found[1]) if found else 0


@contextmanager
def control_group(memory: int, folder: Path, *, read_limit: int | None = None) -> Iterator[Group]:
    """Create a group, and remove it at the end.

    Args:
        memory: memory limit in bytes, page cache included.
        folder: a folder on the disk whose reads are counted or limited.
        read_limit: limit on reading that disk in bytes per second; None for no limit.
    """
    if os.geteuid() != 0:
        sys.exit("control groups: expected to be root, because only root can make them; run this as root")
    device = _disk_of(folder)
    with _possible(), ExitStack() as stack:
        group = _make(device)
        stack.callback(_remove, group)
        _limit(group, memory, read_limit)
        later = stack.pop_all()
    with later:
        yield group


@contextmanager
def _possible() -> Iterator[None]:
    """Exit if the kernel refuses an operation in this context."""
    try:
        yield
    except OSError as error:
        sys.exit(f"control groups: expected controllers for memory and block devices, found {error}; see mount")


def _make(device: str) -> Group:
    """Create version 1 below the groups of this process; version 2 at the root, where child groups are allowed."""
    mounts, name = _mounts(), f"tcf-benchmark-{os.getpid()}-{time.monotonic_ns()}"
    if {"memory", "blkio"} <= set(mounts):
        memory, disk = (_own(mounts[controller], controller) / name for controller in ("memory", "blkio"))
        memory.mkdir()
        disk.mkdir()
        return Group(memory, disk, device, 1)
    if "" not in mounts:
        sys.exit("control groups: expected them to be mounted below /sys/fs/cgroup, found none")
    (mounts[""] / "cgroup.subtree_control").write_text("+memory +io")
    (mounts[""] / name).mkdir()
    return Group(mounts[""] / name, mounts[""] / name, device, 2)


def _mounts() -> dict[str, Path]:
    """Mount points of the hierarchies: of version 1 by controller, of version 2 under the empty name."""
    found: dict[str, Path] = {}
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        kind, _, options = after.split(" ", 2)
        place = Path(before.split(" ")[4])
        if kind == "cgroup":
            found |= {name: place for name in options.split(",") if name in ("memory", "blkio")}
        elif kind == "cgroup2":
            found[""] = place
    return found


def _own(mount: Path, controller: str) -> Path:
    """The group of this process, or the root if the group is not visible here."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controller in controllers.split(",") and (mount / path.strip("/")).is_dir():
            return mount / path.strip("/")
    return mount


def _limit(group: Group, memory: int, read_limit: int | None) -> None:
    """Set the limits; swapping is disabled, so that the memory limit is exact."""
    if group.version == 1:
        (group.memory / "memory.swappiness").write_text("0")
        (group.memory / "memory.limit_in_bytes").write_text(str(memory))
        (group.disk / "blkio.throttle.read_bps_device").write_text(f"{group.device} {read_limit or _NO_LIMIT}")
        return
    swap = group.memory / "memory.swap.max"
    if swap.is_file():
        swap.write_text("0")
    (group.memory / "memory.max").write_text(str(memory))
    if read_limit is not None:
        (group.disk / "io.max").write_text(f"{group.device} rbps={read_limit}")


def _remove(group: Group) -> None:
    """Remove a group, waiting for processes that have just ended."""
    stop = time.monotonic() + _REMOVAL
    for folder in {group.memory, group.disk}:
        while folder.is_dir():
            with contextlib.suppress(OSError):
                folder.rmdir()
                break
            if time.monotonic() > stop:
                print(f"{folder}: cannot be removed yet; remove it later with rmdir", file=sys.stderr)
                break
            time.sleep(0.05)


def _disk_of(folder: Path) -> str:
    """The disk of a folder, as MAJOR:MINOR; for a partition the whole disk, because only whole disks can be limited."""
    number = folder.stat().st_dev
    device = Path(f"/sys/dev/block/{os.major(number)}:{os.minor(number)}")
    if not device.is_dir():
        sys.exit(f"{folder}: expected a folder on a disk, found a file system without a disk; name another folder")
    if (device / "partition").is_file():
        device = device.resolve().parent
    return (device / "dev").read_text().strip()


def cold_read_rate(file: Path, group: Group, log: Path, *, read_limit: int | None = None) -> float:
    """Bytes per second at which a process in a group reads a file that is not in the page cache.

    Args:
        file: a file that is not too small.
        group: the group.
        log: file for the standard error of the process.
        read_limit: limit of the group, which shortens the measurement.
    """
    wanted = min(_RATE_BYTES, int((read_limit or _NO_LIMIT) * _RATE_SECONDS), file.stat().st_size)
    drop_from_cache(file.parent)
    before = group.read_bytes
    blocks = max(1, wanted // 2**20)
    command = ["dd", f"if={file}", "of=/dev/null", "bs=1M", f"count={blocks}", "status=none"]
    ended = watch(group.command(command), log=log).expect()
    return (group.read_bytes - before) / ended.seconds


def check_read_limit(rate: float, read_limit: int) -> None:
    """Exit if a measured rate exceeds the limit."""
    if rate > _TOLERATED * read_limit:
        sys.exit(
            f"disk: expected at most {read_limit / 1e6:.0f} MB/s, found {rate / 1e6:.0f} MB/s; the limit has no effect"
        )


def as_size(text: str) -> int:
    """Parse a size such as 4GiB into bytes."""
    try:
        return parse_max_memory(f"cpu={text}", ["cpu"])["cpu"]
    except ConfigError:
        raise argparse.ArgumentTypeError(f"expected a size such as 4GiB, found {text!r}") from None
