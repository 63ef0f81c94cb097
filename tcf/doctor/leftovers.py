"""What processes were writing when they ended, or still are: hidden files and folders `.NAME.partial-...`."""

import os
import re
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from tcf.common.files import is_alive, this_machine

__all__ = ["LeftoverState", "leftover_state", "open_files", "size_of"]

LeftoverState = Literal["in use", "stale", "of another machine"]
_PARTIAL = re.compile(r"\..+\.partial-([0-9a-f]{12})-(\d+)-[0-9a-f]{8}")
_SILENCE = 86_400.0  # seconds without a change after which what a process of another machine writes is stale


def leftover_state(path: Path) -> LeftoverState | None:
    """Whether somebody is still writing a leftover; None where its name is not that of one.

    Whether a process of another machine, or of another container, lives cannot be told. What it writes is taken for
    stale a day after its last change.
    """
    named = _PARTIAL.fullmatch(path.name)
    if named is None:
        return None
    if named[1] == this_machine():
        return "in use" if is_alive(int(named[2])) else "stale"
    return "stale" if time.time() - _last_change(path) > _SILENCE else "of another machine"


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files below a folder; links are not followed, what vanishes meanwhile is nothing."""
    return sum(found.st_size for found in _stats(path) if not stat.S_ISDIR(found.st_mode))


def open_files() -> frozenset[str]:
    """Files that processes of this machine have open or mapped, as far as this user may know."""
    found: set[str] = set()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            lines = (process / "maps").read_text(encoding="utf-8", errors="surrogateescape").splitlines()
            found |= {words[5] for line in lines if len(words := line.split(maxsplit=5)) == 6}
            found |= {os.readlink(file) for file in (process / "fd").iterdir()}  # noqa: PTH115 - kept as text
        except OSError:
            continue  # it has ended, or belongs to somebody else
    return frozenset(found)


def _last_change(path: Path) -> float:
    return max((found.st_mtime for found in _stats(path)), default=0.0)


def _stats(path: Path) -> Iterator[os.stat_result]:
    """Of a path itself and, if it is a folder, of all that is below it."""
    places = [path]
    if path.is_dir() and not path.is_symlink():
        places += [Path(folder, name) for folder, folders, files in os.walk(path) for name in (*folders, *files)]
    for place in places:
        try:
            found = place.lstat()
        except OSError:
            continue
        yield found
