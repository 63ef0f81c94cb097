"""The entries that `tcf doctor` lists: a file or folder, its kind, its size, and whether it can be removed."""

import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tcf.common.files import staging_place
from tcf.common.output.folders import real_path

__all__ = ["CLEAN", "Clean", "Entry", "Group", "remove", "selected"]

Group = Literal["partial", "models", "datasets", "remembered"]
Clean = Literal["partial", "models", "datasets", "remembered", "all"]
CLEAN: Mapping[Clean, str] = {
    "partial": "unfinished downloads, and files that killed processes left half written",
    "models": "downloaded models",
    "datasets": "downloaded datasets",
    "remembered": "calibration runs and checksums of weights",
    "all": "everything that can be downloaded or computed again",
}


@dataclass(frozen=True)
class Entry:
    """A file or folder on a disk.

    Attributes:
        path: its path.
        kind: what it is, in words.
        bytes: its size.
        state: its state, in words; empty if there is nothing to say.
        group: the value of `--clean` that removes it; None if none does, because it is in use, or cannot be downloaded
            or computed again.
    """

    path: Path
    kind: str
    bytes: int
    state: str = ""
    group: Group | None = None


def selected(entries: Sequence[Entry], clean: Clean) -> list[Entry]:
    """The entries that a value of `--clean` selects."""
    return [entry for entry in entries if entry.group is not None and clean in (entry.group, "all")]


def remove(entry: Entry, in_use: Collection[str]) -> bool:
    """Remove a file or folder, unless it is in use.

    A folder is renamed first, so that no process ever finds a part of it.

    Args:
        entry: what to remove.
        in_use: files that processes have open.

    Returns:
        Whether it was removed; False if it is in use, is already gone, or cannot be removed.
    """
    path = entry.path
    within = f"{real_path(path)}/"
    if any(file == within[:-1] or file.startswith(within) for file in in_use):
        return False
    if not path.is_dir() or path.is_symlink():
        return _unlinked(path)
    # If this process is killed, the next one recognises the leftover by this name.
    condemned = staging_place(path)
    try:
        path.rename(condemned)
    except OSError:
        return False
    shutil.rmtree(condemned, ignore_errors=True)
    return True


def _unlinked(path: Path) -> bool:
    try:
        path.unlink()
    except OSError:
        return False
    return True
