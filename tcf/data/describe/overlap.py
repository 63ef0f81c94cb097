"""Overlap of two datasets: item ids, item texts, and the words of the texts.

Item tables are streamed, and contents are compared by their 16-byte keys, so memory takes about 50 bytes for each item
of both datasets for one measure at a time, and as much for each distinct word.

Shapes: n_items items of a dataset, n keys are (n, 2) uint64.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from tcf.common.errors import DataError
from tcf.common.integrity.checksums import Verify
from tcf.common.integrity.verified_files import verify_files
from tcf.common.manifest import read_manifest
from tcf.common.progress import Progress
from tcf.data.dataset import DATASET
from tcf.data.describe.text_lengths import folded, word_counts
from tcf.data.item_table import ItemTable
from tcf.data.key_set import KeySet
from tcf.data.keys import Keys, text_keys
from tcf.data.npy_files import map_array

__all__ = ["KeyCounts", "overlap"]

_WAITING = 2**20  # keys to collect, at least, before they are counted
Counts = npt.NDArray[np.int64]
_ITEMS_AT_ONCE = 16_384
_EVENTS_AT_ONCE = 2**22
Measure = Literal["ids", "texts", "folded_texts"]


class KeyCounts:
    """A growing table of distinct keys with a count each."""

    def __init__(self) -> None:
        self._keys: list[Keys] = [np.zeros((0, 2), np.uint64)]
        self._counts: list[Counts] = [np.zeros(0, np.int64)]
        self._counted = 0
        self._waiting = 0

    def add(self, keys: Keys, counts: Counts) -> None:
        """Add keys, (n, 2), and their counts, (n,); keys may be repeated."""
        self._keys.append(keys)
        self._counts.append(counts)
        self._waiting += len(keys)
        # Waiting until there are as many new keys as counted ones keeps the sorting cost per key low.
        if self._waiting > max(_WAITING, self._counted):
            self._sum()

    @property
    def table(self) -> tuple[Keys, Counts]:
        """The distinct keys, sorted, (n, 2), and their counts, (n,)."""
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


@dataclass(frozen=True)
class _Side:
    """One of the two datasets.

    Attributes:
        items: its item table.
        popularity: (n_items,) interactions of each item, including held-out ones.
    """

    items: ItemTable
    popularity: Counts


def overlap(a: Path, b: Path, *, verify: Verify = "once") -> dict[str, Any]:
    """Measure the overlap of two datasets.

    Args:
        a: a dataset directory.
        b: another dataset directory.
        verify: whether large files that this machine has verified are verified again.

    Returns:
        JSON values. `a` and `b`: `path`, `items`, `interactions`. `ids`, `texts` (as written) and `folded_texts`
        (ignoring case and white space), each with `shared`, the number of distinct values in both, and for `a` and `b`
        the `items` with a shared value, their `interactions`, and the shares of both in the totals. `words` of the
        folded texts: the number of distinct words in `a`, in `b` and `shared`, `jaccard` (shared words divided by words
        in either), and `uses_in_a_known_in_b` and `uses_in_b_known_in_a`, shares of all occurrences; None if there are
        no words.

    Raises:
        DataError: a dataset is missing or damaged.
    """
    first, second = _side(a, verify), _side(b, verify)
    passes = 4  # ids, texts, folded texts, words
    with Progress("overlap", passes * (first.items.n_items + second.items.n_items), "rows") as progress:
        return {
            "a": _described(first),
            "b": _described(second),
            "ids": _shared(first, second, "ids", progress),
            "texts": _shared(first, second, "texts", progress),
            "folded_texts": _shared(first, second, "folded_texts", progress),
            "words": _shared_words(first, second, progress),
        }


def _side(path: Path, verify: Verify) -> _Side:
    items = ItemTable.open(path, verify=verify)
    file = path / "history_items.npy"
    verify_files(path, read_manifest(path, DATASET), DATASET, names=(file.name,), verify=verify)
    events = map_array(file, DataError, DATASET.remedy(path))
    if events.dtype != np.int32 or events.ndim != 1:
        raise DataError(
            f"{file}: expected int32 items with one axis, found {events.dtype} with {events.ndim}; "
            f"{DATASET.remedy(path)}"
        )
    popularity = np.zeros(items.n_items, np.int64)
    for start in range(0, len(events), _EVENTS_AT_ONCE):
        part = events[start : start + _EVENTS_AT_ONCE]
        if part.min() < 0 or part.max() >= items.n_items:
            raise DataError(
                f"{file}: expected items below {items.n_items}, found {part.min()}..{part.max()}; "
                f"{DATASET.remedy(path)}"
            )
        popularity += np.bincount(part, minlength=items.n_items)
    return _Side(items, popularity)


def _described(side: _Side) -> dict[str, Any]:
    interactions = int(side.popularity.sum())
    return {"path": str(side.items.path), "items": side.items.n_items, "interactions": interactions}


def _shared(a: _Side, b: _Side, measure: Measure, progress: Progress) -> dict[str, Any]:
    keys_a, keys_b = _keys(a.items, measure, progress), _keys(b.items, measure, progress)
    set_a, set_b = KeySet(keys_a), KeySet(keys_b)
    in_b = set_b.contains(keys_a)
    return {
        "shared": len(KeySet(keys_a[in_b])),
        "a": _covered(a, in_b),
        "b": _covered(b, set_a.contains(keys_b)),
    }


def _keys(items: ItemTable, measure: Measure, progress: Progress) -> Keys:
    """Return a key for each item, (n_items, 2)."""
    parts: Iterable[Keys]
    match measure:
        case "ids":
            parts = map(text_keys, items.ids(_ITEMS_AT_ONCE))
        case "texts":
            parts = map(text_keys, items.texts(_ITEMS_AT_ONCE))
        case "folded_texts":
            parts = (text_keys(folded(texts)) for texts in items.texts(_ITEMS_AT_ONCE))
    keys = np.zeros((items.n_items, 2), np.uint64)
    start = 0
    for part in parts:
        keys[start : start + len(part)] = part
        start += len(part)
        progress.advance(len(part))
    return keys


def _covered(side: _Side, which: npt.NDArray[np.bool_]) -> dict[str, Any]:
    """Return the number of these items and of their interactions, and the shares of both."""
    items, interactions = int(which.sum()), int(side.popularity[which].sum())
    return {
        "items": items,
        "item_share": _share(items, len(which)),
        "interactions": interactions,
        "interaction_share": _share(interactions, int(side.popularity.sum())),
    }


def _shared_words(a: _Side, b: _Side, progress: Progress) -> dict[str, Any]:
    (words_a, uses_a), (words_b, uses_b) = _words(a.items, progress), _words(b.items, progress)
    known_in_b, known_in_a = KeySet(words_b).contains(words_a), KeySet(words_a).contains(words_b)
    shared = int(known_in_b.sum())
    return {
        "a": len(words_a),
        "b": len(words_b),
        "shared": shared,
        "jaccard": _share(shared, len(words_a) + len(words_b) - shared),
        "uses_in_a_known_in_b": _share(int(uses_a[known_in_b].sum()), int(uses_a.sum())),
        "uses_in_b_known_in_a": _share(int(uses_b[known_in_a].sum()), int(uses_b.sum())),
    }


def _words(items: ItemTable, progress: Progress) -> tuple[Keys, Counts]:
    """Return the keys of the distinct words in the texts, (n, 2), and how often each occurs, (n,)."""
    counted = KeyCounts()
    for texts in items.texts(_ITEMS_AT_ONCE):
        words, counts = word_counts(folded(texts))
        counted.add(text_keys(words), counts)
        progress.advance(len(texts))
    return counted.table


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
