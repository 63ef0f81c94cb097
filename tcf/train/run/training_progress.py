"""The progress of training: one live bar over all epochs in a terminal, and one line per epoch everywhere."""

import math
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self, TextIO

from tcf.common.displays import Display, open_display
from tcf.common.units import as_percent, as_rate, as_time, counted
from tcf.train.run.epoch_log import Epoch

__all__ = ["TrainingProgress"]

_SECONDS_BETWEEN_LINES = 60.0


class TrainingProgress:
    """A context manager that shows the progress of training.

    The time left is that of all epochs, although training may stop early. Within an epoch, lines are written at most
    once a minute.

    Args:
        epochs: maximum number of epochs; of a refit, their number.
        steps: number of steps in an epoch.
        monitor: name of the metric that chooses the best epoch; None for a refit, which measures none.
        epochs_done: number of epochs finished by an earlier attempt.
        steps_done: number of steps that it did in the epoch after those.
        stream: where to write; standard error if not given.
        clock: seconds on a clock that never goes back.
    """

    def __init__(
        self,
        epochs: int,
        steps: int,
        monitor: str | None,
        *,
        epochs_done: int = 0,
        steps_done: int = 0,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._epochs, self._steps, self._monitor = epochs, steps, monitor
        self._at_most = "at most " if monitor is not None else ""
        self._epoch, self._step = epochs_done, steps_done
        self._stream, self._clock = stream, clock
        # Of this process: seconds in steps, number of steps, seconds between epochs, and number of finished epochs.
        self._stepping, self._stepped, self._between, self._ended = 0.0, 0, 0.0, 0
        self._began = self._epoch_began = self._last = clock()
        self._display: Display | None = None
        self._best = ""

    def __enter__(self) -> Self:
        """Start the clock and show the start."""
        self._display = open_display(
            "train",
            self._epochs * self._steps,
            stream=self._stream,
            seconds_between_lines=_SECONDS_BETWEEN_LINES,
            clock=self._clock,
        )
        self._began = self._epoch_began = self._last = self._clock()
        if self._epoch or self._step:
            step = f", step {self._step:,} of {self._steps:,}" if self._step else ""
            self._display.note(f"train: resuming at epoch {self._epoch + 1}{step}")
        else:
            self._display.note(
                f"train: {self._at_most}{counted(self._epochs, 'epoch')} of {counted(self._steps, 'step')}"
            )
        return self

    def step(self) -> None:
        """Count a finished step."""
        self._step += 1
        self._stepped += 1
        now = self._clock()
        self._stepping, self._last = self._stepping + now - self._last, now
        if self._display is not None and self._display.is_due():
            self._display.show(self._epoch * self._steps + self._step, self._words())

    def end_epoch(self, epoch: Epoch, best: float | None, best_epoch: int) -> None:
        """Write the line of an epoch that has been evaluated and saved.

        Args:
            epoch: the epoch.
            best: the best value so far of the metric that chooses the best epoch; None for a refit.
            best_epoch: the epoch with this value.
        """
        now = self._clock()
        self._between, self._last = self._between + now - self._last, now
        self._ended += 1
        self._epoch, self._step = epoch.number, 0
        seconds, self._epoch_began = now - self._epoch_began, now
        measured = ""
        if best is not None:
            measured = _measured(epoch, best_epoch)
            self._best = f"best validation {self._monitor} {as_percent(best)}, epoch {best_epoch}"
        if self._display is not None:
            self._display.note(
                f"train: epoch {epoch.number} of {self._at_most}{self._epochs}: loss {epoch.loss:.4f}, {measured}"
                f"{as_rate(epoch.examples_per_second)} examples/s, {as_time(seconds)}{self._left('; ')}"
            )

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Show the end, or where the training stopped."""
        if self._display is None:
            return
        where = counted(self._epoch, "epoch") if kind is None else f"epoch {self._epoch + 1}, step {self._step:,}"
        ending = "in" if kind is None else "stopped after"
        best = f"; {self._best}" if self._best else ""
        words = f"{where} {ending} {as_time(self._clock() - self._began)}{best}"
        self._display.show(self._epoch * self._steps + self._step, words)
        self._display.close()

    def _words(self) -> str:
        rate = f", {as_rate(self._stepped / self._stepping)} steps/s" if self._stepping > 0 else ""
        best = f" ({self._best})" if self._best else ""
        return (
            f"epoch {self._epoch + 1} of {self._at_most}{self._epochs}: step {self._step:,} of {self._steps:,}{rate}"
            f"{self._left(', ')}{best}"
        )

    def _left(self, separator: str) -> str:
        """The time left in words; empty after the last epoch."""
        seconds = self._seconds_left()
        return f"{separator}{self._at_most}{as_time(math.ceil(seconds))} left" if seconds else ""

    def _seconds_left(self) -> float:
        """Time for all remaining steps and, once its duration is known, for validation after all remaining epochs."""
        epochs = self._epochs - self._epoch
        steps = epochs * self._steps - self._step
        a_step = self._stepping / self._stepped if self._stepped else 0.0
        an_end = self._between / self._ended if self._ended else 0.0
        return steps * a_step + epochs * an_end


def _measured(epoch: Epoch, best_epoch: int) -> str:
    """The metrics of an epoch, and which epoch is the best so far."""
    metrics = ", ".join(f"{name} {as_percent(value)}" for name, value in epoch.metrics.items())
    best = "best so far" if best_epoch == epoch.number else f"the best is epoch {best_epoch}"
    return f"validation {metrics} ({best}), "
