from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from small.encoders.models import save_dataset, token_ids
from tcf.data.item_table import ItemTable
from tcf.data.key_set import KeySet
from tcf.data.keys import Keys, sequence_keys
from tcf.encoders.folder.load_tokenizer import load_tokenizer
from tcf.encoders.folder.open_model_folder import open_model_folder
from tcf.encoders.tokenize import TextTokenizer, TokenSequences
from tcf.extract import shards as module
from tcf.extract.shards import Shard, Tally, cut, cut_shards, read_texts, sorted_windows

# Text 3 comes again in another chunk of three, text 2 at once; the last two are cut to the same tokens.
TEXTS = ["mario", "zelda", "zelda", "star", "mario", "", "star", "final", "star " * 9 + "a", "star " * 9 + "b"]
DISTINCT = ["mario", "zelda", "star", "", "final", "star " * 9 + "a", "star " * 9 + "b"]


def shard_of(lengths: list[int], first: int, span: int) -> Shard:
    """Sequences that are told apart by their item, which is also their token."""
    rows = np.arange(first, first + len(lengths))
    offsets = np.cumsum([0, *lengths])
    tokens = np.repeat(rows, lengths).astype(np.int32)
    keys = np.stack([rows, rows + 1000], axis=1).astype(np.uint64)
    return Shard(keys, TokenSequences(tokens, offsets, 0), rows, span)


def check_is(shard: Shard, items: list[int], lengths: list[int], span: int) -> None:
    assert shard.items.tolist() == items
    assert shard.keys.tolist() == [[item, item + 1000] for item in items]
    assert shard.sequences.lengths.tolist() == lengths
    assert shard.sequences.tokens.tolist() == np.repeat(items, lengths).tolist()
    assert shard.span == span


def test_shards_by_hand_from_chunks_of_other_sizes() -> None:
    chunks = [shard_of([1, 0], 0, 4), shard_of([], 2, 9), shard_of([2, 1, 3, 1, 1], 2, 5), shard_of([2], 7, 1)]
    first, second, third = cut_shards(iter(chunks), 3)
    # The items gone through are shared out: 3 / 7 of 18, 3 / 4 of the 11 that are left, and the rest.
    check_is(first, [0, 1, 2], [1, 0, 2], 7)
    check_is(second, [3, 4, 5], [1, 3, 1], 8)
    check_is(third, [6, 7], [1, 2], 4)


def test_a_shard_is_given_as_soon_as_it_is_full() -> None:
    taken: list[int] = []

    def chunks() -> Iterator[Shard]:
        for number in range(5):
            taken.append(number)
            yield shard_of([1, 1], 2 * number, 2)

    shards = cut_shards(chunks(), 4)
    assert len(next(shards).keys) == 4
    assert taken == [0, 1]


def test_no_chunks_make_no_shard_and_empty_ones_one_for_the_progress() -> None:
    assert list(cut_shards(iter([]), 3)) == []
    (shard,) = cut_shards(iter([shard_of([], 0, 7), shard_of([], 0, 2)]), 3)
    check_is(shard, [], [], 9)


@given(st.integers(1, 9), st.lists(st.integers(0, 12), max_size=8), st.data())
def test_going_on_cuts_at_the_same_places(shard_rows: int, sizes: list[int], data: st.DataObject) -> None:
    """Whatever whole shards are there already, the others are cut as before, and chunks do not matter."""
    n = sum(sizes)
    starts = np.cumsum([0, *sizes]).tolist()
    whole = list(cut_shards((shard_of([1] * size, at, 3) for size, at in zip(sizes, starts, strict=False)), shard_rows))
    assert sum(shard.span for shard in whole) == 3 * len(sizes)
    expected = [shard.items.tolist() for shard in whole]
    assert [len(items) for items in expected[:-1]] == [shard_rows] * (len(expected) - 1)
    assert [item for items in expected for item in items] == list(range(n))
    done = [data.draw(st.booleans()) for _ in whole]
    missing = [items for items, is_done in zip(expected, done, strict=True) if not is_done and items]
    rest = [shard_of([1], item, 1) for items in missing for item in items]
    assert [shard.items.tolist() for shard in cut_shards(iter(rest), shard_rows) if len(shard.items)] == missing


def texts_of(*sequences: list[int], first: int = 0) -> Shard:
    """Sequences of these tokens, of the items from `first` on."""
    rows = np.arange(first, first + len(sequences))
    tokens = np.array([token for sequence in sequences for token in sequence], np.int32)
    keys = np.stack([rows, rows + 1000], axis=1).astype(np.uint64)
    return Shard(keys, TokenSequences(tokens, np.cumsum([0, *map(len, sequences)]), 0), rows, len(rows))


def read_chunks(tally: Tally) -> Iterator[Shard]:
    """What `read_texts` yields, and counts meanwhile."""
    for chunk in CHUNKS:
        tally.tokens += len(chunk.sequences.tokens)
        yield chunk


