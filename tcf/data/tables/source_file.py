"""Raw files read in pieces: gzip is decompressed, a checksum is computed on the way, and changes are detected.

A file that grows or changes while it is read is refused, because another process is still writing it.
"""

import gzip
import hashlib
import io
import zlib
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from tcf.common.errors import DataError, os_error_words
from tcf.common.files import FileStamp

__all__ = ["Source", "changed", "read_error_words", "require_folder", "stamp_of", "unreadable"]

_GZIP = b"\x1f\x8b"


def stamp_of(path: Path) -> FileStamp:
    """Return the stamp of a raw file, which shows later whether the file has changed.

    Raises:
        DataError: the file does not exist or cannot be accessed.
    """
    try:
        return FileStamp.of(path)
    except OSError as error:
        raise unreadable(path, error) from None


def require_folder(folder: Path) -> None:
    """Refuse a raw folder that does not exist.

    Raises:
        DataError: there is a file or nothing.
    """
    if not folder.is_dir():
        found = "a file" if folder.exists() else "nothing"
        raise DataError(f"{folder}: expected a folder, found {found}; check the path")


def changed(path: Path) -> DataError:
    """Return the error for a file that changed while it was read."""
    return DataError(
        f"{path}: expected an unchanging file, found one that changed while it was read; another process is writing "
        "it: wait until that has finished, then run this again"
    )


def unreadable(path: Path, error: OSError) -> DataError:
    """Return the error for a file that the operating system does not let us read."""
    return DataError(f"{path}: expected a readable file, found none ({os_error_words(error)}); check the path")


def read_error_words(error: Exception) -> str:
    """Return why a file could not be read, on one line: the words of the system, or of the library that parses it."""
    return os_error_words(error) if isinstance(error, OSError) else " ".join(str(error).split())


class Source:
    """A context manager that reads a file once, from start to end.

    Args:
        path: the file; gzip is recognised by its first bytes, whatever the name.
        stamp: the file's stamp when it was opened before; by default its stamp now.

    Attributes:
        path: the file.
    """

    path: Path

    def __init__(self, path: Path, stamp: FileStamp | None = None) -> None:
        self.path = path
        self._stamp = stamp if stamp is not None else stamp_of(path)
        try:
            self._raw = path.open("rb", buffering=0)
        except OSError as error:
            raise unreadable(path, error) from None
        self._hashed = _Hashed(self._raw)
        self._buffered = io.BufferedReader(self._hashed, 1 << 20)
        zipped = self._buffered.peek(2)[:2] == _GZIP
        self._stream: BinaryIO = gzip.GzipFile(fileobj=self._buffered) if zipped else self._buffered  # type: ignore[assignment]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file."""
        self._raw.close()

    def read(self, size: int, before: bytes = b"") -> bytearray:
        """Read the next `size` bytes; fewer only at the end of the file, none after it.

        Args:
            size: number of bytes.
            before: bytes to prepend.

        Raises:
            DataError: the file cannot be read, is damaged or truncated gzip, or has changed.
        """
        data = bytearray(len(before) + size)
        data[: len(before)] = before
        try:
            with memoryview(data) as view:
                count = self._fill(view[len(before) :])
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            # A file that is still being written looks like a damaged one.
            self._check_unchanged()
            raise DataError(
                f"{self.path}: expected a complete gzip file, found a damaged or truncated one ({error}); download it "
                "again"
            ) from None
        except OSError as error:
            raise unreadable(self.path, error) from None
        del data[len(before) + count :]
        return data

    def _fill(self, view: memoryview) -> int:
        """Read until the view is full or the file ends; return the number of bytes."""
        done = 0
        with view:
            while done < len(view):
                with view[done:] as left:
                    count = self._stream.readinto(left)  # type: ignore[attr-defined]
                if not count:
                    break
                done += count
        return done

    def finish(self) -> str:
        """Return the sha256 of the file on disk, in hexadecimal, after all of it has been read.

        Raises:
            DataError: the file has changed since it was opened.
        """
        # A gzip file may have bytes after its last member.
        while self._buffered.read(1 << 20):
            pass
        self._check_unchanged()
        return self._hashed.digest.hexdigest()

    def _check_unchanged(self) -> None:
        opened = FileStamp.of(self._raw.fileno())
        if not opened.same_content(self._stamp) or not stamp_of(self.path).same_content(self._stamp):
            raise changed(self.path)


class _Hashed(io.RawIOBase):
    """A raw file that computes a checksum of its bytes as they are read."""

    def __init__(self, raw: io.FileIO) -> None:
        self._raw = raw
        self.digest = hashlib.sha256()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "memoryview | bytearray") -> int:  # type: ignore[override]
        count = self._raw.readinto(buffer) or 0
        self.digest.update(memoryview(buffer)[:count])
        return count
