"""Splits of histories into training items, validation targets and test targets.

Both kinds of split have the same form. The first items of a history are for training; the next one, unless it is the
test target, is the validation target; the last one is the test target, if the user has one. Items between the
validation target and the test target are input of the test query and never trained on.

- Leave-one-out (study, section on evaluation): the last item is the test target, the one before it the validation
  target.
- By time: items before the validation period are for training; a user's first item in that period is the validation
  target; the first item in the test period, which ends the history, is the test target.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from tcf.common.errors import DataError
from tcf.data.histories import Histories, occurrences
from tcf.data.npy_files import shape_words

__all__ = [
    "Part",
    "Queries",
    "Split",
    "by_time",
    "held_out",
    "leave_one_out",
    "per_user",
    "training_counts",
    "training_histories",
]

Part = Literal["test", "validation"]


@dataclass(frozen=True)
class Split:
    """Histories, and the use of each of their items.

    Attributes:
        histories: every user's items, oldest first.
        training: (n_users,) int32, number of each user's first items that are for training.
        tested: (n_users,) bool, whether a user's last item is a test target.
    """

    histories: Histories
    training: npt.NDArray[np.int32]
    tested: npt.NDArray[np.bool_]

    def __post_init__(self) -> None:
        """Check that the parts match the histories.

        Raises:
            DataError: types, shapes or numbers are wrong.
        """
        n_users = len(self.histories)
        if self.training.dtype != np.int32 or self.training.shape != (n_users,):
            raise _mismatch(f"int32 numbers of training items for {n_users} users", self.training)
        if self.tested.dtype != np.bool_ or self.tested.shape != (n_users,):
            raise _mismatch(f"bool marks of test targets for {n_users} users", self.tested)
        beyond = (self.training < 0) | (self.training + self.tested > self.histories.lengths)
        if beyond.any():
            user = int(np.argmax(beyond))
            raise DataError(
                f"split: expected at most the {self.histories.lengths[user]} items of user {user} (counted from 0), "
                f"found {self.training[user]} for training and {int(self.tested[user])} for test; prepare the dataset "
                "again"
            )

    @property
    def starts(self) -> npt.NDArray[np.int64]:
        """Start of each history in `histories.items`, (n_users,)."""
        return self.histories.offsets[:-1]

    @property
    def training_stops(self) -> npt.NDArray[np.int64]:
        """End of the training part of each history in `histories.items`, (n_users,)."""
        stops: npt.NDArray[np.int64] = self.starts + self.training
        return stops

    def target_positions(self, part: Part) -> npt.NDArray[np.int64]:
        """Return the positions of the targets of a part in `histories.items`, (n_users,); -1 for users without one."""
        if part == "test":
            return np.where(self.tested, self.histories.offsets[1:] - 1, -1)
        there = self.training + self.tested < self.histories.lengths
        return np.where(there, self.training_stops, -1)


@dataclass(frozen=True)
class Queries:
    """Evaluation queries: rank the target, given the user's earlier items.

    Attributes:
        users: (n,) int64, index of each evaluated user, rising.
        earlier: each user's items before the target, oldest first, at least one: the input, and what the user has seen.
        targets: (n,) int64, each user's held-out item.
    """

    users: npt.NDArray[np.int64]
    earlier: Histories
    targets: npt.NDArray[np.int64]

    def __len__(self) -> int:
        """Number of evaluated users."""
        return len(self.users)


def leave_one_out(histories: Histories) -> Split:
    """Split so that each user's last item is the test target and the one before it the validation target."""
    lengths = histories.lengths
    return Split(histories, np.maximum(lengths - 2, 0).astype(np.int32), lengths >= 2)


def by_time(histories: Histories, times: npt.NDArray[np.int64], validation_from: int, test_from: int) -> Split:
    """Split at two times; a history must end with its first event at or after `test_from`, if it has one.

    Args:
        histories: every user's items, oldest first.
        times: (nnz,) time of each item, never falling within a user.
        validation_from: earlier events are for training; a user's first event from here on, but before `test_from`, is
            the validation target.
        test_from: an event from here on is a test target.

    Raises:
        DataError: a history has two events or more at or after `test_from`.
    """
    late = per_user(times >= test_from, histories.offsets)
    if (late > 1).any():
        user = int(np.argmax(late > 1))
        raise DataError(f"user {user} (counted from 0): expected one event from {test_from} on, found {late[user]}")
    training = per_user(times < validation_from, histories.offsets)
    return Split(histories, training.astype(np.int32), late == 1)


def per_user(marked: npt.NDArray[np.bool_], offsets: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return the number of marked events of each user, (n_users,).

    Args:
        marked: (nnz,) which events are marked.
        offsets: (n_users + 1,) where each user's events begin.
    """
    counts = np.zeros(len(offsets) - 1, np.int64)
    filled = np.flatnonzero(np.diff(offsets))
    if len(filled):
        counts[filled] = np.add.reduceat(marked, offsets[filled], dtype=np.int64)
    return counts


def training_histories(split: Split) -> Histories:
    """Return the training part of every history."""
    return split.histories.slice(split.starts, split.training_stops)


def training_counts(split: Split, n_items: int) -> npt.NDArray[np.int64]:
    """Return how often each item occurs in training, (n_items,)."""
    return occurrences(training_histories(split).items, n_items)


def held_out(split: Split, part: Part) -> Queries:
    """Return the queries of a part, for all users with a target in it and an item before the target."""
    targets = split.target_positions(part)
    users = np.flatnonzero(targets > split.starts)
    earlier = split.histories.slice(split.starts[users], targets[users])
    return Queries(users, earlier, split.histories.items[targets[users]].astype(np.int64))


def _mismatch(expected: str, found: npt.NDArray[np.generic]) -> DataError:
    shape = shape_words(found.shape)
    return DataError(f"split: expected {expected}, found {found.dtype} of shape {shape}; prepare the dataset again")
