"""The log that a run writes after every epoch: a JSON Lines file, and events for TensorBoard."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from torch.utils.tensorboard import SummaryWriter

from tcf.common.files import publish_file, writing
from tcf.ranking.metrics import VALIDATION_METRICS
from tcf.train.run.file_names import EPOCHS, EVENTS

__all__ = ["Epoch", "EpochLog"]


@dataclass(frozen=True)
class Epoch:
    """The result of an epoch.

    Attributes:
        number: counted from 1.
        loss: mean training loss per target.
        metrics: validation metrics by name, as fractions; empty for a refit, which has no validation.
        examples_per_second: training targets per second, not counting validation.
    """

    number: int
    loss: float
    metrics: Mapping[str, float]
    examples_per_second: float

    def as_state(self) -> dict[str, Any]:
        """The epoch as JSON values, for the state of an unfinished run."""
        return {
            "number": self.number,
            "loss": self.loss,
            **{metric.key: self.metrics[metric.name] for metric in VALIDATION_METRICS if self.metrics},
            "examples_per_second": self.examples_per_second,
        }

    @staticmethod
    def from_state(values: Mapping[str, Any], *, measured: bool) -> "Epoch":
        """The epoch from the values of `as_state`.

        Args:
            values: the values.
            measured: whether its run has a validation.

        Raises:
            KeyError: a value is missing.
        """
        metrics = {metric.name: values[metric.key] for metric in VALIDATION_METRICS if measured}
        return Epoch(values["number"], values["loss"], metrics, values["examples_per_second"])


class EpochLog:
    """A context manager that writes every epoch to `epochs.jsonl` and `events/`.

    `epochs.jsonl` holds no times, so that equal runs write equal bytes.

    Args:
        folder: the run's directory.
        epochs: the finished epochs; anything else that an interrupted attempt wrote is dropped.
    """

    def __init__(self, folder: Path, epochs: Sequence[Epoch] = ()) -> None:
        self._folder = folder
        with writing(folder):
            publish_file(folder / EPOCHS, "".join(_line(epoch) for epoch in epochs).encode())
            self._lines = (folder / EPOCHS).open("a", encoding="utf-8")
            self._events = SummaryWriter(str(folder / EVENTS), purge_step=len(epochs) + 1)

    def __enter__(self) -> Self:
        """Return the log, whose files are already open."""
        return self

    def write(self, epoch: Epoch) -> None:
        """Write a finished epoch."""
        with writing(self._folder):
            self._lines.write(_line(epoch))
            self._lines.flush()
            self._write_events(epoch)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the files."""
        with writing(self._folder):
            self._lines.close()
            self._events.close()

    def _write_events(self, epoch: Epoch) -> None:
        scalars = {
            "train/loss": epoch.loss,
            "train/examples_per_second": epoch.examples_per_second,
            **{f"validation/{name}": value for name, value in epoch.metrics.items()},
        }
        for tag, value in scalars.items():
            self._events.add_scalar(tag, value, epoch.number)
        self._events.flush()


def _line(epoch: Epoch) -> str:
    numbers = {"epoch": epoch.number, "loss": epoch.loss, **epoch.metrics}
    return json.dumps(numbers, allow_nan=False) + "\n"
