"""How far a long piece of work is: a live bar in a terminal, a plain line now and then elsewhere."""

import time
from collections.abc import Callable
from datetime import timedelta
from types import TracebackType
from typing import Self, TextIO

from tcf.common.displays import Display, open_display

__all__ = ["Progress", "clock_time"]

_SECONDS_BETWEEN_LINES = 10.0


class Progress:
    """A context manager that tells how far a piece of work is.

    In a terminal it draws one live bar. Elsewhere it writes plain lines: at the start, at the end, and at most one
    every ten seconds between them, such as `extract: 8192/16859 items, 512.3 items/s, 0:00:17 left, 9034 tokens/s`.
    `tcf.common.displays` says where, and when not at all.

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
        self._stream, self._clock = stream, clock
        self._start, self._done, self._extra, self._note = done, done, 0.0, ""
        self._began = self._rates_from = clock()
        self._display: Display | None = None

    def __enter__(self) -> Self:
        """Start the clock and show the start."""
        self._display = open_display(
            self._label,
            self._total,
            stream=self._stream,
            seconds_between_lines=_SECONDS_BETWEEN_LINES,
            clock=self._clock,
        )
        self._began = self._rates_from = self._clock()
        self._display.show(self._done, self._words())
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
        if self._display is not None and self._display.is_due():
            self._display.show(self._done, self._words())

    def restart_clock(self) -> None:
        """Let rates begin here: what came before was no work of the kind that is counted."""
        self._rates_from, self._start, self._extra = self._clock(), self._done, 0.0

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Show the end, or where the work stopped."""
        if self._display is not None:
            ending = "in" if kind is None else "stopped after"
            self._display.show(self._done, self._words(f"{ending} {clock_time(self._clock() - self._began)}"))
            self._display.close()

    def _words(self, ending: str | None = None) -> str:
        elapsed = self._clock() - self._rates_from
        rate = (self._done - self._start) / elapsed if elapsed > 0 else 0.0
        of = "" if self._total is None else f"/{self._total:.0f}"
        parts = [f"{self._done:.0f}{of} {self._unit}" + (f" {ending}" if ending else "")]
        if rate > 0:
            parts.append(f"{rate:.1f} {self._unit}/s")
            if self._total is not None and ending is None:
                parts.append(f"{clock_time(max(self._total - self._done, 0) / rate)} left")
        if self._extra_unit is not None and self._extra > 0 and elapsed > 0:
            parts.append(f"{self._extra / elapsed:.0f} {self._extra_unit}/s")
        note = f" ({self._note})" if self._note else ""
        return ", ".join(parts) + note


def clock_time(seconds: float) -> str:
    """Seconds as hours, minutes and seconds: `0:00:17`."""
    return str(timedelta(seconds=round(seconds)))
