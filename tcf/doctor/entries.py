"""What `tcf doctor` lists: something that lies on a disk, what it is, what it takes, and whether it can be removed."""

import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tcf.common.files import staging_place

__all__ = ["CLEAN", "Clean", "Entry", "Group", "remove", "selected"]

Group = Literal["partial", "models", "datasets", "remembered"]
Clean = Literal["partial", "models", "datasets", "remembered", "all"]
CLEAN: Mapping[Clean, str] = {
    "partial": "unfinished downloads, and what killed processes left half written",
    "models": "downloaded models",
    "datasets": "downloaded datasets",
    "remembered": "calibration runs and checksums of weights",
    "all": "all that can be downloaded or made again",
}


@dataclass(frozen=True)
class Entry:
    """Something that lies on a disk.

    Attributes:
        path: where.
        kind: what it is, in words.
        bytes: what it takes.
        state: what else there is to say, in words; empty if nothing.
        group: under which name `--clean` removes it; None where nothing does, because it cannot be fetched or made
            again, or is in use.
    """

    path: Path
    kind: str
    bytes: int
    state: str = ""
    group: Group | None = None


def selected(entries: Sequence[Entry], clean: Clean) -> list[Entry]:
    """Those that a word after `--clean` stands for."""
    return [entry for entry in entries if entry.group is not None and clean in (entry.group, "all")]


def remove(entry: Entry, in_use: Collection[str]) -> bool:
    """Remove something, unless it is in use; it vanishes as a whole, and a process that looks for it finds none of it.

    Args:
        entry: what to remove.
        in_use: files that processes have open.

    Returns:
        Whether it was removed; False where it is in use or gone already, or cannot be removed.
    """
    path = entry.path
    within = f"{path.resolve()}/"
    if any(file == within[:-1] or file.startswith(within) for file in in_use):
        return False
    if not path.is_dir() or path.is_symlink():
        return _unlinked(path)
    # Should this process be killed, the next one finds a leftover by this name.
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
