"""When to stop: after some epochs in a row without a better validation metric."""

from dataclasses import dataclass

__all__ = ["EarlyStopping"]


@dataclass
class EarlyStopping:
    """Remembers the best epoch; only a strictly better value counts as better.

    Attributes:
        patience: epochs in a row without a better value after which to stop.
        best: the best value so far.
        best_epoch: its epoch; 0 before the first one.
        waited: epochs since then.
    """

    patience: int
    best: float = float("-inf")
    best_epoch: int = 0
    waited: int = 0

    def update(self, epoch: int, value: float) -> bool:
        """Take in an epoch's value; returns whether it is the best so far."""
        if value > self.best:
            self.best, self.best_epoch, self.waited = value, epoch, 0
            return True
        self.waited += 1
        return False

    @property
    def should_stop(self) -> bool:
        """Whether patience has run out."""
        return self.waited >= self.patience
