"""The training part of a dataset, without validation and test targets."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tcf.common.errors import DataError
from tcf.config.train import TrainConfig
from tcf.data.histories import Histories, latest
from tcf.data.split import Split, training_counts, training_histories

__all__ = ["TrainingData", "trained_users"]


@dataclass(frozen=True)
class TrainingData:
    """The training part of a dataset.

    Attributes:
        sequences: the last items of each user with a target: those read, and one more.
        users: (len(sequences),) their indices among all users.
        counts: (n_items,) int64, how often an item occurs in training.
        positions: maximum number of items of a history that the model reads.
        left_out: number of users without a target, because they have fewer than two training items.
    """

    sequences: Histories
    users: npt.NDArray[np.int64]
    counts: npt.NDArray[np.int64]
    positions: int
    left_out: int

    @staticmethod
    def build(split: Split, n_items: int, positions: int) -> "TrainingData":
        """Extract the training part from the whole histories.

        Args:
            split: every user's items, and which of them are for training.
            n_items: size of the catalogue.
            positions: maximum number of items of a history that the model reads.

        Raises:
            DataError: no user has a target.
        """
        training = training_histories(split)
        users = np.flatnonzero(training.lengths >= 2)
        if not len(users):
            raise DataError(
                f"expected users with at least two training items, found none among {len(training)} users, so there is "
                f"nothing to learn; prepare the dataset from {'more interactions' if len(training) else 'events'}"
            )
        counts = training_counts(split, n_items)
        sequences = latest(training, positions + 1).take(users)
        return TrainingData(sequences, users, counts, positions, len(training) - len(users))

    @property
    def log_popularity(self) -> npt.NDArray[np.float32]:
        """Log of each item's share of all training interactions, (n_items,); -inf for items without any."""
        with np.errstate(divide="ignore"):
            return np.asarray(np.log(self.counts / self.counts.sum()), np.float32)

    @property
    def items(self) -> npt.NDArray[np.int64]:
        """The items that occur in training, ascending."""
        return np.flatnonzero(self.counts)


def trained_users(split: Split, config: TrainConfig) -> npt.NDArray[np.bool_]:
    """Which users a trained model represents by what it has learned, (n_users,).

    A model that reads histories represents every user with an item. One that learns an embedding for each user
    represents those with a training item: the embeddings of all others keep their random initial values.

    Args:
        split: every user's items, and which of them the model is trained on.
        config: the model's settings.
    """
    if not config.learns_users:
        return np.ones(len(split.histories), np.bool_)
    return np.asarray(split.training > 0)
