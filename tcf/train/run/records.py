"""What a training leaves in its folder while it goes on: its state, its best model, its epochs."""

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
    """Keeps what epochs came to."""

    def write(self, epoch: Epoch) -> None:
        """Write an epoch that has just ended."""


class Records(Protocol):
    """Where a training reads and writes how far it has come."""

    def resume(self, trainer: Trainer) -> ResumePoint:
        """Bring a new trainer to where an earlier attempt was interrupted; says where that is."""

    def log(self, epochs: Sequence[Epoch]) -> AbstractContextManager[Log]:
        """Open the log of a training that has these epochs behind it."""

    def save(self, trainer: Trainer, resume_point: ResumePoint) -> None:
        """Save the state at the end of an epoch."""

    def save_if_due(self, trainer: Trainer, resume_point: ResumePoint) -> None:
        """Save the state within an epoch, if the last time was long ago."""

    def keep_best(self, trainer: Trainer, epoch: int) -> None:
        """Keep the model as it is now, after that epoch, as the best one."""

    def check_best(self, epoch: int) -> None:
        """Find out whether the model of that epoch is kept."""


class FolderRecords:
    """Records in a run's folder.

    Args:
        folder: held by this process.
        minutes: between two states that are saved within an epoch.
    """

    def __init__(self, folder: RunFolder, minutes: float) -> None:
        self._folder, self._seconds = folder, minutes * _SECONDS
        self._saved = time.monotonic()

    def resume(self, trainer: Trainer) -> ResumePoint:
        """See `Records`.

        Raises:
            RunError: a state is there that cannot be used.
        """
        if not self._folder.state.exists():
            return ResumePoint()
        return read_state(self._folder.state, trainer, self._folder.identity)

    def log(self, epochs: Sequence[Epoch]) -> EpochLog:
        """See `Records`."""
        return EpochLog(self._folder.path, epochs)

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
            RunError: it is missing or damaged, or another is there.
        """
        self._folder.read_model(epoch)
