"""Micro-batches: texts of a shard with equal length, which the device runs at once.

They are a pure function of the shard, so that its bytes do not depend on who computes it, or when.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Indices", "MicroBatch", "in_order", "micro_batches"]

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class MicroBatch:
    """Texts of a shard that have equally many tokens and are computed at once.

    Attributes:
        rows: the texts, as rows of the shard.
        length: tokens of each text.
        texts_before: number of texts in the micro-batches before this one.
        tokens_before: number of tokens in the micro-batches before this one.
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
        """Its range among the texts of all micro-batches in order."""
        return slice(self.texts_before, self.texts_before + len(self.rows))

    @property
    def tokens(self) -> slice:
        """Its range among the tokens of all micro-batches in order."""
        return slice(self.tokens_before, self.tokens_before + self.n_tokens)


def micro_batches(lengths: npt.NDArray[np.int64], tokens: int) -> list[MicroBatch]:
    """Group the texts of a shard by exact length, then cut every group evenly into parts of at most `tokens` tokens.

    Args:
        lengths: tokens of each text, (n,).
        tokens: maximum number of tokens of a micro-batch; a longer text is a micro-batch of its own.

    Returns:
        Each text in exactly one micro-batch; long texts first, so that memory runs out at once or never.
    """
    order = np.argsort(-lengths, kind="stable")
    batches: list[MicroBatch] = []
    texts_before = tokens_before = 0
    for group in np.split(order, np.flatnonzero(np.diff(lengths[order])) + 1) if len(order) else []:
        length = int(lengths[group[0]])
        size = max(1, tokens // max(1, length))
        # Evenly, because a small remainder would not keep the device busy.
        for rows in np.array_split(group, -(-len(group) // size)):
            batches.append(MicroBatch(rows, length, texts_before, tokens_before))
            texts_before, tokens_before = batches[-1].texts.stop, batches[-1].tokens.stop
    return batches


def in_order(batches: list[MicroBatch]) -> Indices:
    """The texts of a shard in the order of its micro-batches, (n,)."""
    return np.concatenate([np.zeros(0, np.int64), *(batch.rows for batch in batches)])
