"""A disk that is full, and has room again: a small file system of this process alone, or else a limit of its files."""

import ctypes
import json
import os
import resource
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from small.faults.typed import typed

__all__ = ["PLACE", "fill"]

PLACE = "small"
_NEWNS, _NEWUSER, _REMOUNT, _PRIVATE_REC = 0x20000, 0x10000000, 0x20, 0x44000
_PLENTY = 512 * 2**20  # a conversion wants some to spare


@dataclass(frozen=True)
class _Disk:
    """Where a command writes.

    Attributes:
        folder: the place.
        mounted: whether it is a file system of its own.
    """

    folder: Path
    mounted: bool

    def resize(self, size: int) -> None:
        """Give it so many bytes."""
        if not self.mounted:
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
        elif _mount(self.folder, _REMOUNT, size) != 0:
            raise OSError(ctypes.get_errno(), "remounting")


def fill(root: Path, line: str, name: str, size: int, report: Path) -> None:
    """Be a process whose command runs out of space, and then has enough.

    Args:
        root: the working directory.
        line: what is typed, without `--out`.
        name: of the result.
        size: bytes of the disk.
        report: a file with what the command said and left in the small place; beside it, without a suffix, lies then
            what it left in the end.
    """
    os.chdir(root)
    os.environ["TCF_HOME"] = str(root / "home")
    sys.stdout.flush()
    disk = _small_disk(root / PLACE, size)
    full = typed(f"{line} --out {PLACE}/{name}")
    left = sorted(str(path.relative_to(root / PLACE)) for path in (root / PLACE).rglob("*"))
    disk.resize(_PLENTY)
    again = typed(f"{line} --out {PLACE}/{name}")
    said = {"full": vars(full) | {"error": full.error}, "left": left, "again": vars(again), "mounted": disk.mounted}
    report.write_text(json.dumps(said))
    if again.status == 0:
        (shutil.copytree if (root / PLACE / name).is_dir() else shutil.copy)(
            root / PLACE / name, report.with_suffix("")
        )


def _small_disk(folder: Path, size: int) -> _Disk:
    folder.mkdir(exist_ok=True)
    user, group = os.getuid(), os.getgid()
    library = ctypes.CDLL(None, use_errno=True)
    if library.unshare(_NEWNS) != 0:
        if library.unshare(_NEWNS | _NEWUSER) == 0:
            Path("/proc/self/setgroups").write_text("deny")
            Path("/proc/self/uid_map").write_text(f"0 {user} 1")
            Path("/proc/self/gid_map").write_text(f"0 {group} 1")
        else:
            disk = _Disk(folder, mounted=False)
            disk.resize(size // 2)
            return disk
    library.mount(b"none", b"/", None, _PRIVATE_REC, None)
    disk = _Disk(folder, _mount(folder, 0, size) == 0)
    if not disk.mounted:
        disk.resize(size // 2)
    return disk


def _mount(folder: Path, flags: int, size: int) -> int:
    library = ctypes.CDLL(None, use_errno=True)
    status: int = library.mount(b"tmpfs", os.fsencode(folder), b"tmpfs", flags, f"size={size}".encode())
    return status
