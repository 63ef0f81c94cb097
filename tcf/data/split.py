"""Splits of histories into training items, validation targets and test targets.

All kinds of split have one form, numbers for each user. A history consists of these parts, in this order, any of which
may be empty:

    context | training | validation targets | items in no part | test targets

Context is input only: it is never trained on. Nor are the items between the validation and the test targets. The input
of a query is everything before its target.

- Leave-one-out (study, section on evaluation): the last item is the test target, the one before it the validation
  target.
- By time: items before the validation period are for training; a user's first item in that period is the validation
  target; the first item in the test period, which ends the history, is the test target.
- Given: the files say the part of every event. Users may have context, and several targets in a part.
"""

from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from tcf.common.errors import ConfigError, DataError
from tcf.config.evaluate import TargetPolicy
from tcf.config.typed_values import typed
from tcf.data.histories import Histories, array_words, first_occurrences, occurrences, per_user

__all__ = [
    "EventPart",
    "GivenSplit",
    "Part",
    "Queries",
    "Split",
    "by_parts",
    "by_time",
    "further_targets_words",
    "held_out",
    "leave_one_out",
    "no_given_split",
    "training_counts",
    "training_histories",
]

Part = Literal["test", "validation"]


class EventPart(IntEnum):
    """The part of an event in a split that the raw files bring; the numbers rise within a history."""

    CONTEXT = 0
    TRAINING = 1
    VALIDATION = 2
    TEST = 3


@dataclass(frozen=True)
class Split:
    """Histories, and the use of each of their items.

    Attributes:
        histories: every user's items, oldest first.
        context: (n_users,) int32, number of each user's first items that are input only.
        training: (n_users,) int32, number of items after these that are for training.
        validation: (n_users,) int32, number of validation targets, which follow the training items.
        test: (n_users,) int32, number of test targets, which end the history.
    """

    histories: Histories
    context: npt.NDArray[np.int32]
    training: npt.NDArray[np.int32]
    validation: npt.NDArray[np.int32]
    test: npt.NDArray[np.int32]

    def __post_init__(self) -> None:
        """Check that the parts match the histories.

        Raises:
            DataError: types, shapes or numbers are wrong.
        """
        n_users, parts = len(self.histories), self.numbers
        for name, numbers in parts.items():
            if not isinstance(numbers, np.ndarray) or numbers.dtype != np.int32 or numbers.shape != (n_users,):
                raise DataError(
                    f"split: expected int32 numbers of {name} items for {n_users} users, found {array_words(numbers)}"
                )
        total, wrong = np.zeros(n_users, np.int64), np.zeros(n_users, bool)
        for numbers in parts.values():
            total += numbers
            wrong |= numbers < 0
        wrong |= total > self.histories.lengths
        if wrong.any():
            user = int(np.argmax(wrong))
            found = ", ".join(f"{numbers[user]} for {name}" for name, numbers in parts.items())
            raise DataError(
                f"split: expected at most the {self.histories.lengths[user]} items of user {user} (counted from 0), "
                f"found {found}"
            )

    @property
    def numbers(self) -> dict[str, npt.NDArray[np.int32]]:
        """The numbers of items in each part, (n_users,) each, by the part's name."""
        return {"context": self.context, "training": self.training, "validation": self.validation, "test": self.test}

    @property
    def starts(self) -> npt.NDArray[np.int64]:
        """Start of each history in `histories.items`, (n_users,)."""
        return self.histories.offsets[:-1]

    @property
    def training_starts(self) -> npt.NDArray[np.int64]:
        """Start of the training part of each history in `histories.items`, (n_users,)."""
        starts: npt.NDArray[np.int64] = self.starts + self.context
        return starts

    @property
    def training_stops(self) -> npt.NDArray[np.int64]:
        """End of the training part of each history in `histories.items`, (n_users,)."""
        stops: npt.NDArray[np.int64] = self.training_starts + self.training
        return stops

    def number_of_targets(self, part: Part) -> npt.NDArray[np.int32]:
        """Return how many targets of a part each user has, (n_users,)."""
        return self.test if typed(part, Part, "part") == "test" else self.validation

    def target_positions(self, part: Part) -> npt.NDArray[np.int64]:
        """Return the position of each user's first target of a part in `histories.items`, (n_users,).

        It is -1 for users without one. Further targets follow it.
        """
        first = self.histories.offsets[1:] - self.test if part == "test" else self.training_stops
        return np.where(self.number_of_targets(part) > 0, first, -1)

    def event_parts(self) -> npt.NDArray[np.int8]:
        """Return the `EventPart` of each item in `histories.items`, (nnz,); -1 for items in no part."""
        until = self.context + self.training + self.validation
        between = self.histories.lengths - until - self.test
        lengths = np.stack([self.context, self.training, self.validation, between, self.test], axis=1)
        codes = np.array([EventPart.CONTEXT, EventPart.TRAINING, EventPart.VALIDATION, -1, EventPart.TEST], np.int8)
        return np.repeat(np.tile(codes, len(self.histories)), lengths.ravel())

    def with_validation_in_training(self) -> "Split":
        """Return the split in which each user's items between context and test targets are all for training.

        These are the validation targets and, of a split by time, the items between them and the test targets, which
        belong to the validation period: all are earlier than any test target. No user has a validation target left.
        """
        training = (self.histories.lengths - self.context - self.test).astype(np.int32)
        return Split(self.histories, self.context, training, np.zeros_like(training), self.test)


