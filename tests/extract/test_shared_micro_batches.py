"""Micro-batches of texts that share prefixes: every text once, as the path of a tree that is not too large."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tcf.encoders.tokenize import TokenSequences
from tcf.extract.micro_batches import MicroBatch, in_order, shared_micro_batches

TEXTS = st.lists(st.lists(st.integers(0, 2), max_size=7), max_size=40)


def sequences_of(texts: list[list[int]]) -> TokenSequences:
    tokens = np.array([token for text in texts for token in text], np.int32)
    return TokenSequences(tokens, np.cumsum([0, *map(len, texts)]), 0)


def nodes_of(texts: list[list[int]]) -> int:
    """Number of distinct prefixes."""
    return len({tuple(text[:end]) for text in texts for end in range(1, len(text) + 1)})


def check(batch: MicroBatch, texts: list[list[int]]) -> None:
    """A batch computes each distinct prefix of its texts once, and finds every text's states among them."""
    own = [texts[row] for row in batch.rows]
    assert batch.n_texts == len(own) > 0
    assert batch.n_tokens == sum(map(len, own))
    lengths = [group.length for group in batch.groups]
    assert lengths == sorted(set(map(len, own)), reverse=True)
    if batch.tree is None:
        assert (lengths, batch.n_states) == ([0], 0)
        return
    assert batch.n_states == nodes_of(own)
    tokens_1N = torch.from_numpy(batch.tokens(sequences_of(texts)))
    assert batch.shape == tokens_1N.shape
    # Taking the tokens as if they were states gives the tokens of each text.
    for group, found in batch.by_group(tokens_1N[:, :, None]):
        assert found[:, :, 0].tolist() == [texts[row] for row in group.rows]


@settings(deadline=None, max_examples=80)
@given(TEXTS, st.integers(1, 60))
def test_every_text_once_in_trees_that_are_not_too_large(texts: list[list[int]], tokens: int) -> None:
    batches = shared_micro_batches(sequences_of(texts), tokens)
    assert sorted(in_order(batches).tolist()) == list(range(len(texts)))
    read = told = states = 0
    for batch in batches:
        check(batch, texts)
        # Equal texts have the nodes of one.
        assert batch.n_states <= tokens or len({tuple(texts[row]) for row in batch.rows}) == 1
        assert batch.states == slice(states, states + batch.n_states)
        states += batch.n_states
        for group in batch.groups:
            assert group.texts == slice(read, read + len(group.rows))
            assert group.tokens == slice(told, told + group.n_tokens)
            read, told = group.texts.stop, group.tokens.stop
    longest = [batch.groups[0].length for batch in batches]
    assert longest == sorted(longest, reverse=True)


def test_by_hand() -> None:
    """Sorted: [], [1], [1, 2], [1, 2, 3], [4], [4, 5, 6]; a tree of at most three nodes ends with 1, 2, 3."""
    texts = [[4, 5, 6], [1, 2, 3], [1], [], [4], [1, 2]]
    first, second, third = shared_micro_batches(sequences_of(texts), 3)
    assert [group.rows.tolist() for group in first.groups] == [[1], [5], [2]]
    assert [group.rows.tolist() for group in second.groups] == [[0], [4]]
    assert third.rows.tolist() == [3]
    assert [batch.n_states for batch in (first, second, third)] == [3, 3, 0]
    assert [batch.n_tokens for batch in (first, second, third)] == [6, 4, 0]


def test_trees_are_of_about_equal_size_and_as_few_as_possible() -> None:
    """1,000 texts of a common token and five of their own, at most 900 nodes at once: 5,001 + 5 nodes in 6 trees."""
    texts = [[0, 1 + number, 2, 3, 4, 5] for number in range(1000)]
    sizes = [batch.n_states for batch in shared_micro_batches(sequences_of(texts), 900)]
    assert len(sizes) == 6
    assert min(sizes) > 0.9 * max(sizes)


def test_a_text_longer_than_a_micro_batch_runs_alone() -> None:
    texts = [[1, 2, 3, 4, 5], [1, 2, 3, 4, 6], [1, 2]]
    batches = shared_micro_batches(sequences_of(texts), 3)
    assert [batch.rows.tolist() for batch in batches] == [[0], [1], [2]]
    assert [batch.n_states for batch in batches] == [5, 5, 2]


@pytest.mark.parametrize("texts", [[], [[]], [[], []]])
def test_no_texts_and_only_empty_ones(texts: list[list[int]]) -> None:
    batches = shared_micro_batches(sequences_of(texts), 5)
    assert [batch.rows.tolist() for batch in batches] == ([list(range(len(texts)))] if texts else [])
    assert all(batch.tree is None and batch.n_states == 0 for batch in batches)


def test_a_cut_depends_on_the_texts_alone() -> None:
    texts = [[1, 2, number % 7, number] for number in range(200)]
    one, other = (shared_micro_batches(sequences_of(texts), 50) for _ in range(2))
    assert len(one) > 4
    assert all(np.array_equal(a.rows, b.rows) for a, b in zip(one, other, strict=True))


def test_the_first_text_with_a_bad_state() -> None:
    """A bad node is on the paths of all texts below it; groups go from long texts to short ones."""
    texts = [[1], [1, 2, 3], [1, 2, 4], [1, 5, 5], [6, 7]]
    [batch] = shared_micro_batches(sequences_of(texts), 100)
    assert batch.tree is not None
    for bad, row in ((None, None), (4, 2), (5, 3), (2, 1), (7, 4)):
        good_1N = torch.from_numpy(batch.tree.tokens_N != bad)[None]
        assert batch.first_bad(good_1N) == row


def test_prefixes_of_neighbours_in_one_tree() -> None:
    """Of 10,000 texts that share 29 of 30 tokens, a tree of 500 nodes has 471."""
    texts = np.concatenate([np.tile(np.arange(29), (10_000, 1)), np.arange(10_000)[:, None]], axis=1)
    sequences = TokenSequences(texts.astype(np.int32).flatten(), np.arange(10_001) * 30, 0)
    batches = shared_micro_batches(sequences, 500)
    assert len(batches) == -(-10_000 // 471)
    assert sum(batch.n_states for batch in batches) == 10_000 + 29 * len(batches)
    assert all(a.states.stop == b.states.start for a, b in pairwise(batches))


def test_no_more_states_are_gathered_at_once_than_were_computed() -> None:
    """Of 9 texts of 5 tokens with 4 in common, 13 nodes are computed: two texts at a time."""
    texts = [[1, 1, 1, 1, number] for number in range(9)]
    [batch] = shared_micro_batches(sequences_of(texts), 100)
    parts = list(batch.by_group(torch.from_numpy(batch.tokens(sequences_of(texts)))))
    assert [tuple(found.shape) for _, found in parts] == [(2, 5)] * 4 + [(1, 5)]
    assert torch.cat([found for _, found in parts]).tolist() == texts
    assert [(group.rows.tolist(), group.texts_before, group.tokens_before) for group, _ in parts] == [
        ([0, 1], 0, 0), ([2, 3], 2, 10), ([4, 5], 4, 20), ([6, 7], 6, 30), ([8], 8, 40),
    ]  # fmt: skip
