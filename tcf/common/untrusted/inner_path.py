"""Paths that an archive names: only those inside the folder that it is unpacked into."""

import re
from pathlib import Path, PurePosixPath

__all__ = ["UnsafePathError", "inner_path"]

_LONGEST_NAME, _LONGEST_PATH = 255, 1_024  # bytes; what common file systems take, and more than any archive needs
_DRIVE = re.compile(r"[A-Za-z]:")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class UnsafePathError(ValueError):
    """A path that is not used; its message completes "the path ..."."""


def inner_path(folder: Path, name: str) -> Path:
    """Return the path of an archive's entry below a folder; every entry that is written goes through here.

    Args:
        folder: where the archive is unpacked.
        name: the entry's path, relative to the folder, with slashes.

    Raises:
        UnsafePathError: the path is empty or absolute, has empty parts, `.` or `..`, backslashes, a drive or control
            characters, or is too long; so it could lead outside the folder, or mean something else on another system.

    Example:
        >>> inner_path(Path("data"), "train/news.tsv").as_posix()
        'data/train/news.tsv'
    """
    fault = _fault(name)
    if fault:
        raise UnsafePathError(fault)
    return folder.joinpath(*PurePosixPath(name).parts)


def _fault(name: str) -> str:
    """What is wrong with a path; empty if nothing is."""
    parts = name.split("/")
    if name.startswith("/") or ".." in parts or "\\" in name or _DRIVE.match(name):
        return "leads outside the folder"
    if not name or "" in parts or "." in parts:
        return "has an empty part"
    if _CONTROL.search(name):
        return "contains control characters"
    try:
        sizes = [len(part.encode()) for part in parts]
    except UnicodeEncodeError:
        return "is not UTF-8"
    if max(sizes) > _LONGEST_NAME or sum(sizes) + len(sizes) > _LONGEST_PATH:
        return "is too long"
    return ""
