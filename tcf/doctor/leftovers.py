"""Half-written files and folders, `.NAME.partial-...`: left by processes that were killed, or still being written."""

import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from tcf.common.files import is_alive, partial_owner, this_machine
from tcf.common.output.folders import walk

__all__ = ["LeftoverState", "leftover_state", "open_files", "size_of"]

LeftoverState = Literal["in use", "stale", "of another machine"]
_SILENCE = 86_400.0  # seconds without a change after which a file of another machine's process is stale


def leftover_state(path: Path) -> LeftoverState | None:
    """Return whether a process is still writing a half-written file or folder; None for any other name.

    Whether a process on another machine, or in another container, is alive cannot be known: its files are considered
    stale a day after their last change.
    """
    owner = partial_owner(path.name)
    if owner is None:
        return None
    machine, pid = owner
    if machine == this_machine():
        return "in use" if is_alive(pid) else "stale"
    return "stale" if time.time() - _last_change(path) > _SILENCE else "of another machine"


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files below a folder; links are not followed, vanished files are not counted."""
    return sum(found.st_size for found in _stats(path) if not stat.S_ISDIR(found.st_mode))


def open_files() -> frozenset[str]:
    """Files that processes of this machine have open or mapped, as far as this user may see them."""
    found: set[str] = set()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            lines = (process / "maps").read_text(encoding="utf-8", errors="surrogateescape").splitlines()
            found |= {words[5] for line in lines if len(words := line.split(maxsplit=5)) == 6}
            found |= {os.readlink(file) for file in (process / "fd").iterdir()}  # noqa: PTH115 - kept as text
        except OSError:
            continue  # the process has ended, or belongs to another user
    return frozenset(found)


def _last_change(path: Path) -> float:
    return max((found.st_mtime for found in _stats(path)), default=0.0)


def _stats(path: Path) -> Iterator[os.stat_result]:
    """Yield the status of a path and, if it is a folder, of everything below it."""
    places = [path]
    if path.is_dir() and not path.is_symlink():
        places += [folder / name for folder, folders, files in walk(path) for name in (*folders, *files)]
    for place in places:
        try:
            found = place.lstat()
        except OSError:
            continue
        yield found
