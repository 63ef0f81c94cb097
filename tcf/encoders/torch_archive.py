"""The zip archive that `torch.save` writes, checked from its directory before anything in it is read."""

import os
import zipfile
from pathlib import Path, PurePosixPath
from typing import IO

__all__ = ["LARGEST_HEADER", "UnfitArchiveError", "archive_members"]

LARGEST_HEADER = 32 << 20
"""Bytes of a header, a pickle or a directory at most: ten times that of a file of 10^5 tensors."""
_END, _END_64, _LOCATOR_64 = b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07"
_LONGEST_END = 22 + 0xFFFF  # bytes: the last record, and a comment


class UnfitArchiveError(ValueError):
    """An archive whose tensors cannot be read in place, or would take too long to be found."""


def archive_members(file: Path) -> list[zipfile.ZipInfo]:
    """Return the members of an archive of `torch.save`.

    Raises:
        OSError: the file cannot be read.
        UnfitArchiveError: it has compressed or big-endian members, or a directory or a pickle that is too large.
        zipfile.BadZipFile: it is no complete zip archive; also `EOFError`, `ValueError`, `NotImplementedError`.
    """
    with file.open("rb") as stream:
        _check(_directory_bytes(stream), "a directory")
        with zipfile.ZipFile(stream) as archive:
            members = archive.infolist()
            if any(member.compress_type != zipfile.ZIP_STORED for member in members):
                raise UnfitArchiveError("compressed members")
            for member in members:
                match PurePosixPath(member.filename).name:
                    case "data.pkl":
                        _check(member.file_size, "a pickle")
                    case "byteorder" if member.file_size > 16 or archive.read(member) != b"little":
                        raise UnfitArchiveError("data that is not little-endian")
    return members


def _check(size: int, what: str) -> None:
    if size > LARGEST_HEADER:
        raise UnfitArchiveError(f"{what} of {size} bytes, more than {LARGEST_HEADER}")


def _directory_bytes(stream: IO[bytes]) -> int:
    """The size of an archive's directory as its last record states it."""
    size = os.fstat(stream.fileno()).st_size
    begin = stream.seek(max(0, size - _LONGEST_END))
    tail = stream.read()
    end = tail.rfind(_END)
    if end < 0:
        raise zipfile.BadZipFile("File is not a zip file")
    stated = int.from_bytes(tail[end + 12 : end + 16], "little")
    if stated != 0xFFFFFFFF or tail[end - 20 : end - 16] != _LOCATOR_64:
        return stated
    stream.seek(min(begin + end, int.from_bytes(tail[end - 12 : end - 4], "little")))
    record = stream.read(56)
    return int.from_bytes(record[40:48], "little") if record[:4] == _END_64 else stated
