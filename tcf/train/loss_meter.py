"""The mean loss of an epoch, added up without waiting for the device in every step."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from tcf.common.errors import DivergedError

__all__ = ["LossMeter"]

_STEPS_BETWEEN_CHECKS = 32


@dataclass
class LossMeter:
    """Adds up losses; looks at them now and then, because looking makes a GPU wait.

    Attributes:
        epoch: for messages.
        learning_rate: for messages.
        total: sum of the losses looked at, each times its targets.
        targets: how many these were.
        steps: steps looked at.
    """

    epoch: int
    learning_rate: float
    total: float = 0.0
    targets: int = 0
    steps: int = 0
    _waiting: list[tuple[Tensor, int]] = field(default_factory=list)

    def add(self, loss: Tensor, targets: int) -> None:
        """Take in a step's mean loss over so many targets."""
        self._waiting.append((loss, targets))
        if len(self._waiting) >= _STEPS_BETWEEN_CHECKS:
            self.look()

    def mean(self) -> float:
        """Mean loss a target."""
        self.look()
        return self.total / self.targets

    def look(self) -> None:
        """Add up what waits, one step after the other: when it is looked at changes no bit of the sum.

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
