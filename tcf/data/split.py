"""Leave-one-out (study, section on evaluation): last item test, the one before it validation, the rest training."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from tcf.data.dataset import Histories

__all__ = ["Queries", "held_out", "latest", "training_counts", "training_histories"]

_HELD_OUT = 2


@dataclass(frozen=True)
class Queries:
    """What a recommender is asked: given the earlier items, rank the target.

    Attributes:
        earlier: every user's items before the target, oldest first: the input, and what the user has seen.
        targets: (n_users,) int64, the held-out item of each user.
    """

    earlier: Histories
    targets: npt.NDArray[np.int64]


def training_histories(histories: Histories) -> Histories:
    """Every user's items without the last two (validation and test targets)."""
    starts = histories.offsets[:-1]
    return histories.slice(starts, np.maximum(histories.offsets[1:] - _HELD_OUT, starts))


def held_out(histories: Histories, split: Literal["test", "validation"]) -> Queries:
    """The queries of a split; every history must have at least three items, as prepared datasets ensure."""
    back = 1 if split == "test" else 2
    ends = histories.offsets[1:] - back
    return Queries(histories.slice(histories.offsets[:-1], ends), histories.items[ends].astype(np.int64))


def latest(histories: Histories, most: int) -> Histories:
    """Every user's last `most` items."""
    return histories.slice(np.maximum(histories.offsets[:-1], histories.offsets[1:] - most), histories.offsets[1:])


def training_counts(histories: Histories, n_items: int) -> npt.NDArray[np.int64]:
    """How often each item occurs in training, (n_items,)."""
    return np.bincount(training_histories(histories).items, minlength=n_items)
