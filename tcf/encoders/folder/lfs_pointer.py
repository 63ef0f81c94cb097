"""Pointers that git-LFS leaves in place of files that it has not downloaded."""

from collections.abc import Iterable
from pathlib import Path

from tcf.common.errors import ModelError

__all__ = ["refuse_pointers"]

_BEGINS = b"version https://git-lfs.github.com/spec/"
_LARGEST = 1024  # bytes; the specification allows no larger pointer


def refuse_pointers(files: Iterable[Path]) -> None:
    """Refuse files that are git-LFS pointers; files that are missing or cannot be read are left to their readers.

    Raises:
        ModelError: a file is a pointer.
    """
    for file in files:
        try:
            if not file.is_file() or file.stat().st_size > _LARGEST:
                continue
            content = file.read_bytes()
        except OSError:
            continue
        if content.startswith(_BEGINS):
            lines = content.decode(errors="replace").splitlines()
            size = next((line[5:25] for line in lines if line.startswith("size ")), "?")
            raise ModelError(
                f"{file}: expected the file itself, found a git-LFS pointer to its {size} bytes; run `git lfs pull` in "
                "the repository, or download the file again"
            )
