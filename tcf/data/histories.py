"""Every user's items in one array, and functions that extract parts of it.

Shapes: n_users users, nnz items of all histories, k extracted histories.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tcf.common.errors import ConfigError, DataError, shape_words
from tcf.common.ragged import offsets_from, spans

__all__ = [
    "Histories",
    "array_words",
    "first_occurrences",
    "index_array",
    "latest",
    "occurrences",
    "one_each",
    "owners",
    "per_user",
    "taken",
]

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
        for name, values, kind in (("offsets", self.offsets, np.int64), ("items", self.items, np.int32)):
            if not isinstance(values, np.ndarray) or values.dtype != kind or values.ndim != 1:
                wanted = np.dtype(kind).name
                raise DataError(
                    f"histories: expected {name} as an array of {wanted} with one axis, found {array_words(values)}; "
                    f"convert whole numbers with np.asarray({name}, np.{wanted})"
                )
        falls = bool((np.diff(self.offsets) < 0).any())
        if not len(self.offsets) or self.offsets[0] != 0 or self.offsets[-1] != len(self.items) or falls:
            ends = f"from {self.offsets[0]} to {self.offsets[-1]}" if len(self.offsets) else "none"
            raise DataError(
                f"histories: expected offsets rising from 0 to {len(self.items)}, the number of items, found "
                f"{ends}{', falling in between' if falls else ''}"
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

    def where(self, kept: npt.NDArray[np.bool_]) -> "Histories":
        """Return every user's marked items; kept is (nnz,)."""
        return Histories(offsets_from(per_user(kept, self.offsets)), self.items[kept])


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


def latest(histories: Histories, most: int) -> Histories:
    """Return every user's last `most` items."""
    return histories.slice(np.maximum(histories.offsets[:-1], histories.offsets[1:] - most), histories.offsets[1:])


def one_each(items: npt.NDArray[np.integer]) -> Histories:
    """Return histories of one item each, (n,)."""
    return Histories(np.arange(len(items) + 1), items.astype(np.int32))


def owners(histories: Histories) -> npt.NDArray[np.int64]:
    """Return the user of every item, (nnz,)."""
    return np.repeat(np.arange(len(histories)), histories.lengths)


def first_occurrences(histories: Histories) -> Histories:
    """Return every user's distinct items, each where it is first.

    >>> first_occurrences(Histories(np.array([0, 4, 5]), np.array([3, 1, 3, 2, 3], np.int32))).items
    array([3, 1, 2, 3], dtype=int32)
    """
    users = owners(histories)
    order = np.lexsort((histories.items, users))  # stable: of equal ones the first leads
    repeated = (np.diff(users[order], prepend=-1) == 0) & (np.diff(histories.items[order], prepend=-2) == 0)
    if not repeated.any():
        return histories
    kept = np.ones(len(users), bool)
    kept[order[repeated]] = False
    return histories.where(kept)


def index_array(values: object, name: str) -> npt.NDArray[np.int64]:
    """Return whole numbers that an argument holds, (n,), after checking them.

    Args:
        values: an array with one axis, or a list.
        name: the argument's name, for messages.

    Raises:
        ConfigError: it is something else.
    """
    listed = isinstance(values, list) and all(isinstance(value, int | np.integer) for value in values)
    array = np.array(values, np.int64) if listed else values
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "iu" or array.ndim != 1:
        raise ConfigError(f"{name}: expected an array of whole numbers with one axis, found {array_words(values)}")
    return array.astype(np.int64, copy=False)


def array_words(value: object) -> str:
    """Return the type of a value, and of an array the type and number of its values, for a message.

    Example:
        >>> array_words(np.zeros((3, 2), np.int32)), array_words([0, 1])
        ('int32 of shape 3 x 2', 'list')
    """
    return (
        f"{value.dtype} of shape {shape_words(value.shape)}" if isinstance(value, np.ndarray) else type(value).__name__
    )


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
