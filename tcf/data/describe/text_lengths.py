"""How long a dataset's texts are: a count for each length, in words here and in tokens where a tokenizer is at hand."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tcf.data.describe.words import word_lengths
from tcf.data.item_table import ItemTable

__all__ = ["TEXTS_AT_ONCE", "TextLengths", "lengths_in_words", "tally"]

TEXTS_AT_ONCE = 16_384


@dataclass(frozen=True)
class TextLengths:
    """How many items have a text of each length.

    Attributes:
        counts: (longest + 1,) int64; counts[k] items have a text of k units.
        unit: what is counted, in words, for the axis of a plot.
    """

    counts: npt.NDArray[np.int64]
    unit: str


def lengths_in_words(items: ItemTable) -> TextLengths:
    """The lengths of all texts in words, as `tcf.data.describe.words` divides them.

    Raises:
        DataError: the item table is damaged.
    """
    return TextLengths(tally(map(word_lengths, items.texts(TEXTS_AT_ONCE))), "words")


def tally(parts: Iterable[npt.NDArray[np.int64]]) -> npt.NDArray[np.int64]:
    """How often each number occurs in all parts together, (largest + 1,)."""
    counts = np.zeros(1, np.int64)
    for part in parts:
        found = np.bincount(part, minlength=len(counts))
        found[: len(counts)] += counts
        counts = found
    return counts
