"""Which items of a history are for training, and which are asked for in validation and test.

Two kinds of split have one form. The first items of a history are for training; the next one, if it is not the test
target, is the validation target; the last one is the test target, if the user has one. What lies between the validation
target and the test target is read for the test query and never trained on.

- Leave-one-out (study, section on evaluation): the last item is the test target, the one before it the validation
  target.
- By time: what lies before the validation period is for training; a user's first item within it is the validation
  target, and the first one in the test period, with which the history ends, the test target.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from tcf.common.errors import DataError
from tcf.data.histories import Histories, occurrences

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
    """Histories, and what each of their items is for.

    Attributes:
        histories: every user's items, oldest first.
        training: (n_users,) int32, how many of a user's items, the first ones, are for training.
        tested: (n_users,) bool, whether a user's last item is a test target.
    """

    histories: Histories
    training: npt.NDArray[np.int32]
    tested: npt.NDArray[np.bool_]

    def __post_init__(self) -> None:
        """Check that the parts are parts of the histories.

        Raises:
            DataError: types, shapes or numbers do not fit.
        """
        n_users = len(self.histories)
        if self.training.dtype != np.int32 or self.training.shape != (n_users,):
            raise _misfit(f"{n_users} numbers of training items in int32", self.training)
        if self.tested.dtype != np.bool_ or self.tested.shape != (n_users,):
            raise _misfit(f"{n_users} marks of test targets in bool", self.tested)
        beyond = (self.training < 0) | (self.training + self.tested > self.histories.lengths)
        if beyond.any():
            user = int(np.argmax(beyond))
            raise DataError(
                f"split: expected at most the {self.histories.lengths[user]} items of user {user} (counted from 0), "
                f"found {self.training[user]} for training and {int(self.tested[user])} for test; prepare the dataset "
                "anew"
            )

    @property
    def starts(self) -> npt.NDArray[np.int64]:
        """Where each history begins in `histories.items`, (n_users,)."""
        return self.histories.offsets[:-1]

    @property
    def training_stops(self) -> npt.NDArray[np.int64]:
        """Where the training part of each history ends in `histories.items`, (n_users,)."""
        stops: npt.NDArray[np.int64] = self.starts + self.training
        return stops

    def target_positions(self, part: Part) -> npt.NDArray[np.int64]:
        """Where the targets of a part are in `histories.items`, (n_users,); -1 for a user without one."""
        if part == "test":
            return np.where(self.tested, self.histories.offsets[1:] - 1, -1)
        there = self.training + self.tested < self.histories.lengths
        return np.where(there, self.training_stops, -1)


@dataclass(frozen=True)
class Queries:
    """What a recommender is asked: given the earlier items, rank the target.

    Attributes:
        users: (n,) int64, the index of each user who is asked about, rising.
        earlier: each one's items before the target, oldest first: the input, and what the user has seen; never none.
        targets: (n,) int64, the held-out item of each.
    """

    users: npt.NDArray[np.int64]
    earlier: Histories
    targets: npt.NDArray[np.int64]

    def __len__(self) -> int:
        """Number of users asked about."""
        return len(self.users)


def leave_one_out(histories: Histories) -> Split:
    """The split whose test target is each user's last item, and whose validation target is the one before it."""
    lengths = histories.lengths
    return Split(histories, np.maximum(lengths - 2, 0).astype(np.int32), lengths >= 2)


def by_time(histories: Histories, times: npt.NDArray[np.int64], validation_from: int, test_from: int) -> Split:
    """The split at two times, for histories that end with their first event at or after `test_from`, if they have one.

    Args:
        histories: every user's items, oldest first.
        times: (nnz,), when each of them was, never falling within a user.
        validation_from: what is earlier is for training; the first event of a user from here on, and before
            `test_from`, is the validation target.
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
    """How many events of each user are marked, (n_users,).

    Args:
        marked: (nnz,).
        offsets: (n_users + 1,), where each user's events begin.
    """
    counts = np.zeros(len(offsets) - 1, np.int64)
    filled = np.flatnonzero(np.diff(offsets))
    if len(filled):
        counts[filled] = np.add.reduceat(marked, offsets[filled], dtype=np.int64)
    return counts


def training_histories(split: Split) -> Histories:
    """The training part of every history."""
    return split.histories.slice(split.starts, split.training_stops)


def training_counts(split: Split, n_items: int) -> npt.NDArray[np.int64]:
    """How often each item occurs in training, (n_items,)."""
    return occurrences(training_histories(split).items, n_items)


def held_out(split: Split, part: Part) -> Queries:
    """The queries of a part: of all users who have a target in it, and an item before that."""
    targets = split.target_positions(part)
    users = np.flatnonzero(targets > split.starts)
    earlier = split.histories.slice(split.starts[users], targets[users])
    return Queries(users, earlier, split.histories.items[targets[users]].astype(np.int64))


def _misfit(expected: str, found: npt.NDArray[np.generic]) -> DataError:
    return DataError(f"split: expected {expected}, found {found.dtype} {found.shape}; prepare the dataset anew")
