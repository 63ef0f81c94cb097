"""Raw files on disk: whether they are there, and whether they change while they are read.

A file that grows or changes while it is read is refused, because another process is still writing it.
"""

from pathlib import Path

from tcf.common.errors import DataError, os_error_words
from tcf.common.files import FileStamp

__all__ = ["NoRowsError", "changed", "check_unchanged", "read_error_words", "require_folder", "stamp_of", "unreadable"]


class NoRowsError(DataError):
    """A file is empty, or has a header and no rows."""


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


def check_unchanged(path: Path, stamp: FileStamp) -> None:
    """Refuse a file that is no longer the one that was opened.

    Raises:
        DataError: size, time of the last change or identity differ.
    """
    if not stamp_of(path).same_content(stamp):
        raise changed(path)


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
