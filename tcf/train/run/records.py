"""What a training writes into its folder while it runs: its state, its best model, its epochs."""

import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from tcf.train.run.epoch_log import Epoch, EpochLog
from tcf.train.run.resume_state import ResumePoint, read_state, write_state
from tcf.train.run.run_folder import RunFolder
from tcf.train.trainer import Trainer

__all__ = ["FolderRecords", "Log", "Records"]

_SECONDS = 60


class Log(Protocol):
    """Reports the results of epochs."""

    def write(self, epoch: Epoch, best: float, best_epoch: int) -> None:
        """Tell about an epoch, the best value so far of the metric that chooses the best epoch, and its epoch."""


class Records(Protocol):
    """Stores and restores the progress of a training."""

    def resume(self, trainer: Trainer) -> ResumePoint:
        """Restore a new trainer to where an earlier attempt was interrupted; returns that position."""

    def log(self, epochs: Sequence[Epoch]) -> AbstractContextManager[Log]:
        """Open the log of a training in which these epochs are finished."""

    def save(self, trainer: Trainer, resume_point: ResumePoint) -> None:
        """Save the state at the end of an epoch."""

    def save_if_due(self, trainer: Trainer, resume_point: ResumePoint) -> None:
        """Save the state within an epoch, if the last save was long enough ago."""

    def keep_best(self, trainer: Trainer, epoch: int) -> None:
        """Keep the current model, after that epoch, as the best one."""

    def check_best(self, epoch: int) -> None:
        """Check that the kept model is that of this epoch."""


class FolderRecords:
    """Records in a run's folder.

    Args:
        folder: the run's folder, leased by this process.
        minutes: time between two saves within an epoch.
    """

    def __init__(self, folder: RunFolder, minutes: float) -> None:
        self._folder, self._seconds = folder, minutes * _SECONDS
        self._saved = time.monotonic()

    def resume(self, trainer: Trainer) -> ResumePoint:
        """See `Records`.

        Raises:
            RunError: the saved state cannot be used.
        """
        if not self._folder.state.exists():
            return ResumePoint()
        return read_state(self._folder.state, trainer, self._folder.identity)

    def log(self, epochs: Sequence[Epoch]) -> EpochLog:
        """See `Records`."""
        return EpochLog(self._folder.path, self._folder.settings["monitor"], epochs)

    def save(self, trainer: Trainer, resume_point: ResumePoint) -> None:
        """See `Records`.

        Raises:
            RunError: another process has taken over, or the state cannot be written.
        """
        self._folder.check_held()
        write_state(self._folder.state, trainer, resume_point, self._folder.identity)
        self._saved = time.monotonic()

    def save_if_due(self, trainer: Trainer, resume_point: ResumePoint) -> None:
        """See `Records`."""
        if time.monotonic() - self._saved >= self._seconds:
            self.save(trainer, resume_point)

    def keep_best(self, trainer: Trainer, epoch: int) -> None:
        """See `Records`."""
        self._folder.write_model(trainer.model, epoch)

    def check_best(self, epoch: int) -> None:
        """See `Records`.

        Raises:
            RunError: the model is missing or damaged, or is another epoch's.
        """
        self._folder.read_model(epoch)
