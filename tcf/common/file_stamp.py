"""What tells whether a file is still what it was, without reading it again."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Self

__all__ = ["FileStamp"]


@dataclass(frozen=True)
class FileStamp:
    """A file as it was when it was looked at; equal to a later one if nothing was done to the file in between.

    Attributes:
        size: in bytes.
        mtime_ns: time of the last change of its content, in nanoseconds, as it says.
        ctime_ns: time of the last change of any kind, in nanoseconds, which nobody can set.
        inode: its number in the file system.
    """

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int

    @classmethod
    def of(cls, file: Path | int) -> Self:
        """The stamp of a file now.

        Args:
            file: its path, links followed, or an open descriptor.

        Raises:
            OSError: there is no such file, or it cannot be asked.
        """
        found = os.stat(file)  # noqa: PTH116 - of a path or of a descriptor
        return cls(found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)

    def same_content(self, other: "FileStamp") -> bool:
        """Whether both are of one file with one content; permissions, names and links of it may have changed."""
        return (self.size, self.mtime_ns, self.inode) == (other.size, other.mtime_ns, other.inode)
