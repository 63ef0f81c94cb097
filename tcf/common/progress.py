"""How far a long piece of work is: a live bar in a terminal, a plain line now and then elsewhere."""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from types import TracebackType
from typing import Protocol, Self, TextIO

__all__ = ["Progress"]

_SECONDS_BETWEEN_LINES = 10.0


class Progress:
    """A context manager that tells how far a piece of work is.

    In a terminal it draws one live bar. Elsewhere it writes plain lines: at the start, at the end, and at most one
    every ten seconds between them, such as `extract: 8192/16859 items, 512.3 items/s, 0:00:17 left, 9034 tokens/s`.

    Args:
        label: what is being done.
        total: how much there is to do, in units; None if that is not known.
        unit: what is counted, in the plural.
        stream: where to write; standard error if not given.
        done: how much an earlier attempt has done already; counted as done, not in the rate.
        extra_unit: a second thing to count, shown as a rate only.
        clock: seconds on a clock that never goes back.
    """

    def __init__(
        self,
        label: str,
        total: float | None,
        unit: str,
        stream: TextIO | None = None,
        *,
        done: float = 0,
        extra_unit: str | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._label, self._total, self._unit, self._extra_unit = label, total, unit, extra_unit
        self._stream = sys.stderr if stream is None else stream
        self._clock = clock
        self._start, self._done, self._extra, self._note = done, done, 0.0, ""
        self._began = self._rates_from = clock()
        self._display: _Display = _Lines(self._stream, clock)

    def __enter__(self) -> Self:
        """Start the clock and show the start."""
        if self._stream.isatty():
            self._display = _Bar(self._stream, self._label, self._total)
        self._began = self._rates_from = self._clock()
        self._display.show(self._state(), always=True)
        return self

    def advance(self, n: float, note: str = "", *, extra: float = 0) -> None:
        """Count work that has just been done.

        Args:
            n: how much of `unit`.
            note: a few words to show from now on, until the next note.
            extra: how much of `extra_unit`.
        """
        self._done += n
        self._extra += extra
        self._note = note or self._note
        self._display.show(self._state(), always=False)

    def restart_clock(self) -> None:
        """Let rates begin here: what came before was no work of the kind that is counted."""
        self._rates_from, self._start, self._extra = self._clock(), self._done, 0.0

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Show the end, or where the work stopped."""
        ending = "in" if kind is None else "stopped after"
        state = self._state(f"{ending} {_spell_seconds(self._clock() - self._began)}")
        self._display.show(state, always=True)
        self._display.close()

    def _state(self, ending: str | None = None) -> "_State":
        elapsed = self._clock() - self._rates_from
        rate = (self._done - self._start) / elapsed if elapsed > 0 else 0.0
        of = "" if self._total is None else f"/{self._total:.0f}"
        parts = [f"{self._done:.0f}{of} {self._unit}" + (f" {ending}" if ending else "")]
        if rate > 0:
            parts.append(f"{rate:.1f} {self._unit}/s")
            if self._total is not None and ending is None:
                parts.append(f"{_spell_seconds(max(self._total - self._done, 0) / rate)} left")
        if self._extra_unit is not None and self._extra > 0 and elapsed > 0:
            parts.append(f"{self._extra / elapsed:.0f} {self._extra_unit}/s")
        note = f" ({self._note})" if self._note else ""
        return _State(self._label, self._done, ", ".join(parts) + note)


@dataclass(frozen=True)
class _State:
    """One moment of the work: its label, how much is done, and that in words."""

    label: str
    done: float
    words: str


class _Display(Protocol):
    """Where progress is shown."""

    def show(self, state: _State, *, always: bool) -> None:
        """Show a moment of the work; unless `always`, it may be passed over."""

    def close(self) -> None:
        """Nothing more will be shown."""


class _Lines:
    """Plain lines for a file or a pipe, rarely enough to be kept."""

    def __init__(self, stream: TextIO, clock: Callable[[], float]) -> None:
        self._stream, self._clock = stream, clock
        self._next = float("-inf")

    def show(self, state: _State, *, always: bool) -> None:
        if not always and self._clock() < self._next:
            return
        print(f"{state.label}: {state.words}", file=self._stream, flush=True)
        self._next = self._clock() + _SECONDS_BETWEEN_LINES

    def close(self) -> None:
        """Lines need no end."""


class _Bar:
    """A live bar, drawn by rich."""

    def __init__(self, stream: TextIO, label: str, total: float | None) -> None:
        # Only where there is a terminal: rich takes a while to import.
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn
        from rich.progress import Progress as RichProgress

        words = TextColumn("{task.fields[words]}", markup=False)
        columns = (TextColumn("{task.description}", markup=False), BarColumn(bar_width=30), words)
        self._bar = RichProgress(*columns, console=Console(file=stream))
        self._task = self._bar.add_task(label, total=total, words="")
        self._bar.start()

    def show(self, state: _State, *, always: bool) -> None:
        self._bar.update(self._task, completed=state.done, words=state.words, refresh=always)

    def close(self) -> None:
        self._bar.stop()


def _spell_seconds(seconds: float) -> str:
    """Seconds as hours, minutes and seconds."""
    return str(timedelta(seconds=round(seconds)))
