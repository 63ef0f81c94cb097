"""An unfinished download between runs: a folder with the bytes so far and the server's metadata of the file.

While a process works on it, the folder's name contains the process id; another process starts a folder of its own.
After that process has ended, in whichever way, the next one resumes the download.
"""

import contextlib
import glob
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import IO
from urllib.parse import urlsplit

from tcf.common.files import is_alive, partial_owner, publish_file, staging_place, this_machine
from tcf.common.parsing import read_json

__all__ = ["Partial", "Served", "drop", "held"]


@dataclass(frozen=True)
class Served:
    """Metadata that a server sent about a file.

    Attributes:
        etag: entity tag; empty if there is none.
        last_modified: date of the last change, as sent by the server; empty if not sent.
        total: size in bytes; None if not sent.
    """

    etag: str = ""
    last_modified: str = ""
    total: int | None = None

    @property
    def validator(self) -> str:
        """Value for `If-Range`: a strong entity tag or a date; empty if there is neither."""
        weak = self.etag.startswith("W/") or not self.etag
        return self.last_modified if weak else self.etag


@dataclass(frozen=True)
class Partial:
    """An unfinished download.

    Attributes:
        folder: folder with the bytes and the metadata of the file.
        name: file name.
    """

    folder: Path
    name: str

    @property
    def body(self) -> Path:
        """The file with the bytes so far."""
        return self.folder / self.name

    @property
    def size(self) -> int:
        """Bytes so far."""
        return self.body.stat().st_size if self.body.exists() else 0

    @property
    def served(self) -> Served:
        """The server's metadata of the file; empty if it cannot be read."""
        try:
            return Served(**read_json(self._state))
        except (OSError, ValueError, TypeError):
            return Served()

    @property
    def is_whole(self) -> bool:
        """Whether the download is complete."""
        return self.served.total is not None and self.size == self.served.total

    def begin(self, served: Served | None = None) -> None:
        """Discard the bytes and start a download from the first byte, possibly of a changed file."""
        self.body.unlink(missing_ok=True)
        self.note(served or Served())

    def note(self, served: Served) -> None:
        """Save the server's metadata of the file."""
        publish_file(self._state, json.dumps(asdict(served)).encode())

    def append(self) -> IO[bytes]:
        """Open the file of bytes for appending."""
        return self.body.open("ab")

    @property
    def _state(self) -> Path:
        return self.folder / ".served.json"


@contextmanager
def held(downloads: Path, url: str) -> Iterator[Partial]:
    """Yield the unfinished download of an address, or a new one; it is kept when the block ends.

    Args:
        downloads: folder of all unfinished downloads.
        url: the address.
    """
    kept = _place(downloads, url)
    downloads.mkdir(parents=True, exist_ok=True)
    ours = staging_place(kept)
    if not any(_renamed(place, ours) for place in (kept, *_left_behind(kept))):
        ours.mkdir()
    try:
        yield Partial(ours, PurePosixPath(urlsplit(url).path).name)
    finally:
        if not _renamed(ours, kept):  # another process has put its download there in the meantime
            shutil.rmtree(ours, ignore_errors=True)


def drop(downloads: Path, url: str) -> None:
    """Remove the kept download of an address, which no process is using."""
    shutil.rmtree(_place(downloads, url), ignore_errors=True)
    with contextlib.suppress(OSError):
        downloads.rmdir()  # only if nothing else is in it


def _place(downloads: Path, url: str) -> Path:
    """Return the folder of an address; it includes the file name for readability."""
    name = PurePosixPath(urlsplit(url).path).name
    return downloads / f"{hashlib.sha256(url.encode()).hexdigest()[:12]}-{name}"


def _left_behind(kept: Path) -> Iterator[Path]:
    """Yield the downloads that killed processes of this machine left behind."""
    for place in kept.parent.glob(f".{glob.escape(kept.name)}.partial-{this_machine()}-*"):
        owner = partial_owner(place.name)
        if owner is not None and owner[1] != os.getpid() and not is_alive(owner[1]):
            yield place


def _renamed(old: Path, new: Path) -> bool:
    """Rename a folder; False if it is gone or the new name belongs to a folder that is not empty."""
    try:
        old.rename(new)
    except OSError:
        return False
    return True
