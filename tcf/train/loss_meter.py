"""The mean loss of an epoch, accumulated without synchronising with the device in every step."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from tcf.common.errors import DivergedError

__all__ = ["LossMeter"]

_STEPS_BETWEEN_CHECKS = 32


@dataclass
class LossMeter:
    """Accumulates losses; reads them only every few steps, because reading synchronises with a GPU.

    Attributes:
        epoch: for messages.
        learning_rate: for messages.
        total: sum of the losses read so far, each times its number of targets.
        targets: their number of targets.
        steps: number of steps read so far.
    """

    epoch: int
    learning_rate: float
    total: float = 0.0
    targets: int = 0
    steps: int = 0
    _waiting: list[tuple[Tensor, int]] = field(default_factory=list)

    def add(self, loss: Tensor, targets: int) -> None:
        """Add a step's mean loss over this number of targets."""
        self._waiting.append((loss, targets))
        if len(self._waiting) >= _STEPS_BETWEEN_CHECKS:
            self.look()

    def mean(self) -> float:
        """Mean loss per target."""
        self.look()
        return self.total / self.targets

    def look(self) -> None:
        """Read the pending losses, and add them one by one, so that the sum does not depend on when they are read.

        Raises:
            DivergedError: a loss is not finite.
        """
        if not self._waiting:
            return
        losses = torch.stack([loss for loss, _ in self._waiting]).double().tolist()
        for loss, (_, targets) in zip(losses, self._waiting, strict=True):
            self.steps += 1
            if loss - loss != 0:
                raise DivergedError(
                    f"epoch {self.epoch}, step {self.steps}: expected a finite loss, found {loss}; nothing was "
                    f"published; try a lower --learning-rate (now {self.learning_rate:g})"
                )
            self.total += loss * targets
            self.targets += targets
        self._waiting.clear()
