"""Rows of a pair model (DSSM): every pair of a user and one of the user's training items.

Shapes: B rows, S items of their sequences (packed), n users.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from tcf.common.ragged import offsets_from
from tcf.train.batch.rows import ChosenRows, Marks, Places
from tcf.train.batch.training_data import TrainingData, occurrences_in

__all__ = ["PairRows"]


@dataclass(frozen=True)
class PairRows:
    """One row per pair of a user and one of the user's items (study, DSSM): that item is target and candidate.

    The user's other training items are masked; other occurrences of the target remain candidates.

    Attributes:
        data: the training part of a dataset.
        reads: what the model reads: nothing (users as ids); all other items of a window around the target, which is
            the whole training history if that is short enough; or the items just before the target. With `earlier`, a
            user's first item makes no pair.
    """

    data: TrainingData
    reads: Literal["nothing", "all", "earlier"]

    def __len__(self) -> int:
        """Number of pairs."""
        return int(self._firsts[-1])

    @property
    def n_targets(self) -> int:
        """Number of targets: one per pair."""
        return len(self)

    def candidate_counts(self, n_items: int) -> Places:
        """See `BatchRows`: how often each item is in a pair."""
        return occurrences_in(self.data.histories, self.data.starts + self._skipped, self.data.stops, n_items)

    def in_epoch(self, seed: int, epoch: int) -> "PairRows":
        """See `BatchRows`: the same in every epoch."""
        return self

    def choose(self, rows: Places) -> ChosenRows:
        """See `EpochRows`."""
        owners = np.searchsorted(self._firsts, rows, side="right") - 1
        places_B = rows - self._firsts[owners] + self._skipped
        sequences = self.data.histories.slice(self.data.starts[owners], self.data.stops[owners])
        targets = sequences.offsets[:-1] + places_B
        target = np.zeros(len(sequences.items), np.bool_)
        target[targets] = True
        others = sequences.items != np.repeat(sequences.items[targets], sequences.lengths)
        read = self._read(places_B, sequences.offsets, others)
        return ChosenRows(self.data.users[owners], sequences, read, target, target, others)

    def _read(self, places_B: Places, offsets: Places, others: Marks) -> Marks:
        """Which items are read, given the position of each target in its sequence."""
        most = self.data.positions
        match self.reads:
            case "nothing":
                return np.zeros_like(others)
            case "all":
                last_starts = np.maximum(np.diff(offsets) - most - 1, 0)
                starts = np.clip(places_B - (most + 1) // 2, 0, last_starts)
                return _inside(offsets, starts, np.minimum(starts + most + 1, np.diff(offsets))) & others
            case "earlier":
                return _inside(offsets, np.maximum(places_B - most, 0), places_B)

    @property
    def _skipped(self) -> int:
        """How many of a user's first items make no pair."""
        return 1 if self.reads == "earlier" else 0

    @cached_property
    def _firsts(self) -> Places:
        """Each user's first pair, and the number of all pairs, (n + 1,)."""
        return offsets_from(self.data.lengths - self._skipped)


def _inside(offsets: Places, starts: Places, stops: Places) -> Marks:
    """The items of each sequence from its `starts` to its `stops`, (S,)."""
    changes = np.zeros(offsets[-1] + 1, np.int8)
    changes[offsets[:-1] + starts] += 1
    changes[offsets[:-1] + stops] -= 1
    return np.cumsum(changes[:-1], dtype=np.int8).astype(np.bool_)
