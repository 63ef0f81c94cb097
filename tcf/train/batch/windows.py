"""Which windows of a training history are rows of a sequence model: its latest items, all of it, or a random part.

A window has at most one item more than the model reads, since every item but its last is read and every item but its
first is a target.

Shapes: n users, n_items items, R rows.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tcf.common.ragged import offsets_from, spans
from tcf.common.random_streams import RandomStream, generator
from tcf.train.batch.rows import Places, UserRows
from tcf.train.batch.training_data import TrainingData, pieces

__all__ = ["RandomWindows", "all_windows", "last_windows"]


def last_windows(data: TrainingData) -> UserRows:
    """One row per user: the latest items."""
    starts = np.maximum(data.starts, data.stops - data.positions - 1)
    return UserRows(data.histories, data.users, starts, data.stops)


def all_windows(data: TrainingData) -> UserRows:
    """As many rows per user as the whole history needs; neighbours share an item.

    Every item but the user's first is therefore a target once. The last window of each user is that of `last_windows`;
    the first one may be shorter.
    """
    rows_n = -(-(data.lengths - 1) // data.positions)
    owners_R = np.repeat(np.arange(len(rows_n)), rows_n)
    from_end_R = np.arange(len(owners_R)) - offsets_from(rows_n)[owners_R]
    stops_R = data.stops[owners_R] - from_end_R * data.positions
    starts_R = np.maximum(data.starts[owners_R], stops_R - data.positions - 1)
    return UserRows(data.histories, data.users[owners_R], starts_R, stops_R)


@dataclass(frozen=True)
class RandomWindows:
    """One row per user: in each epoch another window, which begins anywhere with equal probability.

    Attributes:
        data: the training part of a dataset.
    """

    data: TrainingData

    def __len__(self) -> int:
        """Number of users."""
        return len(self.data.users)

    @property
    def n_targets(self) -> int:
        """Number of targets: every item but each window's first."""
        return int(self._widths.sum()) - len(self)

    def candidate_counts(self, n_items: int) -> npt.NDArray[np.float64]:
        """See `BatchRows`: the expected number of windows that hold an item."""
        data, widths = self.data, self._widths
        counts = np.zeros(n_items)
        for part in pieces(data.lengths):
            lengths, width = data.lengths[part], widths[part]
            items = data.histories.items[spans(data.starts[part], lengths)]
            counts += np.bincount(items, _share_of_windows(lengths, width), n_items)
        return counts

    def in_epoch(self, seed: int, epoch: int) -> UserRows:
        """See `BatchRows`."""
        data, widths = self.data, self._widths
        drawn = generator(RandomStream.WINDOWS, seed, epoch, 0).integers(0, data.lengths - widths + 1)
        starts = data.starts + drawn
        return UserRows(data.histories, data.users, starts, starts + widths)

    @property
    def _widths(self) -> Places:
        return np.minimum(self.data.lengths, self.data.positions + 1)


def _share_of_windows(lengths: Places, widths: Places) -> npt.NDArray[np.float64]:
    """The share of a user's windows that hold the user's first item, second item, ..., of all users concatenated."""
    places, lengths_S, widths_S = (
        spans(np.zeros_like(lengths), lengths),
        np.repeat(lengths, lengths),
        np.repeat(widths, lengths),
    )
    last_starts = lengths_S - widths_S
    holding = np.minimum(places, last_starts) - np.maximum(places - widths_S + 1, 0) + 1
    share: npt.NDArray[np.float64] = holding / (last_starts + 1)
    return share
