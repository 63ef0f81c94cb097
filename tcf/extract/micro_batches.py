"""Micro-batches: texts of a shard that the device runs at once.

They are either texts of equal length, or texts of any lengths as the nodes of their prefix tree, so that there is never
any padding. They are a pure function of the shard, so that its bytes do not depend on who computes it, or when.

Shapes: B texts, T tokens, D width; one text of N tokens, its nodes, stands for all texts of a tree.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tcf.common.ragged import offsets_from, run_starts
from tcf.encoders.prefix_sharing.prefix_tree import PrefixTree, shared_with_previous, sorted_rows
from tcf.encoders.tokenize import TokenSequences

__all__ = ["Indices", "MicroBatch", "TextGroup", "in_order", "micro_batches", "shared_micro_batches"]

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class TextGroup:
    """Texts of a micro-batch that have equally many tokens, and whose states are taken at once.

    Attributes:
        rows: the texts, as rows of the shard.
        length: tokens of each text.
        texts_before: number of texts in the groups before this one.
        tokens_before: number of tokens in the groups before this one.
    """

    rows: Indices
    length: int
    texts_before: int
    tokens_before: int

    @property
    def n_tokens(self) -> int:
        """Number of tokens of all its texts."""
        return len(self.rows) * self.length

    @property
    def texts(self) -> slice:
        """Its range among the texts of all groups in order."""
        return slice(self.texts_before, self.texts_before + len(self.rows))

    @property
    def tokens(self) -> slice:
        """Its range among the tokens of all groups in order."""
        return slice(self.tokens_before, self.tokens_before + self.n_tokens)


@dataclass(frozen=True, eq=False)
class MicroBatch:
    """Texts of a shard that are computed at once.

    Attributes:
        groups: the texts by length: a single group if there is no tree.
        states_before: number of states in the micro-batches before this one.
        tree: the tree of all its texts, whose nodes are computed; None to compute every token of every text.
        members: for each group, its texts as texts of the tree; empty without a tree.
    """

    groups: tuple[TextGroup, ...]
    states_before: int
    tree: PrefixTree | None = None
    members: tuple[Indices, ...] = ()

    @property
    def shape(self) -> tuple[int, int]:
        """Texts and tokens of what is computed, (B, T): (1, N) with a tree."""
        if self.tree is not None:
            return 1, len(self.tree)
        return len(self.groups[0].rows), self.groups[0].length

    @property
    def n_states(self) -> int:
        """Number of token states that are computed; 0 for texts without tokens, which need no model."""
        return self.shape[0] * self.shape[1]

    @property
    def states(self) -> slice:
        """Its range among the states of all micro-batches in order."""
        return slice(self.states_before, self.states_before + self.n_states)

    @property
    def rows(self) -> Indices:
        """Its texts, as rows of the shard, in order."""
        return np.concatenate([group.rows for group in self.groups])

    @property
    def n_texts(self) -> int:
        """Number of its texts."""
        return sum(len(group.rows) for group in self.groups)

    @property
    def n_tokens(self) -> int:
        """Number of tokens of all its texts."""
        return sum(group.n_tokens for group in self.groups)

    def tokens(self, sequences: TokenSequences) -> Indices:
        """The token ids to be computed, (B, T).

        Args:
            sequences: all token sequences of the shard.
        """
        return self.tree.tokens_N[None] if self.tree is not None else sequences.block(self.groups[0].rows)

    def by_group(self, states_BTD: Tensor) -> Iterator[tuple[TextGroup, Tensor]]:
        """Yield the states of texts of equal length, (B, T, D), from all that were computed.

        Those of a tree are gathered, no more at once than were computed, however much the texts share.
        """
        if self.tree is None:
            yield self.groups[0], states_BTD
            return
        parts = (part for pair in zip(self.groups, self._paths, strict=True) for part in _parts(*pair, self.n_states))
        for group, paths_BT in parts:
            yield group, states_BTD[0][torch.from_numpy(paths_BT).to(states_BTD.device, non_blocking=True)]

    def first_bad(self, good_BT: Tensor) -> int | None:
        """The first text, as a row of the shard, one of whose states is marked as bad; None if there is none."""
        for group, good in self.by_group(good_BT):
            texts = good.all(dim=1).tolist()
            if False in texts:
                return int(group.rows[texts.index(False)])
        return None

    @cached_property
    def _paths(self) -> tuple[Indices, ...]:
        return () if self.tree is None else tuple(self.tree.paths(texts) for texts in self.members)


def _parts(group: TextGroup, paths_BT: Indices, tokens: int) -> Iterator[tuple[TextGroup, Indices]]:
    """Cut a group, with the paths of its texts, into parts of at most so many tokens, or of a single text."""
    size = max(1, tokens // max(1, group.length))
    for start in range(0, len(group.rows), size):
        rows = group.rows[start : start + size]
        before = group.texts_before + start, group.tokens_before + start * group.length
        yield TextGroup(rows, group.length, *before), paths_BT[start : start + size]


def micro_batches(lengths: npt.NDArray[np.int64], tokens: int) -> list[MicroBatch]:
    """Group the texts of a shard by exact length, then cut every group evenly into parts of at most `tokens` tokens.

    Args:
        lengths: tokens of each text, (n,).
        tokens: maximum number of tokens of a micro-batch; a longer text is a micro-batch of its own.

    Returns:
        Each text in exactly one micro-batch; long texts first, so that memory runs out at once or never.
    """
    batches: list[MicroBatch] = []
    texts_before = tokens_before = 0
    for rows, length in _of_equal_length(lengths):
        size = max(1, tokens // max(1, length))
        # Evenly, because a small remainder would not keep the device busy.
        for part in np.array_split(rows, -(-len(rows) // size)):
            group = TextGroup(part, length, texts_before, tokens_before)
            batches.append(MicroBatch((group,), tokens_before))
            texts_before, tokens_before = group.texts.stop, group.tokens.stop
    return batches


def shared_micro_batches(sequences: TokenSequences, tokens: int) -> list[MicroBatch]:
    """Cut the texts of a shard, in lexicographic order, into trees of about equally many nodes.

    Args:
        sequences: the token sequences of the shard, which are sorted if they are not.
        tokens: maximum number of nodes of a micro-batch; a longer text is a micro-batch of its own.

    Returns:
        Each text in exactly one micro-batch; long texts first, so that memory runs out at once or never.
    """
    order = sorted_rows(sequences)
    ordered = sequences.take(order)
    lengths = ordered.lengths
    n_empty = int(np.count_nonzero(lengths == 0))  # an empty text comes before all others
    bounds = _bounds(lengths[n_empty:], shared_with_previous(ordered)[n_empty:], tokens) + n_empty
    parts = sorted(pairwise(bounds.tolist()), key=lambda part: -int(lengths[part[0] : part[1]].max()))
    batches: list[MicroBatch] = []
    for start, stop in [*parts, (0, n_empty)] if n_empty else parts:
        batches.append(_tree_batch(ordered.take(np.arange(start, stop)), order[start:stop], batches))
    return batches


def _tree_batch(sequences: TokenSequences, rows: Indices, before: Sequence[MicroBatch]) -> MicroBatch:
    """A micro-batch of sorted sequences, which are these rows of the shard, after those that come before it."""
    last = before[-1] if before else None
    texts_before, tokens_before = (last.groups[-1].texts.stop, last.groups[-1].tokens.stop) if last else (0, 0)
    groups, members = [], []
    for texts, length in _of_equal_length(sequences.lengths):
        groups.append(TextGroup(rows[texts], length, texts_before, tokens_before))
        members.append(texts)
        texts_before, tokens_before = groups[-1].texts.stop, groups[-1].tokens.stop
    states_before = last.states.stop if last else 0
    if not groups[0].length:
        return MicroBatch(tuple(groups), states_before)
    return MicroBatch(tuple(groups), states_before, PrefixTree.of(sequences), tuple(members))


def _bounds(lengths: Indices, shared: Indices, most: int) -> Indices:
    """Where to cut sorted texts into as few trees of at most `most` nodes as there can be, nearly equal ones; (k + 1,).

    Args:
        lengths: tokens of each text, (n,).
        shared: tokens that each has in common with the one before it, (n,).
        most: maximum number of nodes; a text with more of them is cut off on its own.
    """
    if not len(lengths):
        return np.zeros(1, np.int64)
    nodes = offsets_from(lengths - shared)  # of all texts before each
    bounds = _filled(nodes, shared, most)
    parts = len(bounds) - 1
    # Evenly, because a small remainder would not keep the device busy.
    evenly = _filled(nodes, shared, -(-int(nodes[-1] + shared[bounds[1:-1]].sum()) // parts) + int(lengths.max()))
    return evenly if len(evenly) == len(bounds) and _largest(nodes, shared, evenly) <= most else bounds


def _filled(nodes: Indices, shared: Indices, most: int) -> Indices:
    """Bounds of trees that are filled up one after the other."""
    bounds = [0]
    while bounds[-1] < len(shared):
        start = bounds[-1]
        # The first text of a tree shares nothing.
        stop = int(np.searchsorted(nodes, nodes[start] + most - shared[start], side="right")) - 1
        bounds.append(max(start + 1, stop))
    return np.array(bounds, np.int64)


def _largest(nodes: Indices, shared: Indices, bounds: Indices) -> int:
    return int((np.diff(nodes[bounds]) + shared[bounds[:-1]]).max())


def _of_equal_length(lengths: Indices) -> Iterator[tuple[Indices, int]]:
    """Texts of equal length with that length, the longest first, in their order."""
    order = np.argsort(-lengths, kind="stable")
    for group in np.split(order, run_starts(lengths[order])[1:]) if len(order) else []:
        yield group, int(lengths[group[0]])


def in_order(batches: Sequence[MicroBatch]) -> Indices:
    """The texts of a shard in the order of its micro-batches, (n,)."""
    groups = [group.rows for batch in batches for group in batch.groups]
    return np.concatenate([np.zeros(0, np.int64), *groups])
