"""Where progress is shown: a live bar in a terminal, plain lines elsewhere, records in a log that a caller configured.

It is shown on standard error unless the logger `tcf`, or `tcf.progress` below it, has a level above INFO. A caller that
has configured logging at level INFO with its own handlers gets the lines as records of `tcf.progress` instead.
"""

import io
import logging
import os
import sys
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, TextIO, cast

from tcf.common.logs import shows_here, write_text
from tcf.common.untrusted.printable import printable

if TYPE_CHECKING:
    from rich.progress import TaskID

__all__ = ["Display", "open_display"]

_SECONDS_BETWEEN_FRAMES = 0.1


class Display(Protocol):
    """Where progress is shown."""

    def is_due(self) -> bool:
        """Whether enough time has passed to show the work's progress again."""

    def show(self, done: float, words: str) -> None:
        """Show progress.

        Args:
            done: how much of the total is done.
            words: the progress in words.
        """

    def note(self, text: str) -> None:
        """Write a permanent line."""

    def close(self) -> None:
        """End the display."""


def open_display(
    label: str,
    total: float | None,
    *,
    stream: TextIO | None,
    seconds_between_lines: float,
    clock: Callable[[], float],
) -> Display:
    """Choose the display for a task.

    Args:
        label: what is being done.
        total: total amount of work; None if unknown.
        stream: where to write; None for standard error or the log.
        seconds_between_lines: minimum time between two lines, if progress is shown in lines.
        clock: seconds on a clock that never goes back.
    """
    logger = logging.getLogger("tcf.progress")
    if stream is None and max(logger.level, logging.getLogger("tcf").level) > logging.INFO:
        return _Nowhere()
    if stream is None and not shows_here() and logger.isEnabledFor(logging.INFO) and logger.hasHandlers():
        return _Lines(label, logger.info, seconds_between_lines, clock)
    place = sys.stderr if stream is None else stream
    if place is None:  # closed before this process began
        return _Nowhere()
    if place.isatty() and os.environ.get("TERM") != "dumb":
        return _Bar(label, total, place, clock)
    return _Lines(label, lambda line: write_text(f"{printable(line)}\n", place), seconds_between_lines, clock)


class _Nowhere:
    """Shows nothing."""

    def is_due(self) -> bool:
        return False

    def show(self, done: float, words: str) -> None:
        """See `Display`."""

    def note(self, text: str) -> None:
        """See `Display`."""

    def close(self) -> None:
        """See `Display`."""


class _Lines:
    """Plain lines for a file, a pipe, a notebook or a log, few enough to keep."""

    def __init__(
        self, label: str, write: Callable[[str], None], seconds_between: float, clock: Callable[[], float]
    ) -> None:
        self._label, self._write, self._seconds_between, self._clock = label, write, seconds_between, clock
        self._next = float("-inf")

    def is_due(self) -> bool:
        return self._clock() >= self._next

    def show(self, done: float, words: str) -> None:
        self.note(f"{self._label}: {words}")

    def note(self, text: str) -> None:
        self._write(text)
        self._next = self._clock() + self._seconds_between

    def close(self) -> None:
        """Lines need no end."""


class _Bar:
    """A live bar."""

    def __init__(self, label: str, total: float | None, stream: TextIO, clock: Callable[[], float]) -> None:
        self._clock, self._next = clock, float("-inf")
        # A task inside another task draws its bar below the other one.
        self._bars = stream if isinstance(stream, _LiveBars) else _LiveBars(stream)
        self._number = self._bars.add(printable(label), total)

    def is_due(self) -> bool:
        return self._clock() >= self._next

    def show(self, done: float, words: str) -> None:
        self._bars.update(self._number, done, printable(words))
        self._next = self._clock() + _SECONDS_BETWEEN_FRAMES

    def note(self, text: str) -> None:
        self._bars.write(f"{printable(text)}\n")

    def close(self) -> None:
        self._bars.end(self._number)


class _LiveBars(io.TextIOBase):
    """Bars at the bottom of a terminal, drawn by rich, and the stream above them.

    It replaces standard error while there are bars, so that all output appears above them, line by line.
    """

    def __init__(self, stream: TextIO) -> None:
        # Imported only for a terminal, because importing rich is slow.
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn
        from rich.progress import Progress as RichProgress

        self._stream, self._lock = stream, threading.RLock()
        self._unfinished, self._open = "", 0
        console = Console(file=cast(TextIO, _Unfailing(stream)), force_terminal=True)
        width = max(5, min(30, console.width - 80))
        words = TextColumn("{task.fields[words]}", markup=False)
        columns = (TextColumn("{task.description}", markup=False), BarColumn(bar_width=width), words)
        # Lines on standard output, if it is the same terminal, appear above the bars too.
        to_terminal = sys.stdout is not None and sys.stdout.isatty()
        self._rich = RichProgress(*columns, console=console, redirect_stdout=to_terminal, redirect_stderr=False)

    def add(self, label: str, total: float | None) -> "TaskID":
        """Add a bar; returns its number."""
        with self._lock:
            self._open += 1
            if self._open == 1:
                self._rich.start()
                if sys.stderr is self._stream:
                    sys.stderr = cast(TextIO, self)
            return self._rich.add_task(label, total=total, words="")

    def update(self, number: "TaskID", done: float, words: str) -> None:
        """Update a bar; it is drawn with the next frame."""
        self._rich.update(number, completed=done, words=words)

    def end(self, number: "TaskID") -> None:
        """End a bar. The last one remains visible; an earlier one is replaced by a line."""
        with self._lock:
            self._open -= 1
            if self._open:
                [task] = [task for task in self._rich.tasks if task.id == number]
                self._rich.remove_task(task.id)
                self.write(f"{task.description}: {task.fields['words']}\n")
                return
            if self._unfinished:
                self.write("\n")
            self._rich.stop()
            if sys.stderr is self:
                sys.stderr = self._stream

    def write(self, text: str) -> int:
        """Write above the bars, whole lines only."""
        from rich.text import Text

        with self._lock:
            *lines, self._unfinished = (self._unfinished + text).split("\n")
            if lines:
                above = Text("\n").join(Text.from_ansi(line) for line in lines)
                self._rich.console.print(above, soft_wrap=True, highlight=False)
        return len(text)

    def isatty(self) -> bool:
        """True, because the stream is a terminal."""
        return True

    def fileno(self) -> int:
        """The stream's file descriptor."""
        return self._stream.fileno()


class _Unfailing:
    """A stream whose reader may have gone: text that cannot be written is dropped."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        write_text(text, self._stream)
        return len(text)

    def flush(self) -> None:
        """Do nothing, because each write flushes."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
