"""The amount of work: a catalogue's distinct texts and their tokens, counted or estimated from a sample."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tcf.common.random_streams import RandomStream, generator
from tcf.data.item_table import ItemTable
from tcf.data.key_set import KeySet
from tcf.data.keys import first_occurrences, sequence_keys, text_keys
from tcf.encoders.prefix_sharing.prefix_tree import shared_with_previous, sorted_rows
from tcf.encoders.tokenize import TextTokenizer, TokenSequences, tokenize

if TYPE_CHECKING:
    from pyarrow import LargeStringArray

__all__ = ["Workload", "expected_workload", "workload"]

_SAMPLE = 20_000  # maximum number of items that are tokenised
_COUNTED = 200_000  # maximum number of items for which distinct texts are counted exactly
_GROUPS = 32  # row groups that a sample is drawn from
_SEED = 0
# Measured on 16,858 titles of games with a byte-level tokenizer of 49,152 tokens.
_BYTES_A_TOKEN = 3.3
_TOKENS_A_TITLE = 14

Counts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Workload:
    """What an extraction will compute.

    Attributes:
        items: number of items of the catalogue.
        texts: number of distinct texts.
        sequences: number of distinct token sequences that are not stored yet.
        tokens: their number of tokens.
        squares: sum over these sequences of the squared number of tokens.
        longest: tokens of the longest sequence seen.
        group_tokens: maximum over lengths of the tokens of all sequences of that length; bounds a micro-batch.
        exact: whether this was counted; otherwise it was estimated.
        tokenise_seconds: time to tokenise all distinct texts.
        shared: number of tokens whose states are those of another text that begins alike; estimated from a sample, they
            are too few, as a sample has fewer such texts.
        shared_squares: sum over the sequences of the squared number of these tokens.
    """

    items: int
    texts: int
    sequences: int
    tokens: int
    squares: float
    longest: int
    group_tokens: int
    exact: bool
    tokenise_seconds: float = 0.0
    shared: int = 0
    shared_squares: float = 0.0

    @property
    def computed(self) -> int:
        """Number of tokens whose states are computed: the nodes of the tree of prefixes."""
        return self.tokens - self.shared

    @property
    def tokens_a_text(self) -> float:
        """Average number of tokens of the sequences to compute."""
        return self.tokens / max(1, self.sequences)


def expected_workload(items: int, tokens_a_text: int | None, max_tokens: int) -> Workload:
    """The workload of a catalogue that does not exist yet, if all its texts differ.

    Args:
        items: number of items.
        tokens_a_text: average number of tokens of a text; about that of a title if not given.
        max_tokens: maximum length of a sequence in tokens.
    """
    length = min(tokens_a_text or _TOKENS_A_TITLE, max_tokens)
    tokens = items * length
    return Workload(items, items, items, tokens, float(tokens * length), max_tokens, tokens, exact=False)


def workload(
    items: ItemTable,
    tokenizer: TextTokenizer | None,
    prefix: str,
    max_tokens: int,
    stored: Sequence[KeySet] = (),
    *,
    shares: bool = False,
) -> Workload:
    """Count, or estimate from a sample of the items, what an extraction will compute.

    Args:
        items: the item table.
        tokenizer: the encoder's; if None, tokens are estimated from the texts' bytes.
        prefix: put before every text.
        max_tokens: maximum length of a sequence in tokens.
        stored: for every cache, the sequences that it has; empty if there is no cache.
        shares: whether texts that begin alike share the states of their common tokens.

    Raises:
        DataError: the item table is damaged.
        ConfigError: `max_tokens` does not fit the model.
    """
    sample = _sample(items)
    texts = sample.take(first_occurrences(text_keys(sample)))
    n_texts = round(items.n_items * len(texts) / max(1, len(sample)))
    if len(sample) < items.n_items <= _COUNTED:
        n_texts = _distinct(items)
    scale = n_texts / max(1, len(texts))
    began = time.perf_counter()
    if tokenizer is None:
        lengths, shared = _estimated(texts, prefix, max_tokens), np.zeros(0, np.int64)
    else:
        sequences = _missing(texts, tokenizer, prefix, max_tokens, stored)
        lengths, shared = sequences.lengths, _shared(sequences, shares=shares)
    spent = 0.0 if tokenizer is None else time.perf_counter() - began
    return Workload(
        items=items.n_items,
        texts=n_texts,
        sequences=round(scale * len(lengths)),
        tokens=round(scale * int(lengths.sum())),
        squares=scale * float(np.square(lengths).sum()),
        longest=int(lengths.max(initial=0)),
        group_tokens=round(scale * int(_group_tokens(lengths).max(initial=0))),
        exact=len(sample) == items.n_items and tokenizer is not None,
        tokenise_seconds=scale * spent,
        shared=round(scale * int(shared.sum())),
        shared_squares=scale * float(np.square(shared).sum()),
    )


def _sample(items: ItemTable) -> "LargeStringArray":
    """All texts of a small catalogue; for a large one, a fixed sample spread over the whole table."""
    if items.n_items <= _SAMPLE:
        return _joined(list(items.texts(_SAMPLE)))
    n_groups = items.groups()
    groups = np.unique(np.linspace(0, n_groups - 1, min(n_groups, _GROUPS)).round().astype(int)).tolist()
    draw = generator(RandomStream.WORKLOAD_SAMPLE, _SEED)
    parts = [_joined(list(items.texts(_COUNTED, [group]))) for group in groups]
    rows = sum(map(len, parts))
    # In proportion to each group's rows, so that a short last group does not count for more.
    return _joined([part.take(_drawn(draw, len(part), _SAMPLE * len(part) // rows)) for part in parts])


def _drawn(draw: np.random.Generator, rows: int, wanted: int) -> "pa.Int64Array":
    return pa.array(np.sort(draw.choice(rows, size=min(rows, wanted), replace=False)))


def _joined(parts: "list[LargeStringArray]") -> "LargeStringArray":
    return pa.chunked_array(parts, pa.large_string()).combine_chunks()


def _distinct(items: ItemTable) -> int:
    return int(pc.count_distinct(pa.chunked_array(list(items.texts(_SAMPLE)), pa.large_string())).as_py())


def _missing(
    texts: "LargeStringArray", tokenizer: TextTokenizer, prefix: str, max_tokens: int, stored: Sequence[KeySet]
) -> TokenSequences:
    """The distinct sequences that at least one cache lacks."""
    written = [prefix + text for text in texts.to_pylist()]
    sequences = tokenize(tokenizer, written, max_tokens=max_tokens)
    keys = sequence_keys(sequences.tokens, sequences.offsets)
    rows = first_occurrences(keys)
    if stored:
        rows = rows[~np.logical_and.reduce([cache.contains(keys[rows]) for cache in stored])]
    return sequences.take(rows)


def _shared(sequences: TokenSequences, *, shares: bool) -> Counts:
    """Tokens that each sequence has in common with the one before it in order."""
    return shared_with_previous(sequences.take(sorted_rows(sequences))) if shares else np.zeros(0, np.int64)


def _group_tokens(lengths: Counts) -> Counts:
    """Total tokens of the sequences of each length, indexed by length."""
    counts = np.bincount(lengths)
    return counts * np.arange(len(counts))


def _estimated(texts: "LargeStringArray", prefix: str, max_tokens: int) -> Counts:
    """Tokens of every text, estimated from its bytes, plus one that the tokenizer adds."""
    found = np.asarray(pc.binary_length(texts), np.int64) + len(prefix.encode())
    return np.minimum(np.ceil(found / _BYTES_A_TOKEN).astype(np.int64) + 1, max_tokens)
