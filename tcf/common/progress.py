"""The progress of a long task: a live bar in a terminal, occasional plain lines elsewhere."""

import time
from collections.abc import Callable
from types import TracebackType
from typing import Self, TextIO

from tcf.common.displays import Display, open_display
from tcf.common.units import as_rate, as_time

__all__ = ["Progress"]

_SECONDS_BETWEEN_LINES = 10.0


class Progress:
    """A context manager that shows the progress of a task.

    In a terminal it draws one live bar. Elsewhere it writes plain lines: at the start, at the end, and at most one
    every ten seconds between them, such as `extract: 8,192/16,859 items, 512 items/s, 0:00:17 left, 9,034 tokens/s`.
    `tcf.common.displays` decides where progress is shown, and whether at all.

    Args:
        label: what is being done.
        total: total amount of work, in units; None if unknown.
        unit: what is counted, in the plural.
        stream: where to write; standard error if not given.
        done: units already done by an earlier attempt; counted as done, but not in the rate.
        extra_unit: a second quantity to count, shown only as a rate.
        work: total cost of the work, if units differ in cost; the time left is then estimated from it.
        hidden_for: seconds for which nothing is shown; of a task that takes less, nothing is.
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
        work: float | None = None,
        hidden_for: float = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._label, self._total, self._unit, self._extra_unit = label, total, unit, extra_unit
        self._stream, self._clock = stream, clock
        self._start, self._done, self._extra, self._note = done, done, 0.0, ""
        self._work, self._work_start, self._work_done = work, 0.0, 0.0
        self._hidden_for = hidden_for
        self._began = self._rates_from = clock()
        self._display: Display | None = None

    def __enter__(self) -> Self:
        """Start the clock and show the start."""
        self._began = self._rates_from = self._clock()
        if not self._hidden_for:
            self._open()
        return self

    def advance(self, n: float, note: str = "", *, extra: float = 0, work: float = 0, resumed: bool = False) -> None:
        """Count finished work.

        Args:
            n: amount in `unit`.
            note: a few words to show until the next note.
            extra: amount in `extra_unit`.
            work: its share of `work`.
            resumed: whether an earlier attempt did this work, so that it does not count in rates.
        """
        self._done += n
        self._extra += extra
        self._work_done += work
        if resumed:
            self._start += n
            self._work_start += work
        self._note = note or self._note
        if self._display is None and self._hidden_for and self._clock() >= self._began + self._hidden_for:
            self._open()
        elif self._display is not None and self._display.is_due():
            self._show()

    def restart_clock(self) -> None:
        """Restart the measurement of rates; use this after preparations that are not part of the counted work."""
        self._rates_from, self._start, self._extra = self._clock(), self._done, 0.0
        self._work_start = self._work_done

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Show the end, or where the work stopped."""
        if self._display is not None:
            ending = "in" if kind is None else "stopped after"
            self._show(f"{ending} {as_time(self._clock() - self._began)}")
            self._display.close()

    def _open(self) -> None:
        self._display = open_display(
            self._label,
            self._total,
            stream=self._stream,
            seconds_between_lines=_SECONDS_BETWEEN_LINES,
            clock=self._clock,
        )
        self._show()

    def _show(self, ending: str | None = None) -> None:
        if self._display is not None:
            self._display.show(self._bar_position(), self._words(ending))

    def _bar_position(self) -> float:
        """The amount done, in units, estimated from the cost of the work done."""
        if self._total is None or not self._work or self._done >= self._total:
            return self._done
        return self._total * min(1.0, self._work_done / self._work)

    def _words(self, ending: str | None) -> str:
        elapsed = self._clock() - self._rates_from
        rate = (self._done - self._start) / elapsed if elapsed > 0 else 0.0
        of = "" if self._total is None else f"/{self._total:,.0f}"
        parts = [f"{self._done:,.0f}{of} {self._unit}" + (f" {ending}" if ending else "")]
        if rate > 0:
            parts.append(f"{as_rate(rate)} {self._unit}/s")
        left = self._seconds_left(elapsed)
        if ending is None and left is not None:
            parts.append(f"{as_time(left)} left")
        if self._extra_unit is not None and self._extra > 0 and elapsed > 0:
            parts.append(f"{as_rate(self._extra / elapsed)} {self._extra_unit}/s")
        note = f" ({self._note})" if self._note else ""
        return ", ".join(parts) + note

    def _seconds_left(self, elapsed: float) -> float | None:
        """None if the rest cannot be estimated, or if all units are done."""
        if self._total is None or self._done >= self._total:
            return None
        left, done = self._total - self._done, self._done - self._start
        if self._work:
            left, done = self._work - self._work_done, self._work_done - self._work_start
        return max(left, 0) * elapsed / done if done > 0 and elapsed > 0 else None
