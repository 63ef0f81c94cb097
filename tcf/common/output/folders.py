"""Folders of any depth, and what is at a path."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

__all__ = ["found_words", "make_folder", "real_path", "walk"]


def make_folder(path: Path) -> None:
    """Create a folder and its parents, however many; `Path.mkdir` gives up at some 1,000.

    Raises:
        OSError: it cannot be created.
    """
    missing = []
    for folder in (path, *path.parents):
        if folder.is_dir():
            break
        missing.append(folder)
    for folder in reversed(missing):
        folder.mkdir(exist_ok=True)


def walk(folder: Path) -> Iterator[tuple[Path, list[str], list[str]]]:
    """Visit a folder and those below it, however deep; what cannot be read and symbolic links are not entered.

    Yields:
        A folder with the names of its folders and of its other entries, in order; a caller may shorten the first list.
    """
    waiting = [folder]
    while waiting:
        place = waiting.pop()
        folders, files = _names_in(place)
        yield place, folders, files
        waiting += [place / name for name in reversed(folders) if not (place / name).is_symlink()]


def _names_in(folder: Path) -> tuple[list[str], list[str]]:
    folders, files = list[str](), list[str]()
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                (folders if _is_folder(entry) else files).append(entry.name)
    except OSError:
        return [], []
    return sorted(folders), sorted(files)


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def real_path(path: Path) -> Path:
    """The absolute path without symbolic links; a loop of links stays, for which `Path.resolve` raises RuntimeError."""
    return Path(os.path.realpath(path))


def found_words(path: Path) -> str:
    """What is at a path that is occupied, in words."""
    found = _kind(path.lstat().st_mode)
    if found != "a symbolic link":
        return found
    try:
        return f"a symbolic link to {_kind(path.stat().st_mode)}"
    except OSError:
        return "a symbolic link that leads nowhere"


def _kind(mode: int) -> str:
    kinds = (
        (stat.S_ISDIR, "a directory"),
        (stat.S_ISREG, "a file"),
        (stat.S_ISLNK, "a symbolic link"),
        (stat.S_ISFIFO, "a named pipe"),
        (stat.S_ISSOCK, "a socket"),
    )
    return next((words for is_kind, words in kinds if is_kind(mode)), "a device")
