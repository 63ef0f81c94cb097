"""Lengths of a dataset's texts: a count for each length, in words here, and in tokens if a tokenizer is available.

Words are found without a language model: texts are folded to one case and split.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tcf.data.item_table import ItemTable

__all__ = ["TEXTS_AT_ONCE", "TextLengths", "folded", "lengths_in_words", "tally", "word_counts", "word_lengths"]

# Scripts written without spaces: each of their characters counts as a word.
_UNSPACED = r"([\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}])"
_NOT_OF_WORDS = r"[^\p{L}\p{M}\p{N}_]+"
TEXTS_AT_ONCE = 16_384


def folded(texts: "pa.LargeStringArray") -> "pa.LargeStringArray":
    """Return texts with case folded and every run of white space replaced by one space, (n,)."""
    return pa.array([" ".join(text.casefold().split()) for text in texts.to_pylist()], pa.large_string())


def word_lengths(texts: "pa.LargeStringArray") -> npt.NDArray[np.int64]:
    """Return the number of words in every text, (n,).

    A word is a run of letters, digits and underscores; in scripts written without spaces it is a character.
    """
    spaced = _spaced(texts)
    lengths = np.asarray(pc.list_value_length(pc.split_pattern(spaced, " ")), np.int64)
    # A text without words is split into one empty word.
    return np.where(np.asarray(pc.equal(spaced, "")), 0, lengths)


def word_counts(texts: "pa.LargeStringArray") -> "tuple[pa.LargeStringArray, npt.NDArray[np.int64]]":
    """Return the distinct words of some texts, (n_words,), and how often each occurs, (n_words,)."""
    words = pc.list_flatten(pc.split_pattern(_spaced(texts), " "))
    counted = pc.value_counts(words.filter(pc.not_equal(words, "")))
    return counted.field("values").cast(pa.large_string()), np.asarray(counted.field("counts"), np.int64)


def _spaced(texts: "pa.LargeStringArray") -> "pa.LargeStringArray":
    """Return the words of every text, separated by single spaces."""
    apart = pc.replace_substring_regex(texts, _UNSPACED, r" \1 ")
    return pc.utf8_trim_whitespace(pc.replace_substring_regex(apart, _NOT_OF_WORDS, " "))


@dataclass(frozen=True)
class TextLengths:
    """The number of items with a text of each length.

    Attributes:
        counts: (longest + 1,) int64; counts[k] items have a text of k units.
        unit: name of the unit, for the axis of a plot.
    """

    counts: npt.NDArray[np.int64]
    unit: str


def lengths_in_words(items: ItemTable) -> TextLengths:
    """Return the lengths of all texts in words.

    Raises:
        DataError: the item table is damaged.
    """
    return TextLengths(tally(map(word_lengths, items.texts(TEXTS_AT_ONCE))), "words")


def tally(parts: Iterable[npt.NDArray[np.int64]]) -> npt.NDArray[np.int64]:
    """Return how often each number occurs in all parts together, (largest + 1,)."""
    counts = np.zeros(1, np.int64)
    for part in parts:
        found = np.bincount(part, minlength=len(counts))
        found[: len(counts)] += counts
        counts = found
    return counts
