"""What is computed together: texts into shards, a shard's texts into micro-batches.

Both are pure functions of their arguments, so a shard has the same bytes whoever computes it, and when.
"""

import numpy as np
import numpy.typing as npt

__all__ = ["cut_shards", "micro_batches"]

Rows = npt.NDArray[np.int64]


def cut_shards(rows: Rows, shard_rows: int) -> list[Rows]:
    """Cut the texts that are still missing into shards, in order; all but the last have `shard_rows` texts.

    What an interrupted extraction leaves missing is whole shards, so going on cuts at the same places.
    """
    return [rows[start : start + shard_rows] for start in range(0, len(rows), shard_rows)]


def micro_batches(lengths: npt.NDArray[np.int64], tokens: int) -> list[Rows]:
    """Group the texts of a shard by exact length, then cut every group to at most `tokens` tokens (or one text).

    Args:
        lengths: tokens of each text, (n,).
        tokens: most tokens a micro-batch.

    Returns:
        Rows 0..n-1, each in exactly one micro-batch; long texts first, so that memory runs out at once or never.
    """
    order = np.argsort(-lengths, kind="stable")
    batches = []
    for group in np.split(order, np.flatnonzero(np.diff(lengths[order])) + 1) if len(order) else []:
        size = max(1, tokens // max(1, int(lengths[group[0]])))
        batches += [group[start : start + size] for start in range(0, len(group), size)]
    return batches
