"""The rows of a batch: whole users for a sequence model, pairs of a user and an item for a pair model.

Shapes: B rows, S items of their sequences (packed).
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
import numpy.typing as npt

from tcf.data.dataset import Histories
from tcf.train.batch.training_data import TrainingData

__all__ = ["BatchRows", "ChosenRows", "PairRows", "UserRows"]

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


class BatchRows(Protocol):
    """All rows of an epoch."""

    def __len__(self) -> int:
        """Number of rows."""

    @property
    def n_targets(self) -> int:
        """Number of targets of all rows."""

    def choose(self, rows: Places) -> ChosenRows:
        """The rows with these indices, in this order."""


@dataclass(frozen=True)
class UserRows:
    """One row per user: all items but the last are read, all but the first are targets, all are candidates and masked.

    Attributes:
        data: the training part of a dataset.
    """

    data: TrainingData

    def __len__(self) -> int:
        """Number of users with a target."""
        return len(self.data.sequences)

    @property
    def n_targets(self) -> int:
        """Number of targets: every item but each user's first."""
        return len(self.data.sequences.items) - len(self)

    def choose(self, rows: Places) -> ChosenRows:
        """The rows of these users."""
        sequences = self.data.sequences.take(rows)
        read, target = (np.ones(len(sequences.items), np.bool_) for _ in range(2))
        read[sequences.offsets[1:] - 1] = False
        target[sequences.offsets[:-1]] = False
        every = np.ones_like(read)
        return ChosenRows(self.data.users[rows], sequences, read, target, every, every)


@dataclass(frozen=True)
class PairRows:
    """One row per pair of a user and one of the user's items (study, DSSM): that item is target and candidate.

    The user's history without the target is masked, so other occurrences of the target remain candidates.

    Attributes:
        data: the training part of a dataset.
        reads_history: whether the model reads that history.
    """

    data: TrainingData
    reads_history: bool

    def __len__(self) -> int:
        """Number of pairs."""
        return len(self.data.sequences.items)

    @property
    def n_targets(self) -> int:
        """Number of targets: one per pair."""
        return len(self)

    def choose(self, rows: Places) -> ChosenRows:
        """The rows of these pairs."""
        offsets = self.data.sequences.offsets
        owners = np.searchsorted(offsets, rows, side="right") - 1
        sequences = self.data.sequences.take(owners)
        target = np.zeros(len(sequences.items), np.bool_)
        target[sequences.offsets[:-1] + rows - offsets[owners]] = True
        others = sequences.items != np.repeat(self.data.sequences.items[rows], sequences.lengths)
        read = others if self.reads_history else np.zeros_like(others)
        return ChosenRows(self.data.users[owners], sequences, read, target, target, others)
