"""Remembered checksums of large files, so that hundreds of gigabytes of weights are not read at every start.

A checksum is kept in a small file and is valid as long as path, size, times and inode of its file are unchanged. The
kept checksums can be deleted at any time.
"""

import hashlib
import json
import logging
import threading
import time
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tcf.common.errors import ModelError, RunError, os_error_words
from tcf.common.files import FileStamp, publish_file
from tcf.common.manifest import digest
from tcf.common.parsing import read_json
from tcf.common.progress import Progress

__all__ = ["remembered_checksums"]

logger = logging.getLogger(__name__)

_SMALL = 16 * 2**20  # bytes; a smaller file is read again, which takes no longer than the lookup
_CHUNK = 2**20  # bytes read at once
_FRESH = 2.0  # seconds; a second change within this time may not change the file's times
_SOON = 2.0  # seconds until progress is shown, or
_MUCH = 2**30  # bytes from which it is shown at once
_GLANCE = 0.2  # seconds between updates of the progress


@dataclass(frozen=True)
class _Mark:
    """Identity of a file's content.

    Attributes:
        path: path of the file, with links resolved.
        stamp: size, times and inode.
    """

    path: str
    stamp: FileStamp

    @classmethod
    def of(cls, file: Path) -> "_Mark":
        return cls(str(file.resolve()), FileStamp.of(file))

    @property
    def is_settled(self) -> bool:
        """Whether the last change is long enough ago that the next one will change the file's times."""
        return time.time() - max(self.stamp.mtime_ns, self.stamp.ctime_ns) / 1e9 >= _FRESH

    def place(self, folder: Path) -> Path:
        """Return the file in which the checksum is kept."""
        return folder / f"{digest(ascii(self.path))[:32]}.json"

    def as_json(self) -> dict[str, Any]:
        """Return the entries that are kept with the checksum."""
        return {"path": self.path, **asdict(self.stamp)}


def remembered_checksums(files: Sequence[Path], folder: Path) -> list[str]:
    """Return the sha256, in hexadecimal, of every file; only new and changed files are read.

    Args:
        files: the files.
        folder: folder of kept checksums; if it cannot be written to, a warning says so.

    Raises:
        ModelError: a file cannot be read.
    """
    known = {file: _recalled(file, folder) for file in files}
    unknown = [file for file, checksum in known.items() if checksum is None]
    found = _Reading(unknown, folder).checksums() if unknown else {}
    return [known[file] or found[file] for file in files]


def _recalled(file: Path, folder: Path) -> str | None:
    try:
        mark = _Mark.of(file)
        kept = read_json(mark.place(folder))
        checksum = kept.pop("sha256")
        return checksum if kept == mark.as_json() and isinstance(checksum, str) and len(checksum) == 64 else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None  # unknown or unreadable: reading the file itself will raise an error if there is one


class _Reading:
    """Reads several files in threads, which stop early if one of them fails.

    Args:
        files: the files to read.
        folder: folder of kept checksums.
    """

    def __init__(self, files: Sequence[Path], folder: Path) -> None:
        self._files, self._folder = files, folder
        self._read = [0] * len(files)  # bytes, each counted by one thread
        self._stopped = threading.Event()
        self._refused: list[RunError] = []

    def checksums(self) -> dict[Path, str]:
        """Return the checksum of every file."""
        with ThreadPoolExecutor() as pool:
            futures = [pool.submit(self._checksum, number) for number in range(len(self._files))]
            try:
                self._follow(futures)
                for future in filter(Future.done, futures):
                    future.result()  # raises the error that ended the wait; others may have gigabytes left
                found = [future.result() for future in futures]
            finally:
                self._stopped.set()
                pool.shutdown(cancel_futures=True)
        if self._refused:
            logger.warning(f"the weights will be read again for their checksums next time: {self._refused[0]}")
        return dict(zip(self._files, found, strict=True))

    def _checksum(self, number: int) -> str:
        file = self._files[number]
        try:
            mark = _Mark.of(file)
            settled = mark.is_settled
            checksum = self._sha256(number)
        except OSError as error:
            raise ModelError(f"{file}: cannot be read ({os_error_words(error)}); fix it or download it again") from None
        if settled and mark.stamp.size >= _SMALL:
            self._keep(mark, checksum)  # if the file has changed in the meantime, its mark differs now
        return checksum

    def _sha256(self, number: int) -> str:
        found, buffer = hashlib.sha256(), memoryview(bytearray(_CHUNK))
        with self._files[number].open("rb", buffering=0) as stream:
            while not self._stopped.is_set() and (n := stream.readinto(buffer)):
                found.update(buffer[:n])
                self._read[number] += n
        return found.hexdigest()

    def _keep(self, mark: _Mark, checksum: str) -> None:
        if self._stopped.is_set():
            return  # not read to the end
        try:
            publish_file(mark.place(self._folder), json.dumps({**mark.as_json(), "sha256": checksum}).encode())
        except RunError as error:
            self._refused.append(error)

    def _follow(self, futures: Sequence["Future[str]"]) -> None:
        """Wait for all, or for the first failure, and show progress if it takes long."""
        total = sum(map(_size, self._files))
        _, waiting = wait(futures, timeout=0 if total >= _MUCH else _SOON, return_when=FIRST_EXCEPTION)
        if not waiting or _failed(futures):
            return
        with Progress("checksums of the weights", total / 2**20, "MiB") as progress:
            shown = 0
            while waiting and not _failed(futures):
                _, waiting = wait(waiting, timeout=_GLANCE, return_when=FIRST_COMPLETED)
                read = sum(self._read)
                progress.advance((read - shown) / 2**20)
                shown = read


def _failed(futures: Sequence["Future[str]"]) -> bool:
    return any(future.done() and future.exception() for future in futures)


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:
        return 0  # reading it will raise the error
