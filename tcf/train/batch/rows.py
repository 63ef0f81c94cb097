"""The rows of a batch: a window of a user's history for a sequence model, a pair of user and item for a pair model.

Shapes: B rows, S items of their sequences (packed), R rows of an epoch, n users.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
import numpy.typing as npt

from tcf.data.histories import Histories
from tcf.train.batch.training_data import occurrences_in

__all__ = ["BatchRows", "ChosenRows", "EpochRows", "Marks", "Places", "UserRows"]

Places = npt.NDArray[np.int64]
Marks = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class ChosenRows:
    """Rows of a batch, with the roles of their items.

    Attributes:
        users_B: each row's user, as an index among all users.
        sequences: each row's items, oldest first.
        read_S: items that the model reads.
        target_S: items that are targets; every row has at least one.
        candidate_S: items that are candidates of the in-batch softmax.
        masked_S: items that are not candidates for the row's targets, except at a target's own position.
    """

    users_B: Places
    sequences: Histories
    read_S: Marks
    target_S: Marks
    candidate_S: Marks
    masked_S: Marks

    @cached_property
    def owners_S(self) -> Places:
        """The row of each item."""
        return np.repeat(np.arange(len(self.sequences)), self.sequences.lengths)


class EpochRows(Protocol):
    """The rows of one epoch."""

    def choose(self, rows: Places) -> ChosenRows:
        """The rows with these indices, in this order."""


class BatchRows(Protocol):
    """The rows of every epoch, whose number is always the same."""

    def __len__(self) -> int:
        """Number of rows."""

    @property
    def n_targets(self) -> int:
        """Number of targets of all rows."""

    def candidate_counts(self, n_items: int) -> npt.NDArray[np.int64 | np.float64]:
        """How often each item is a candidate of the in-batch softmax in an epoch, or is expected to be, (n_items,)."""

    def in_epoch(self, seed: int, epoch: int) -> EpochRows:
        """The rows of an epoch, counted from 1: a function of seed and epoch alone."""


@dataclass(frozen=True)
class UserRows:
    """Windows of users' histories: all items but the last are read, all but the first are targets, all are masked.

    All are candidates, too.

    Attributes:
        histories: all items of all users.
        users_R: each row's user, as an index among all users.
        starts_R: where each row begins in `histories.items`.
        stops_R: where it ends, at least two items later.
    """

    histories: Histories
    users_R: Places
    starts_R: Places
    stops_R: Places

    def __len__(self) -> int:
        """Number of windows."""
        return len(self.users_R)

    @property
    def n_targets(self) -> int:
        """Number of targets: every item but each window's first."""
        return int((self.stops_R - self.starts_R).sum()) - len(self)

    def candidate_counts(self, n_items: int) -> Places:
        """See `BatchRows`: how often each item occurs in the windows."""
        return occurrences_in(self.histories, self.starts_R, self.stops_R, n_items)

    def in_epoch(self, seed: int, epoch: int) -> "UserRows":
        """See `BatchRows`: the same in every epoch."""
        return self

    def choose(self, rows: Places) -> ChosenRows:
        """See `EpochRows`."""
        sequences = self.histories.slice(self.starts_R[rows], self.stops_R[rows])
        read, target = (np.ones(len(sequences.items), np.bool_) for _ in range(2))
        read[sequences.offsets[1:] - 1] = False
        target[sequences.offsets[:-1]] = False
        every = np.ones_like(read)
        return ChosenRows(self.users_R[rows], sequences, read, target, every, every)
