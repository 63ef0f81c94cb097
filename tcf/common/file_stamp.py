"""Detecting whether a file has changed without reading it."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Self

__all__ = ["FileStamp"]


@dataclass(frozen=True)
class FileStamp:
    """Size, times and inode of a file; equal to a later stamp if the file has not changed in between.

    Attributes:
        size: in bytes.
        mtime_ns: time of the last change of the content, in nanoseconds; programs can set it.
        ctime_ns: time of the last change of any kind, in nanoseconds; programs cannot set it.
        inode: inode number in the file system.
    """

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int

    @classmethod
    def of(cls, file: Path | int) -> Self:
        """Return the current stamp of a file.

        Args:
            file: its path (symbolic links are followed) or an open file descriptor.

        Raises:
            OSError: the file does not exist or is not accessible.
        """
        found = os.stat(file)  # noqa: PTH116 - of a path or of a descriptor
        return cls(found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)

    def same_content(self, other: "FileStamp") -> bool:
        """Whether both stamps are of the same file with the same content; its permissions or links may differ."""
        return (self.size, self.mtime_ns, self.inode) == (other.size, other.mtime_ns, other.inode)
