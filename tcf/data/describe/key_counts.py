"""How often each of many keys occurs, at 24 bytes a distinct key and a passing multiple of that.

Shapes: n keys are (n, 2) uint64.
"""

import numpy as np
import numpy.typing as npt

from tcf.data.keys import Keys

__all__ = ["KeyCounts"]

_WAITING = 2**20  # keys that may wait to be counted, at least

Counts = npt.NDArray[np.int64]


class KeyCounts:
    """A growing table of distinct keys with a count each."""

    def __init__(self) -> None:
        self._keys: list[Keys] = [np.zeros((0, 2), np.uint64)]
        self._counts: list[Counts] = [np.zeros(0, np.int64)]
        self._counted = 0
        self._waiting = 0

    def add(self, keys: Keys, counts: Counts) -> None:
        """Add to the counts of keys, (n, 2) and (n,); a key may come any number of times."""
        self._keys.append(keys)
        self._counts.append(counts)
        self._waiting += len(keys)
        # Waiting until there are as many again makes sorting cheap a key.
        if self._waiting > max(_WAITING, self._counted):
            self._sum()

    @property
    def table(self) -> tuple[Keys, Counts]:
        """The distinct keys, (n, 2), in an order of their own, and their counts, (n,)."""
        self._sum()
        return self._keys[0], self._counts[0]

    def _sum(self) -> None:
        keys, counts = np.concatenate(self._keys), np.concatenate(self._counts)
        order = np.lexsort((keys[:, 1], keys[:, 0]))
        keys, counts = keys[order], counts[order]
        first = np.ones(len(keys), bool)
        first[1:] = (keys[1:] != keys[:-1]).any(axis=1)
        starts = np.flatnonzero(first)
        summed = np.add.reduceat(counts, starts) if len(starts) else counts
        self._keys, self._counts = [keys[starts]], [summed]
        self._counted, self._waiting = len(starts), 0
