"""The progress of reading files, whichever library reads them: the system knows the position in each open file.

Raw files are read twice: their bytes are checked, and their rows read into the engine, which knows how far it is.
"""

import threading
from collections.abc import Callable, Collection, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from tcf.common.output.folders import real_path
from tcf.common.progress import Progress

__all__ = ["ReadingProgress", "read_positions"]

_MB = 1e6
_LARGE = 2**26  # bytes; progress is shown from this size on, because smaller files are read in about a second
_SECONDS_BETWEEN_LOOKS = 0.5
_DESCRIPTORS = Path("/proc/self/fd")  # on Linux; elsewhere only the phases of the work are shown


class ReadingProgress:
    """A context manager that shows how much of some files has been read, and then the phases that follow.

    Nothing is shown for small files. A thread checks the open files from time to time; reading itself is not changed.

    Args:
        label: what is being done.
        files: files that will be read.
    """

    def __init__(self, label: str, files: Collection[Path]) -> None:
        self._sizes = {real_path(file): file.stat().st_size for file in files if file.is_file()}
        self._furthest = dict.fromkeys(self._sizes, 0)
        self._total = sum(self._sizes.values())
        self._progress = Progress(label, self._total / _MB, "MB")
        self._shown = 0.0
        self._finished = threading.Event()
        self._watch = threading.Thread(target=self._look_repeatedly, name="reading progress", daemon=True)
        self._opened = ExitStack()
        self._shares_read: Callable[[], Mapping[Path, float]] | None = None

    def __enter__(self) -> Self:
        """Start watching the files."""
        if self._total >= _LARGE:
            self._opened.enter_context(self._progress)
            self._progress.advance(0, "reading")
            self._watch.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Show the end, or where the work stopped."""
        self._stop_looking()
        if kind is None and self._shown < self._total / _MB:
            self._show(self._total, "")
        self._opened.__exit__(kind, error, trace)

    def follow(self, shares_read: Callable[[], Mapping[Path, float]]) -> None:
        """Count half of every file when it has been read as bytes, and half when its rows have been read.

        Args:
            shares_read: returns which share of each file's rows has been read, from 0 to 1, by resolved path.
        """
        self._shares_read = shares_read

    def phase(self, words: str) -> None:
        """Begin a phase after all files have been read.

        Args:
            words: name of the phase.
        """
        self._stop_looking()
        self._show(self._total, words)

    def look(self) -> None:
        """Show how much has been read so far."""
        for file, position in read_positions(self._sizes).items():
            # A file may be read more than once.
            self._furthest[file] = max(self._furthest[file], min(position, self._sizes[file]))
        read: float = sum(self._furthest.values())
        if self._shares_read is not None:
            shares = {file: share for file, share in self._shares_read().items() if file in self._sizes}
            # A small file may have been read as bytes between two looks.
            bytes_read = {**self._furthest, **{file: self._sizes[file] for file in shares}}
            read = (sum(bytes_read.values()) + sum(share * self._sizes[file] for file, share in shares.items())) / 2
        self._show(read, "sorting" if read == self._total else "reading")

    def _show(self, read: float, words: str) -> None:
        if self._total >= _LARGE:
            before, self._shown = self._shown, read / _MB
            self._progress.advance(self._shown - before, words)

    def _look_repeatedly(self) -> None:
        while not self._finished.wait(_SECONDS_BETWEEN_LOOKS):
            self.look()

    def _stop_looking(self) -> None:
        self._finished.set()
        if self._watch.is_alive():
            self._watch.join()


def read_positions(files: Collection[Path]) -> dict[Path, int]:
    """The position, in bytes, in each of these files that this process has open; empty if it is unknown.

    Args:
        files: resolved paths of the files.
    """
    found: dict[Path, int] = {}
    try:
        descriptors = list(_DESCRIPTORS.iterdir())
    except OSError:
        return found
    for descriptor in descriptors:
        try:
            file = descriptor.readlink()
            if file in files:
                position = int((_DESCRIPTORS.with_name("fdinfo") / descriptor.name).read_text().split()[1])
                found[file] = max(found.get(file, 0), position)
        except (OSError, ValueError, IndexError):
            continue  # closed in the meantime
    return found
