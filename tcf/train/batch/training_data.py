"""What training sees of a dataset: nothing of the validation and test targets."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tcf.common.errors import DataError
from tcf.data.histories import Histories, latest
from tcf.data.split import Split, training_counts, training_histories

__all__ = ["TrainingData"]


@dataclass(frozen=True)
class TrainingData:
    """The training part of a dataset.

    Attributes:
        sequences: the last items of each user that has a target: those read, and one more.
        users: (len(sequences),) their index among all users.
        counts: (n_items,) int64, how often an item occurs in training.
        positions: items of a history that the model reads.
        left_out: users without a target, because they have fewer than two training items.
    """

    sequences: Histories
    users: npt.NDArray[np.int64]
    counts: npt.NDArray[np.int64]
    positions: int
    left_out: int

    @staticmethod
    def build(split: Split, n_items: int, positions: int) -> "TrainingData":
        """Cut the training part out of the whole histories.

        Args:
            split: every user's items, and which of them are for training.
            n_items: size of the catalogue.
            positions: items of a history that the model reads.

        Raises:
            DataError: no user has a target.
        """
        training = training_histories(split)
        users = np.flatnonzero(training.lengths >= 2)
        if not len(users):
            raise DataError("no user has two training items, so there is nothing to learn; prepare a larger dataset")
        counts = training_counts(split, n_items)
        sequences = latest(training, positions + 1).take(users)
        return TrainingData(sequences, users, counts, positions, len(training) - len(users))

    @property
    def log_popularity(self) -> npt.NDArray[np.float32]:
        """Log of each item's share in all training items, (n_items,); -inf where it has none."""
        with np.errstate(divide="ignore"):
            return np.asarray(np.log(self.counts / self.counts.sum()), np.float32)

    @property
    def items(self) -> npt.NDArray[np.int64]:
        """The items that occur in training, rising."""
        return np.flatnonzero(self.counts)
