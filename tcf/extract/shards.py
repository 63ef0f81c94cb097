"""From item texts to shards of token sequences that have to be computed; runs ahead of the device.

Only the keys seen so far grow with the number of items: 16 bytes per distinct text, and 16 per distinct token sequence.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tcf.data.item_table import ItemTable
from tcf.data.key_set import KeySet
from tcf.data.keys import Keys, sequence_keys, text_keys
from tcf.encoders.prefix_sharing.prefix_tree import sorted_rows
from tcf.encoders.tokenize import TextTokenizer, TokenSequences, tokenize
from tcf.extract.micro_batches import Indices

__all__ = ["CUT", "Shard", "Tally", "cut", "cut_shards", "one_part", "read_texts", "sorted_windows"]

CUT = 2
"""How this version of tcf cuts the shards of a new cache; see `cut`."""
_CHUNK = 16_384  # items read and tokenised at once
# A window ends with the chunk that reaches one of these. A million titles have about 15 million tokens.
_WINDOW_ITEMS = 2**20
_WINDOW_TOKENS = 2**24


@dataclass(frozen=True, eq=False)
class Shard:
    """Token sequences that are computed together and saved together.

    Attributes:
        keys: (n, 2) their keys.
        sequences: n token sequences.
        items: (n,) for each sequence, an item with that text, for messages.
        span: number of items read since the previous shard, for the progress.
    """

    keys: Keys
    sequences: TokenSequences
    items: Indices
    span: int


@dataclass
class Tally:
    """Counts of what has been read so far.

    Attributes:
        skip: tokens at the start of a text that are not pooled.
        texts: distinct texts.
        sequences: distinct token sequences.
        cut: distinct texts longer than the limit.
        unknown: words left out of distinct texts because the encoder has no vector for them.
        empty: distinct texts without any token.
        only_prompt: distinct texts of which no token is pooled, because all are those of the prompt.
        passed: items read.
        tokens: tokens of distinct texts.
    """

    skip: int = 0
    texts: int = 0
    sequences: int = 0
    cut: int = 0
    unknown: int = 0
    empty: int = 0
    only_prompt: int = 0
    passed: int = 0
    tokens: int = 0
    _texts: KeySet = field(default_factory=KeySet)
    _sequences: KeySet = field(default_factory=KeySet)

    def counts(self) -> dict[str, int]:
        """The counts, for manifests."""
        return {
            "items": self.passed,
            "texts": self.texts,
            "sequences": self.sequences,
            "texts_cut": self.cut,
            "unknown_words": self.unknown,
            "texts_without_tokens": self.empty,
            "texts_only_prompt": self.only_prompt,
        }

    def new_texts(self, keys: Keys) -> Indices:
        """Count texts; returns the rows of those that have not been seen before."""
        rows = self._texts.new(keys)
        self.texts += len(rows)
        return rows

    def new_sequences(self, keys: Keys, sequences: TokenSequences) -> Indices:
        """Count token sequences; returns the rows of those that have not been seen before."""
        rows = self._sequences.new(keys)
        self.sequences += len(rows)
        self.tokens += len(sequences.tokens)
        self.cut += sequences.cut
        self.unknown += sequences.unknown
        self.empty += int(np.count_nonzero(sequences.lengths == 0))
        self.only_prompt += int(np.count_nonzero((sequences.lengths > 0) & (sequences.lengths <= self.skip)))
        return rows


def read_texts(
    items: ItemTable,
    tokenizer: TextTokenizer,
    *,
    prefix: str,
    max_tokens: int,
    tally: Tally,
    add_to_maps: Callable[[Keys, Keys], None],
    stored: Sequence[KeySet],
) -> Iterator[Shard]:
    """Tokenise every distinct text once; yields, for each chunk of items, the sequences that some cache lacks.

    Args:
        items: the item table.
        tokenizer: the encoder's tokenizer.
        prefix: put before every text.
        max_tokens: maximum length of a sequence in tokens.
        tally: counts what is read.
        add_to_maps: called with the keys of new texts and of their token sequences.
        stored: for every cache, the sequences that it has.
    """
    for texts in items.texts(_CHUNK):
        keys = text_keys(texts)
        rows = tally.new_texts(keys)
        written = pc.binary_join_element_wise(_text(prefix), texts.take(rows), _text(""))
        sequences = tokenize(tokenizer, written.to_pylist(), max_tokens=max_tokens)
        found = sequence_keys(sequences.tokens, sequences.offsets)
        add_to_maps(keys[rows], found)
        new = tally.new_sequences(found, sequences)
        missing = new[_missing(found[new], stored)]
        yield Shard(found[missing], sequences.take(missing), tally.passed + rows[missing], len(texts))
        tally.passed += len(texts)


def _text(value: str) -> "pa.LargeStringScalar":
    return pa.scalar(value, pa.large_string())


def sorted_windows(chunks: Iterator[Shard], tally: Tally) -> Iterator[Shard]:
    """Join the sequences of consecutive items, and sort them, so that those that begin alike are in the same shard.

    A small catalogue is a single window. Where windows end depends on the items alone, and not on what is stored, so
    that a resumed extraction has the same ones.

    Args:
        chunks: what `read_texts` yields.
        tally: what it counts.
    """
    waiting: list[Shard] = []
    items, tokens = 0, tally.tokens
    for chunk in chunks:
        waiting.append(chunk)
        items += chunk.span
        if items >= _WINDOW_ITEMS or tally.tokens - tokens >= _WINDOW_TOKENS:
            yield _sorted(_joined(waiting))
            waiting, items, tokens = [], 0, tally.tokens
    if waiting:
        yield _sorted(_joined(waiting))


def cut(chunks: Iterator[Shard], tally: Tally, shard_rows: int, version: int) -> Iterator[Shard]:
    """Cut sequences into shards, as a version of tcf did.

    Args:
        chunks: what `read_texts` yields.
        tally: what it counts.
        shard_rows: sequences in a shard; the last of a window, or of all in item order, has fewer.
        version: 1 in the order of the items, 2 in lexicographic order within windows.
    """
    match version:
        case 1:
            yield from cut_shards(chunks, shard_rows)
        case _:
            for window in sorted_windows(chunks, tally):
                yield from cut_shards(iter([window]), shard_rows)


def cut_shards(chunks: Iterator[Shard], shard_rows: int) -> Iterator[Shard]:
    """Regroup sequences into shards of `shard_rows`, in order; only the last has fewer, and may have none.

    An interrupted extraction leaves whole shards missing, so a resumed one cuts at the same places.
    """
    waiting: list[Shard] = []
    for chunk in chunks:
        waiting.append(chunk)
        n = sum(len(part.keys) for part in waiting)
        if n < shard_rows:
            continue
        whole = _joined(waiting)
        bounds = [*range(0, n, shard_rows), n] if n % shard_rows else range(0, n + 1, shard_rows)
        parts = [_part(whole, start, stop) for start, stop in pairwise(bounds)]
        waiting = [parts.pop() if n % shard_rows else _part(whole, n, n)]
        yield from parts
    if waiting:
        yield _joined(waiting)


def one_part(shards: Iterator[Shard], part: int, parts: int, stored: Sequence[KeySet]) -> Iterator[Shard]:
    """Keep every n-th shard, without the sequences that all caches have; the others keep only their span.

    Args:
        shards: cut over all distinct sequences, including stored ones, so that their numbers depend only on the dataset
            and all parts together cover every sequence, whatever was stored when each part began.
        part: number of the first shard to keep.
        parts: n.
        stored: for every cache, the sequences that it has.
    """
    for number, shard in enumerate(shards):
        if number % parts == part:
            yield _rows(shard, _missing(shard.keys, stored), shard.span)
        else:
            yield _rows(shard, np.zeros(0, np.int64), shard.span)


def _missing(keys: Keys, stored: Sequence[KeySet]) -> Indices:
    """Indices of the keys that some cache lacks."""
    return np.flatnonzero(~np.logical_and.reduce([cache.contains(keys) for cache in stored]))


def _sorted(shard: Shard) -> Shard:
    return _rows(shard, sorted_rows(shard.sequences), shard.span)


def _part(shard: Shard, start: int, stop: int) -> Shard:
    """Some of a shard's rows, with their share of its items."""
    n = len(shard.keys)
    return _rows(shard, np.arange(start, stop), shard.span * stop // n - shard.span * start // n)


def _joined(parts: Sequence[Shard]) -> Shard:
    return Shard(
        keys=np.concatenate([part.keys for part in parts]),
        sequences=TokenSequences.concatenate([part.sequences for part in parts]),
        items=np.concatenate([part.items for part in parts]),
        span=sum(part.span for part in parts),
    )


def _rows(shard: Shard, rows: Indices, span: int) -> Shard:
    return Shard(shard.keys[rows], shard.sequences.take(rows), shard.items[rows], span)
