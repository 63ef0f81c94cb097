"""Exact duplicates of events: the same user, item and time, which is rather a fault of the log than a repeat.

Shapes: n events of a batch.
"""

import numpy as np
import numpy.typing as npt

__all__ = ["DuplicateFinder"]


class DuplicateFinder:
    """Finds duplicates in batches of events in the order of their keys, such as user and time.

    The events with equal keys, a run, may have their items in any order, and may continue in the next batch.

    Args:
        n_items: number of items.

    Example:
        >>> finder, users = DuplicateFinder(n_items=3), np.zeros(4, np.int32)
        >>> finder.find(np.array([2, 1, 2, 2], np.int32), users, np.array([7, 7, 7, 8]))
        array([False, False,  True, False])
        >>> finder.find(np.array([2, 2, 0, 0], np.int32), users, np.array([8, 9, 9, 9]))
        array([ True, False, False,  True])
    """

    def __init__(self, n_items: int) -> None:
        self._n_items = n_items
        self._last: tuple[object, ...] = ()  # the keys of the run that may continue
        self._items = np.zeros(0, np.int32)  # and its distinct items

    def find(self, items: npt.NDArray[np.int32], *keys: npt.NDArray[np.generic]) -> npt.NDArray[np.bool_]:
        """Return which events have the keys and the item of an earlier one, (n,).

        Args:
            items: (n,), at least one.
            keys: (n,) each; equal keys are next to one another, and follow those of the last batch.
        """
        begins = np.ones(len(items), bool)
        begins[1:] = np.logical_or.reduce([key[1:] != key[:-1] for key in keys])
        begins[0] = self._last != tuple(key[0].item() for key in keys)
        before = self._items[: 0 if begins[0] else None]
        found = self._within(np.concatenate([before, items]), np.concatenate([np.zeros(len(before), bool), begins]))
        start = int(np.flatnonzero(begins)[-1]) if begins.any() else None
        rest = items[start:] if start is not None else np.concatenate([before, items])
        self._last, self._items = tuple(key[-1].item() for key in keys), np.unique(rest)
        return found[len(before) :]

    def _within(self, items: npt.NDArray[np.int32], begins: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        """Return which events have the item of an earlier one of their run, given where runs begin."""
        found = np.zeros(len(items), bool)
        shared = ~begins
        shared[:-1] |= ~begins[1:]
        places = np.flatnonzero(shared)  # in many logs few events share their time with another
        pairs = np.cumsum(begins)[places] * self._n_items + items[places]
        order = np.argsort(pairs, kind="stable")
        ordered = pairs[order]
        found[places[order[1:][ordered[1:] == ordered[:-1]]]] = True
        return found