CHUNKS = [
    texts_of([2, 9], [2, 256], [2]),
    texts_of([2, 9, 1], [], first=3),
    texts_of([1], [2, 8], first=5),
    texts_of([3], [4], first=7),
]


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        (1, [[0, 1], [2, 3], [4, 5], [6, 7], [8]]),
        # A token counts as a number, not as bytes: [], [1], [2], [2, 8], [2, 9], [2, 9, 1], [2, 256], [3], [4].
        (2, [[4, 5], [2, 6], [0, 3], [1, 7], [8]]),
    ],
)
def test_shards_are_cut_in_the_order_of_a_version(version: int, expected: list[list[int]]) -> None:
    tally = Tally()
    found = list(cut(read_chunks(tally), tally, 2, version))
    assert [shard.items.tolist() for shard in found] == expected
    assert [shard.keys[:, 1].tolist() for shard in found] == [[item + 1000 for item in items] for items in expected]
    assert sum(shard.span for shard in found) == 9
    sequences = dict(enumerate([[2, 9], [2, 256], [2], [2, 9, 1], [], [1], [2, 8], [3], [4]]))
    for shard in found:
        parts = np.split(shard.sequences.tokens, shard.sequences.offsets[1:-1])
        assert [part.tolist() for part in parts] == [sequences[item] for item in shard.items]


@pytest.mark.parametrize(("limit", "most"), [("_WINDOW_ITEMS", 4), ("_WINDOW_TOKENS", 7)])
def test_a_window_ends_with_the_chunk_that_fills_it(limit: str, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """After two chunks, which have 5 items and 8 tokens; whatever of them is stored already."""
    monkeypatch.setattr(module, limit, most)
    tally = Tally()
    assert [window.items.tolist() for window in sorted_windows(read_chunks(tally), tally)] == [
        [4, 2, 0, 3, 1],
        [5, 6, 7, 8],
    ]
    stored = replace(texts_of(), span=3)
    tally = Tally()

    def chunks() -> Iterator[Shard]:
        for chunk, own in zip([stored, *CHUNKS[1:]], CHUNKS, strict=True):
            tally.tokens += len(own.sequences.tokens)
            yield chunk

    assert [window.items.tolist() for window in sorted_windows(chunks(), tally)] == [[4, 3], [5, 6, 7, 8]]
    assert list(sorted_windows(iter([]), Tally())) == []


@pytest.fixture
def tokenizer(opt: Path) -> TextTokenizer:
    return load_tokenizer(open_model_folder(opt))


def ids_of(opt: Path, text: str) -> list[int]:
    return token_ids(opt, text, 5)


def keys_of(sequences: list[list[int]]) -> list[list[int]]:
    flat = np.array([token for ids in sequences for token in ids], np.int32)
    found: list[list[int]] = sequence_keys(flat, np.cumsum([0, *map(len, sequences)])).tolist()
    return found


def read(folder: Path, tokenizer: TextTokenizer, stored: list[KeySet], prefix: str = "") -> tuple[Any, ...]:
    """All chunks, what was counted, and what was joined."""
    save_dataset(folder / "d", TEXTS)
    tally, joined = Tally(), []

    def join(texts: Keys, sequences: Keys) -> None:
        joined.append((texts, sequences))

    chunks = read_texts(
        ItemTable.open(folder / "d"),
        tokenizer,
        prefix=prefix,
        max_tokens=5,
        tally=tally,
        add_to_maps=join,
        stored=stored,
    )
    return list(chunks), tally, joined


@pytest.mark.parametrize("chunk", [1, 3, 100])
def test_every_distinct_text_and_sequence_once_however_it_is_chunked(
    tmp_path: Path, opt: Path, tokenizer: TextTokenizer, monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    monkeypatch.setattr(module, "_CHUNK", chunk)
    chunks, tally, joined = read(tmp_path, tokenizer, [KeySet()])
    assert [shard.span for shard in chunks] == [min(chunk, 10 - start) for start in range(0, 10, chunk)]
    sequences = [ids_of(opt, text) for text in DISTINCT[:-1]]
    assert [item for shard in chunks for item in shard.items] == [0, 1, 3, 5, 7, 8]
    parts = [shard.sequences for shard in chunks]
    found = [part.tokens[start:end].tolist() for part in parts for start, end in pairwise(part.offsets)]
    assert found == sequences
    assert [key for shard in chunks for key in shard.keys.tolist()] == keys_of(sequences)
    assert sum(len(texts) for texts, _ in joined) == 7
    assert [key for _, keys in joined for key in keys.tolist()] == keys_of([ids_of(opt, text) for text in DISTINCT])
    assert tally.counts() == {
        "items": 10, "texts": 7, "sequences": 6, "texts_cut": 2, "unknown_words": 0, "texts_without_tokens": 0,
        "texts_only_prompt": 0,
    }  # fmt: skip


def test_only_what_some_cache_lacks_is_given(tmp_path: Path, opt: Path, tokenizer: TextTokenizer) -> None:
    keys = np.array(keys_of([ids_of(opt, text) for text in DISTINCT]), np.uint64)
    stored = [KeySet(keys[[0, 1, 2, 3]]), KeySet(keys[[0, 2, 4]])]
    chunks, tally, joined = read(tmp_path, tokenizer, stored)
    assert [item for shard in chunks for item in shard.items] == [1, 5, 7, 8]
    assert (tally.texts, tally.sequences, sum(len(texts) for texts, _ in joined)) == (7, 6, 7)
    # A cache that was read at the start does not change on the way.
    assert [len(keys) for keys in stored] == [4, 3]


def test_a_prefix_stands_before_every_text_and_not_in_the_key_of_the_text(
    tmp_path: Path, opt: Path, tokenizer: TextTokenizer
) -> None:
    chunks, _, joined = read(tmp_path, tokenizer, [KeySet()], prefix="a ")
    (shard,) = chunks
    assert shard.sequences.tokens[: shard.sequences.offsets[1]].tolist() == ids_of(opt, "a mario")
    _, _, plain = read(tmp_path / "plain", tokenizer, [KeySet()])
    assert (joined[0][0] == plain[0][0]).all()
    assert not (joined[0][1] == plain[0][1]).all(axis=1).any()
