"""A growing set of keys that takes little more memory than the keys themselves.

Keys are kept in runs sorted by their first word. A new run is merged into the previous one while that is less than
twice as long, so there are few runs, and a key is copied about log2(n) times. All work is done by NumPy on whole
arrays.

Shapes: n keys are (n, 2) uint64.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tcf.data.keys import Keys

__all__ = ["KeySet"]

Words = npt.NDArray[np.uint64]
RowIndices = npt.NDArray[np.int64]


class _SortedRun(NamedTuple):
    """Keys in the order of their first words; equal first words in any order.

    Attributes:
        first: (n,) first words, rising.
        second: (n,) the corresponding second words.
    """

    first: Words
    second: Words


class KeySet:
    """A growing set of keys: 16 bytes for each key, briefly twice that while runs are merged.

    Args:
        keys: the initial keys.
    """

    def __init__(self, keys: Keys | None = None) -> None:
        self._runs: list[_SortedRun] = []
        if keys is not None:
            self.add(keys)

    def __len__(self) -> int:
        return sum(len(run.first) for run in self._runs)

    def add(self, keys: Keys) -> None:
        """Add keys to the set."""
        self.new(keys)

    def contains(self, keys: Keys) -> npt.NDArray[np.bool_]:
        """Return which of these keys are in the set, (n,)."""
        order = np.argsort(keys[:, 0])
        found = np.zeros(len(keys), bool)
        found[order] = self._contains(keys[order])
        return found

    def new(self, keys: Keys) -> RowIndices:
        """Add keys, and return the rows, rising, of those that were neither in the set nor earlier in `keys`."""
        rows = _distinct(keys)
        rows = rows[~self._contains(keys[rows])]
        _insert(self._runs, _SortedRun(keys[rows, 0], keys[rows, 1]))
        return np.sort(rows)

    def _contains(self, ordered: Keys) -> npt.NDArray[np.bool_]:
        """Return which keys are in the set, (n,); the keys must be sorted by their first words."""
        found = np.zeros(len(ordered), bool)
        for run in self._runs:
            found |= _places(run, ordered) >= 0
        return found


def _distinct(keys: Keys) -> RowIndices:
    """Return the first row of every distinct key, in the order of the first words."""
    order = np.argsort(keys[:, 0], kind="stable")
    ordered = keys[order]
    equal_first = ordered[1:, 0] == ordered[:-1, 0]
    if (equal_first & (ordered[1:, 1] < ordered[:-1, 1])).any():
        # Different keys with equal first words are rare for hashes, so only then is the sort by both words.
        order = np.lexsort((keys[:, 1], keys[:, 0]))
        ordered = keys[order]
    repeated = np.zeros(len(keys), bool)
    repeated[1:] = (ordered[1:] == ordered[:-1]).all(axis=1)
    return order[~repeated]


def _places(run: _SortedRun, ordered: Keys) -> RowIndices:
    """Return the position of each key in a run, (n,); -1 if absent. Fastest for keys sorted by their first words."""
    found = np.full(len(ordered), -1, np.int64)
    looking = np.arange(len(ordered))
    at = np.searchsorted(run.first, ordered[:, 0])
    # One iteration for nearly all keys; more only if several keys of the run have equal first words.
    while len(looking):
        there = at < len(run.first)
        looking, at = looking[there], at[there]
        same = run.first[at] == ordered[looking, 0]
        looking, at = looking[same], at[same]
        hit = run.second[at] == ordered[looking, 1]
        found[looking[hit]] = at[hit]
        looking, at = looking[~hit], at[~hit] + 1
    return found


def _insert(runs: list[_SortedRun], run: _SortedRun) -> None:
    """Add a run of keys that are not in any of the runs."""
    if not len(run.first):
        return
    runs.append(run)
    while len(runs) > 1 and len(runs[-2].first) < 2 * len(runs[-1].first):
        second, first = runs.pop(), runs.pop()
        runs.append(_merged(first, second))


def _merged(a: _SortedRun, b: _SortedRun) -> _SortedRun:
    places = np.searchsorted(a.first, b.first, side="right") + np.arange(len(b.first))
    others = np.ones(len(a.first) + len(b.first), bool)
    others[places] = False
    first, second = np.empty(len(others), np.uint64), np.empty(len(others), np.uint64)
    first[places], first[others] = b.first, a.first
    second[places], second[others] = b.second, a.second
    return _SortedRun(first, second)
