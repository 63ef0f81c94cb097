"""Every user's items in one array, and functions that extract parts of it.

Shapes: n_users users, nnz items of all histories, k extracted histories.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tcf.common.errors import DataError
from tcf.common.ragged import offsets_from, spans

__all__ = ["Histories", "latest", "occurrences", "taken"]

_AT_ONCE = 1 << 22  # items that are widened to 8 bytes at once
_CACHED = 1 << 17  # rows of 8 bytes that fit in the processor's cache


@dataclass(frozen=True)
class Histories:
    """Every user's items, oldest first, in CSR form: user u has items[offsets[u]:offsets[u + 1]].

    Attributes:
        offsets: (n_users + 1,) int64, starting at 0, never falling.
        items: (nnz,) int32 item indices.
    """

    offsets: npt.NDArray[np.int64]
    items: npt.NDArray[np.int32]

    def __post_init__(self) -> None:
        """Check the CSR form.

        Raises:
            DataError: types, order or length are wrong.
        """
        types_fit = self.offsets.dtype == np.int64 and self.items.dtype == np.int32
        if not types_fit or (self.offsets.ndim, self.items.ndim) != (1, 1):
            raise DataError(
                f"histories: expected int64 offsets and int32 items with one axis, found {self.offsets.dtype} with "
                f"{self.offsets.ndim} and {self.items.dtype} with {self.items.ndim}; prepare the dataset again"
            )
        falls = bool((np.diff(self.offsets) < 0).any())
        if not len(self.offsets) or self.offsets[0] != 0 or self.offsets[-1] != len(self.items) or falls:
            raise DataError(
                f"histories: expected offsets rising from 0 to {len(self.items)}, the number of items, found other "
                "numbers; prepare the dataset again"
            )

    def __len__(self) -> int:
        """Number of users."""
        return len(self.offsets) - 1

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Number of items of each user, (n_users,)."""
        return np.diff(self.offsets)

    def of(self, user: int) -> npt.NDArray[np.int32]:
        """Return the items of one user, oldest first."""
        return self.items[self.offsets[user] : self.offsets[user + 1]]

    def slice(self, starts: npt.NDArray[np.int64], stops: npt.NDArray[np.int64]) -> "Histories":
        """Return the histories items[starts[u]:stops[u]], for any number of users.

        Args:
            starts: (k,) first position of each history in `items`.
            stops: (k,) one past the last position of each history.
        """
        lengths = stops - starts
        return Histories(offsets_from(lengths), self.items[spans(starts, lengths)])

    def take(self, users: npt.NDArray[np.int64]) -> "Histories":
        """Return the histories of these users, in the given order."""
        return self.slice(self.offsets[users], self.offsets[users + 1])


def latest(histories: Histories, most: int) -> Histories:
    """Return every user's last `most` items."""
    return histories.slice(np.maximum(histories.offsets[:-1], histories.offsets[1:] - most), histories.offsets[1:])


def occurrences(items: npt.NDArray[np.int32], n_items: int) -> npt.NDArray[np.int64]:
    """Return how often each item occurs, (n_items,), without a copy of all items in 8 bytes."""
    counts = np.zeros(n_items, np.int64)
    for start in range(0, len(items), _AT_ONCE):
        counts += np.bincount(items[start : start + _AT_ONCE], minlength=n_items)
    return counts


def taken(values: npt.NDArray[np.int32], rows: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    """Return the values of these rows, (nnz,), without a copy of all rows in 8 bytes."""
    found = np.empty(len(rows), np.int32)
    for start in range(0, len(rows), _CACHED):
        part = slice(start, start + _CACHED)
        found[part] = values[rows[part]]
    return found