@dataclass(frozen=True)
class GivenSplit:
    """What is known of a split that the raw files bring, besides the split.

    Attributes:
        trained_after_test: number of users whose latest training item is later than their first test target, which
            they were perhaps not meant to know; None if the events have no times.
    """

    trained_after_test: int | None

    @staticmethod
    def of(split: Split, times: npt.NDArray[np.int64] | None) -> "GivenSplit":
        """Compare the times of each user's latest training item and first test target; times is (nnz,)."""
        if times is None:
            return GivenSplit(None)
        test = split.target_positions("test")
        users = np.flatnonzero((test >= 0) & (split.training > 0))
        return GivenSplit(int((times[split.training_stops[users] - 1] > times[test[users]]).sum()))


@dataclass(frozen=True)
class Queries:
    """Evaluation queries: rank the targets, given the user's earlier items.

    Attributes:
        users: (n,) int64, index of each evaluated user, rising.
        earlier: each user's items before the first target, oldest first, at least one: the input, and what the user
            has seen.
        targets: each user's held-out items, at least one, distinct, oldest first.
    """

    users: npt.NDArray[np.int64]
    earlier: Histories
    targets: Histories

    def __len__(self) -> int:
        """Number of evaluated users."""
        return len(self.users)

    def take(self, places: npt.NDArray[np.int64]) -> "Queries":
        """Return some of the queries, by their places among them, in the given order."""
        return Queries(self.users[places], self.earlier.take(places), self.targets.take(places))


def leave_one_out(histories: Histories) -> Split:
    """Split so that each user's last item is the test target and the one before it the validation target."""
    lengths = histories.lengths
    training = np.maximum(lengths - 2, 0).astype(np.int32)
    return Split(histories, np.zeros_like(training), training, _ones(lengths >= 1), _ones(lengths >= 2))


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
    training = per_user(times < validation_from, histories.offsets).astype(np.int32)
    validated = training + late < histories.lengths
    return Split(histories, np.zeros_like(training), training, _ones(validated), _ones(late == 1))


def by_parts(histories: Histories, parts: npt.NDArray[np.int8]) -> Split:
    """Split as the files say.

    Args:
        histories: every user's items, context first and test targets last.
        parts: (nnz,) `EventPart` of each item, never falling within a user.

    Raises:
        DataError: the parts fall within a user.
    """
    falls = np.diff(parts, prepend=parts[:1]) < 0
    falls[histories.offsets[:-1][histories.lengths > 0]] = False
    if falls.any():
        user = int(np.searchsorted(histories.offsets, np.argmax(falls), side="right")) - 1
        raise DataError(
            f"user {user} (counted from 0): expected the parts of the split in the order context, training, "
            "validation, test, found another order"
        )
    return Split(histories, *(per_user(parts == part, histories.offsets).astype(np.int32) for part in EventPart))


def _ones(marked: npt.NDArray[np.bool_]) -> npt.NDArray[np.int32]:
    """Return one target for each marked user."""
    return marked.astype(np.int32)


def training_histories(split: Split) -> Histories:
    """Return the training part of every history."""
    return split.histories.slice(split.training_starts, split.training_stops)


def training_counts(split: Split, n_items: int) -> npt.NDArray[np.int64]:
    """Return how often each item occurs in training, (n_items,)."""
    return occurrences(training_histories(split).items, n_items)


def held_out(split: Split, part: Part, which: TargetPolicy = "all") -> Queries:
    """Return the queries of a part, for all users with a target in it and an item before the (first) target.

    Args:
        split: every user's items, and which of them are targets.
        part: the part.
        which: `all` targets of a user, of repeated ones the first; or the `first` one alone.
    """
    starts = split.target_positions(part)
    users = np.flatnonzero(starts > split.starts)
    earlier = split.histories.slice(split.starts[users], starts[users])
    numbers = split.number_of_targets(part)[users] if which == "all" else np.ones(len(users), np.int32)
    targets = split.histories.slice(starts[users], starts[users] + numbers)
    return Queries(users, earlier, first_occurrences(targets))


def further_targets_words(split: Split, part: Part) -> str | None:
    """Say how many targets of a part are left out if only a user's first one counts; None if no user has several."""
    targets = split.number_of_targets(part)
    several = targets[targets > 1]
    if not len(several):
        return None
    return (
        f"{len(several):,} users have several {part} targets, of which the first is evaluated; "
        f"{int(several.sum(dtype=np.int64)) - len(several):,} further ones are not"
    )


def no_given_split(raw: Path) -> ConfigError:
    """Return the error about raw files that do not say the part of each event."""
    return ConfigError(
        f"--split given: expected files in {raw} that say which events are for training, validation and test, found "
        "none; with format table name a --split-column, or --validation-events and --test-events; or use --split "
        "leave-one-out"
    )
