"""Checksums of files, remembered for large ones, so that hundreds of gigabytes are not read at every start.

A checksum is kept in a small file below `TCF_HOME` and is valid as long as path, size, times and inode of its file are
unchanged. The kept checksums can be deleted at any time, and one that is damaged is passed over.
"""

import hashlib
import logging
import threading
import time
from collections.abc import Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from tcf.common.errors import TcfError, os_error_words
from tcf.common.files import FileStamp, home
from tcf.common.integrity.sealed_json import sealed_json, unsealed_json
from tcf.common.manifest import digest
from tcf.common.progress import Progress

__all__ = ["SMALL", "Reading", "Verify", "checksums", "memory"]

Verify = Literal["once", "always"]
"""Whether a large file is read once to be verified, until it changes, or each time."""
SMALL = 16 * 2**20
"""Bytes; a smaller file is read each time, which takes about as long as the lookup of what is remembered."""

logger = logging.getLogger(__name__)

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


def memory() -> Path:
    """The folder of the kept checksums, below `TCF_HOME`."""
    return home() / "digests"


@dataclass(frozen=True)
class Reading:
    """How files are read for their checksums.

    Attributes:
        words: what they are, for the progress: `the weights`.
        error: the error that says that one cannot be read.
        remedy: what to do then.
        small: size in bytes from which a checksum is remembered.
    """

    words: str
    error: type[TcfError]
    remedy: str
    small: int = SMALL


def checksums(files: Sequence[Path], folder: Path, reading: Reading, verify: Verify = "once") -> list[str]:
    """Return the sha256, in hexadecimal, of every file; several are read at a time.

    Args:
        files: the files.
        folder: folder of kept checksums; if it cannot be written to, a warning says so.
        reading: what they are.
        verify: `once` reads only new and changed files, `always` reads all of them.

    Raises:
        TcfError: the error of `reading`; a file cannot be read.
    """
    known = {file: _recalled(file, folder, reading) if verify == "once" else None for file in files}
    unknown = [file for file, checksum in known.items() if checksum is None]
    found = _Reader(unknown, folder, reading).checksums() if unknown else {}
    return [known[file] or found[file] for file in files]


def _recalled(file: Path, folder: Path, reading: Reading) -> str | None:
    try:
        mark = _Mark.of(file)
        if mark.stamp.size < reading.small:
            return None
        kept = unsealed_json(mark.place(folder).read_bytes())
        checksum = kept.pop("sha256")
        return checksum if kept == mark.as_json() and isinstance(checksum, str) and len(checksum) == 64 else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None  # unknown or unreadable: reading the file itself will raise an error if there is one


class _Reader:
    """Reads several files in threads, which stop early if one of them fails.

    Args:
        files: the files to read.
        folder: folder of kept checksums.
        reading: what they are.
    """

    def __init__(self, files: Sequence[Path], folder: Path, reading: Reading) -> None:
        self._files, self._folder, self._reading = files, folder, reading
        self._read = [0] * len(files)  # bytes, each counted by one thread
        self._stopped = threading.Event()
        self._refused: list[str] = []

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
            words = self._reading.words
            logger.warning(f"{words} will be read again for their checksums next time: {self._refused[0]}")
        return dict(zip(self._files, found, strict=True))

    def _checksum(self, number: int) -> str:
        file, reading = self._files[number], self._reading
        try:
            mark = _Mark.of(file)
            settled = mark.is_settled
            checksum = self._sha256(number)
        except OSError as error:
            raise reading.error(f"{file}: cannot be read ({os_error_words(error)}); {reading.remedy}") from None
        if settled and mark.stamp.size >= reading.small:
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
        place = mark.place(self._folder)
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            # Neither flushed nor renamed into place: a file cut short is passed over, and costs a second reading.
            place.write_text(sealed_json({**mark.as_json(), "sha256": checksum}), encoding="utf-8")
        except OSError as error:
            self._refused.append(f"{place}: cannot be written ({os_error_words(error)})")

    def _follow(self, futures: Sequence["Future[str]"]) -> None:
        """Wait for all, or for the first failure, and show progress if it takes long."""
        total = sum(map(_size, self._files))
        _, waiting = wait(futures, timeout=0 if total >= _MUCH else _SOON, return_when=FIRST_EXCEPTION)
        if not waiting or _failed(futures):
            return
        with Progress(f"checksums of {self._reading.words}", total / 2**20, "MiB") as progress:
            shown = 0
            while waiting and not _failed(futures):
                _, waiting = wait(waiting, timeout=_GLANCE, return_when=FIRST_EXCEPTION)
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
