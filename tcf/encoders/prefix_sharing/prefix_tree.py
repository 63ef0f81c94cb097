"""The prefix tree of token sequences: one node for each distinct prefix.

In a causal model the state of a token depends on the tokens up to it alone, so texts that begin alike share the states
of their common prefix. A model that runs on the nodes of the tree computes each of these once.

Shapes: n texts, N nodes, P tokens of all texts, T tokens of a text.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tcf.common.ragged import offsets_from, spans
from tcf.encoders.tokenize import TokenSequences

__all__ = ["PrefixTree", "shared_with_previous", "sorted_rows"]

Counts = npt.NDArray[np.int64]


def sorted_rows(sequences: TokenSequences) -> Counts:
    """Return the rows of token sequences in lexicographic order, (n,); a prefix comes before what it begins.

    >>> sorted_rows(TokenSequences(np.array([5, 7, 5, 2], np.int32), np.array([0, 2, 3, 4]), 0)).tolist()
    [2, 1, 0]
    """
    # Bytes are compared from the first on, so that the high ones must come first.
    values = pa.py_buffer(np.ascontiguousarray(sequences.tokens, ">u4"))
    offsets = pa.py_buffer(np.ascontiguousarray(sequences.offsets * 4, np.int64))
    array = pa.Array.from_buffers(pa.large_binary(), len(sequences), [None, offsets, values])
    return np.asarray(pc.sort_indices(array), np.int64)


def shared_with_previous(sequences: TokenSequences) -> Counts:
    """Return how many tokens at its start each sequence has in common with the one before it, (n,); 0 for the first.

    >>> shared_with_previous(TokenSequences(np.array([5, 5, 7], np.int32), np.array([0, 1, 3]), 0)).tolist()
    [0, 1]
    """
    lengths = sequences.lengths
    if not len(lengths):
        return lengths
    compared = np.minimum(lengths[1:], lengths[:-1])
    here = sequences.tokens[spans(sequences.offsets[1:-1], compared)]
    before = sequences.tokens[spans(sequences.offsets[:-2], compared)]
    ends = offsets_from(compared)
    # The first difference at or after the start of each pair; a pair without one is equal as far as it was compared.
    differing = np.append(np.flatnonzero(here != before), ends[-1])
    first = differing[np.searchsorted(differing, ends[:-1])]
    return np.concatenate([[0], np.minimum(first - ends[:-1], compared)])


@dataclass(frozen=True, eq=False)
class PrefixTree:
    """The prefix tree of n sorted token sequences.

    Nodes are numbered text by text: those that a text adds follow one another, and come after those of all texts before
    it. So a text has its own nodes at the end of its path, and all others were added by texts before it.

    Attributes:
        tokens_N: token id of each node, (N,) int64.
        depths_N: its number of ancestors, which is its position in its texts, (N,) int64.
        added: nodes that each text adds, (n,); 0 only for a text that equals the one before it.
        offsets: where the path of each text begins in `paths_P`, (n + 1,).
        paths_P: the nodes of each text, from its first token to its last, (P,) int64.
    """

    tokens_N: Counts
    depths_N: Counts
    added: Counts
    offsets: Counts
    paths_P: Counts

    def __len__(self) -> int:
        """Number of nodes."""
        return len(self.tokens_N)

    @property
    def lengths(self) -> Counts:
        """Tokens of each text, (n,)."""
        return np.diff(self.offsets)

    @classmethod
    def of(cls, sequences: TokenSequences) -> "PrefixTree":
        """Build the tree of sequences in the order of `sorted_rows`, in time linear in their tokens.

        >>> tree = PrefixTree.of(TokenSequences(np.array([5, 5, 7, 5, 8], np.int32), np.array([0, 1, 3, 5]), 0))
        >>> tree.tokens_N.tolist(), tree.paths_P.tolist()
        ([5, 7, 8], [0, 0, 1, 0, 2])
        """
        lengths, shared = sequences.lengths, shared_with_previous(sequences)
        added = lengths - shared
        first, offsets = sequences.offsets[0], sequences.offsets - sequences.offsets[0]
        own = spans(offsets[:-1] + shared, added)  # the tokens that become nodes
        depths_P = spans(np.zeros(len(lengths), np.int64), lengths)
        return cls(
            tokens_N=sequences.tokens[first + own].astype(np.int64),
            depths_N=depths_P[own],
            added=added,
            offsets=offsets,
            paths_P=_paths(depths_P, own),
        )

    def paths(self, texts: Counts) -> Counts:
        """Return the nodes of texts of equal length, (len(texts), T)."""
        length = int(self.offsets[texts[0] + 1] - self.offsets[texts[0]])
        nodes: Counts = self.paths_P[self.offsets[texts][:, None] + np.arange(length)]
        return nodes


def _paths(depths_P: Counts, own: Counts) -> Counts:
    """The node of every token: at each depth, that of the last text up to it that adds one there.

    Args:
        depths_P: position of each token in its text.
        own: the tokens that become nodes, in the order of the nodes.
    """
    node_P = np.full(len(depths_P), -1, np.int64)
    node_P[own] = np.arange(len(own))
    # By depth, and by text within a depth: there, the nodes ascend, and the first text adds one.
    small = depths_P.astype(np.uint16) if depths_P.max(initial=0) < 2**16 else depths_P
    order = np.argsort(small, kind="stable")  # a radix sort for 16 bits
    by_depth = node_P[order]
    source = np.maximum.accumulate(np.where(by_depth >= 0, np.arange(len(order)), 0))
    node_P[order] = by_depth[source]
    return node_P
