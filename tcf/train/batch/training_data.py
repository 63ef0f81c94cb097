"""The training part of a dataset, without validation and test targets.

Shapes: n_items items, n users with a target.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tcf.common.errors import DataError
from tcf.common.ragged import spans
from tcf.config.train import TrainConfig
from tcf.data.histories import Histories
from tcf.data.split import Split

__all__ = ["TrainingData", "occurrences_in", "pieces", "trained_users"]

Places = npt.NDArray[np.int64]

_AT_ONCE = 1 << 22  # items whose positions are in memory at once, in 8 bytes each


@dataclass(frozen=True)
class TrainingData:
    """The training part of a dataset: the items of user users[i] are histories.items[starts[i]:stops[i]].

    Attributes:
        histories: all items of all users, shared with the dataset; at 10^8 interactions a copy would matter.
        users: (n,) users with a target, as indices among all users.
        starts: (n,) where the training items of each begin.
        stops: (n,) where they end.
        counts: (n_items,) int64, how often an item occurs in training.
        positions: maximum number of items of a history that the model reads.
        left_out: number of users without a target, because they have too few training items.
    """

    histories: Histories
    users: Places
    starts: Places
    stops: Places
    counts: Places
    positions: int
    left_out: int

    @staticmethod
    def build(split: Split, n_items: int, positions: int, fewest: int = 2) -> "TrainingData":
        """Find the training part of the whole histories.

        Args:
            split: every user's items, and which of them are for training.
            n_items: size of the catalogue.
            positions: maximum number of items of a history that the model reads.
            fewest: training items that a user needs for a target: 2 for models that read one before predicting another.

        Raises:
            DataError: no user has a target.
        """
        users = np.flatnonzero(split.training >= fewest)
        if not len(users):
            n_users, needed = len(split.histories), "two training items" if fewest > 1 else "one training item"
            raise DataError(
                f"expected users with at least {needed}, found none among {n_users} users, so there is nothing to "
                f"learn; prepare the dataset from {'more interactions' if n_users else 'events'}"
            )
        starts, stops = split.training_starts, split.training_stops
        counts = occurrences_in(split.histories, starts, stops, n_items)
        left_out = len(split.histories) - len(users)
        return TrainingData(split.histories, users, starts[users], stops[users], counts, positions, left_out)

    @property
    def lengths(self) -> Places:
        """Number of training items of each user, (n,)."""
        lengths: Places = self.stops - self.starts
        return lengths

    @property
    def items(self) -> Places:
        """The items that occur in training, ascending."""
        return np.flatnonzero(self.counts)


def pieces(lengths: Places) -> Iterator[slice]:
    """Slices of rows that together have a bounded number of items, in order; a longer row is a slice of its own."""
    ends, start = np.cumsum(lengths), 0
    while start < len(lengths):
        before = int(ends[start - 1]) if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, before + _AT_ONCE, side="right")))
        yield slice(start, stop)
        start = stop


def occurrences_in(histories: Histories, starts: Places, stops: Places, n_items: int) -> Places:
    """How often each item occurs in the rows histories.items[starts[i]:stops[i]], (n_items,)."""
    lengths, counts = stops - starts, np.zeros(n_items, np.int64)
    for part in pieces(lengths):
        counts += np.bincount(histories.items[spans(starts[part], lengths[part])], minlength=n_items)
    return counts


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
