"""Where an unfinished download lies between runs: a folder with the bytes so far and what the server said of them.

While a process works on it, the folder has a name that tells whose it is; another process starts one of its own. When
that process ends, in whichever way, the next one takes the folder up.
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

from tcf.common.files import is_alive, publish_file, staging_place, this_machine

__all__ = ["Partial", "Served", "drop", "held"]


@dataclass(frozen=True)
class Served:
    """What a server said about a file.

    Attributes:
        etag: its entity tag; empty if there is none.
        last_modified: when it changed last, as the server writes dates; empty if that is not said.
        total: its size in bytes; None if that is not said.
    """

    etag: str = ""
    last_modified: str = ""
    total: int | None = None

    @property
    def validator(self) -> str:
        """What `If-Range` takes: a strong entity tag or a date; empty if there is neither."""
        weak = self.etag.startswith("W/") or not self.etag
        return self.last_modified if weak else self.etag


@dataclass(frozen=True)
class Partial:
    """A download in hand.

    Attributes:
        folder: holds the bytes and what is known of the file.
        name: the file's own name.
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
        """What the server said of the file that the bytes are of; nothing, where that cannot be read."""
        try:
            return Served(**json.loads(self._state.read_text(encoding="utf-8")))
        except (FileNotFoundError, ValueError, TypeError):
            return Served()

    @property
    def is_whole(self) -> bool:
        """Whether all bytes of the file are there."""
        return self.served.total is not None and self.size == self.served.total

    def begin(self, served: Served | None = None) -> None:
        """Forget the bytes and start on another file, or on the same one from its first byte."""
        self.body.unlink(missing_ok=True)
        self.note(served or Served())

    def note(self, served: Served) -> None:
        """Write down what the server says of the file that the bytes are of."""
        publish_file(self._state, json.dumps(asdict(served)).encode())

    def append(self) -> IO[bytes]:
        """The file of bytes, to be written on."""
        return self.body.open("ab")

    @property
    def _state(self) -> Path:
        return self.folder / ".served.json"


@contextmanager
def held(downloads: Path, url: str) -> Iterator[Partial]:
    """Take up the unfinished download of an address, or begin one; it is kept when the block ends.

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
        if not _renamed(ours, kept):  # another process has put its own there meanwhile
            shutil.rmtree(ours, ignore_errors=True)


def drop(downloads: Path, url: str) -> None:
    """Remove what is kept of an address; nobody holds it."""
    shutil.rmtree(_place(downloads, url), ignore_errors=True)
    with contextlib.suppress(OSError):
        downloads.rmdir()  # only if nothing else is in it


def _place(downloads: Path, url: str) -> Path:
    """One folder for each address, with the file's name for people to read."""
    name = PurePosixPath(urlsplit(url).path).name
    return downloads / f"{hashlib.sha256(url.encode()).hexdigest()[:12]}-{name}"


def _left_behind(kept: Path) -> Iterator[Path]:
    """What killed processes of this machine held."""
    for place in kept.parent.glob(f".{glob.escape(kept.name)}.partial-{this_machine()}-*"):
        pid = int(place.name.rsplit("-", 2)[1])
        if pid != os.getpid() and not is_alive(pid):
            yield place


def _renamed(old: Path, new: Path) -> bool:
    """Rename a folder; False if it is gone or another one with something in it is in the way."""
    try:
        old.rename(new)
    except OSError:
        return False
    return True
