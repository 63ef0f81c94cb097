"""The tree of prefixes against a trie of Python dictionaries, and by hand."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tcf.encoders.prefix_sharing.prefix_tree import PrefixTree, shared_with_previous, sorted_rows
from tcf.encoders.tokenize import TokenSequences

Texts = Sequence[Sequence[int]]
# Few tokens, so that prefixes are shared; ids on both sides of a byte, and the largest one.
TOKEN = st.sampled_from([0, 1, 2, 255, 256, 65_536, 2**31 - 1])
TEXTS = st.lists(st.lists(TOKEN, max_size=6), max_size=25)


def sequences_of(texts: Texts) -> TokenSequences:
    tokens = np.array([token for text in texts for token in text], np.int32)
    return TokenSequences(tokens, np.cumsum([0, *map(len, texts)]), 0)


def tree_of(texts: Texts) -> PrefixTree:
    """The tree of texts that are sorted already."""
    assert list(map(list, texts)) == sorted(map(list, texts))
    return PrefixTree.of(sequences_of(texts))


def paths_of(tree: PrefixTree) -> list[list[int]]:
    return [tree.paths_P[start:end].tolist() for start, end in pairwise(tree.offsets)]


def common(one: Sequence[int], other: Sequence[int]) -> int:
    """Tokens that two texts have in common at their start, counted one by one."""
    n = 0
    while n < min(len(one), len(other)) and one[n] == other[n]:
        n += 1
    return n


def trie_of(texts: Texts) -> tuple[list[int], list[int], list[list[int]]]:
    """Token and depth of each node, and the path of each text, as a dictionary of prefixes numbers them."""
    numbers: dict[tuple[int, ...], int] = {}
    paths = [[numbers.setdefault(tuple(text[: end + 1]), len(numbers)) for end in range(len(text))] for text in texts]
    return [prefix[-1] for prefix in numbers], [len(prefix) - 1 for prefix in numbers], paths


@settings(deadline=None, max_examples=60)
@given(TEXTS)
def test_rows_are_sorted_as_lists_are(texts: list[list[int]]) -> None:
    found = sorted_rows(sequences_of(texts)).tolist()
    assert sorted(found) == list(range(len(texts)))
    assert [texts[row] for row in found] == sorted(texts)


@settings(deadline=None, max_examples=60)
@given(TEXTS)
def test_shared_tokens_are_those_counted_one_by_one(texts: list[list[int]]) -> None:
    expected = [0, *(common(one, other) for one, other in pairwise(texts))] if texts else []
    assert shared_with_previous(sequences_of(texts)).tolist() == expected


@settings(deadline=None, max_examples=60)
@given(TEXTS)
def test_nodes_and_paths_are_those_of_a_trie(texts: list[list[int]]) -> None:
    texts = sorted(texts)
    tree = tree_of(texts)
    tokens, depths, paths = trie_of(texts)
    assert (tree.tokens_N.tolist(), tree.depths_N.tolist(), paths_of(tree)) == (tokens, depths, paths)
    assert len(tree) == len(tokens) == tree.added.sum()
    assert tree.lengths.tolist() == [len(text) for text in texts]
    seen = 0
    for path, added in zip(paths, tree.added.tolist(), strict=True):
        # A text has the nodes that it adds at the end of its path, all others were there before it.
        assert path[len(path) - added :] == list(range(seen, seen + added))
        assert all(node < seen for node in path[: len(path) - added])
        seen += added
    for length in {len(text) for text in texts}:
        rows = np.flatnonzero(tree.lengths == length)
        assert tree.paths(rows).tolist() == [paths[row] for row in rows]


def test_by_hand() -> None:
    """The empty text, one that is a prefix of the next, one that is there twice, and one that begins anew."""
    tree = tree_of([[], [4], [4, 7], [4, 7, 1], [4, 7, 1], [4, 9, 1], [5]])
    assert tree.tokens_N.tolist() == [4, 7, 1, 9, 1, 5]
    assert tree.depths_N.tolist() == [0, 1, 2, 1, 2, 0]
    assert tree.added.tolist() == [0, 1, 1, 1, 0, 2, 1]
    assert paths_of(tree) == [[], [0], [0, 1], [0, 1, 2], [0, 1, 2], [0, 3, 4], [5]]
    assert tree.paths(np.array([3, 5])).tolist() == [[0, 1, 2], [0, 3, 4]]


@pytest.mark.parametrize("n", [0, 1, 3])
def test_only_empty_texts(n: int) -> None:
    tree = tree_of([[]] * n)
    assert (len(tree), tree.added.tolist(), tree.lengths.tolist(), len(tree.paths_P)) == (0, [0] * n, [0] * n, 0)
    assert sorted_rows(sequences_of([[]] * n)).tolist() == list(range(n))


def test_equal_texts_are_one_path_and_keep_their_order() -> None:
    texts = [[3, 1, 4, 1, 5]] * 1000
    assert sorted_rows(sequences_of(texts)).tolist() == list(range(1000))
    tree = tree_of(texts)
    assert len(tree) == 5
    assert (tree.paths(np.arange(1000)) == np.arange(5)).all()


def test_rows_of_a_part_of_an_array_of_tokens() -> None:
    """Offsets need not begin with 0."""
    part = TokenSequences(np.array([9, 9, 6, 5, 5, 7], np.int32), np.array([2, 3, 4, 6]), 0)
    assert sorted_rows(part).tolist() == [1, 2, 0]
    assert shared_with_previous(part).tolist() == [0, 0, 1]
    tree = PrefixTree.of(TokenSequences(part.tokens, part.offsets[1:], 0))
    assert (tree.tokens_N.tolist(), tree.offsets.tolist(), tree.paths_P.tolist()) == ([5, 7], [0, 1, 3], [0, 0, 1])


@pytest.mark.parametrize("depth", [2048, 70_000])
def test_a_deep_tree_of_which_every_prefix_is_a_text(depth: int) -> None:
    """Two texts leave the deepest one half way; above 65,536 tokens depths do not fit 16 bits."""
    stem = np.arange(depth) % 7
    half = depth // 2
    texts = [stem[:1], stem[:half], stem, np.append(stem[:half], 8), np.append(stem[:half], [9, 9])]
    tree = PrefixTree.of(TokenSequences(np.concatenate(texts).astype(np.int32), np.cumsum([0, *map(len, texts)]), 0))
    assert tree.added.tolist() == [1, half - 1, depth - half, 1, 2]
    assert tree.tokens_N.tolist() == [*stem, 8, 9, 9]
    assert tree.depths_N.tolist() == [*range(depth), half, half, half + 1]
    assert tree.paths(np.array([2])).tolist() == [list(range(depth))]
    assert tree.paths(np.array([3])).tolist() == [[*range(half), depth]]
    assert tree.paths(np.array([4])).tolist() == [[*range(half), depth + 1, depth + 2]]


def test_10_000_texts_that_differ_in_their_last_of_30_tokens() -> None:
    draw = np.random.default_rng(0)
    stem, last = draw.integers(0, 50_000, 29), draw.permutation(10_000)
    texts_BT = np.concatenate([np.tile(stem, (10_000, 1)), last[:, None]], axis=1)
    sequences = TokenSequences(texts_BT.astype(np.int32).flatten(), np.arange(10_001) * 30, 0)
    rows = sorted_rows(sequences)
    assert (last[rows] == np.arange(10_000)).all()
    tree = PrefixTree.of(sequences.take(rows))
    assert len(tree) == 29 + 10_000
    paths_BT = tree.paths(np.arange(10_000))
    assert (paths_BT[:, :29] == np.arange(29)).all()
    assert (paths_BT[:, 29] == 29 + np.arange(10_000)).all()
    assert (tree.tokens_N[paths_BT] == texts_BT[rows]).all()
