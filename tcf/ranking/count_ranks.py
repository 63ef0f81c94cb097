"""Counting ranks over the scores of the whole catalogue, for any scorer.

Shapes: B users of a block, R rows of scores.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from tcf.common.errors import RunError
from tcf.data.dataset import Histories
from tcf.ranking.catalogue import ScoreRows, blocks
from tcf.ranking.scorers import Scorer
from tcf.ranking.seen_items import owners

__all__ = ["block_scores", "count_ranks", "users_a_block"]

_SCORES_AT_ONCE = 16 * 2**20


def users_a_block(scorer: Scorer) -> int:
    """Return how many users to score at once so that the scores take about 64 MB."""
    return max(1, _SCORES_AT_ONCE // scorer.rows.n_rows)


def block_scores(scorer: Scorer, users: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    """Return the scores of a block of users, (B, R).

    Raises:
        RunError: some score is not finite.
    """
    scores_BR = scorer.scores(users)
    if not np.isfinite(scores_BR).all():
        bad = np.flatnonzero(~np.isfinite(scores_BR).all(1))
        raise RunError(
            f"user {users[bad[0]]}: expected finite scores, found NaN or infinity; train again with a smaller learning "
            "rate, or check the scorer"
        )
    return scores_BR


def count_ranks(
    scorer: Scorer,
    excluded: Histories,
    targets: npt.NDArray[np.int64],
    users: npt.NDArray[np.int64],
    advance: Callable[[int], object] | None = None,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Count the candidates that score above some users' targets, and the other candidates that score the same.

    Args:
        scorer: scores of all items for all users.
        excluded: every user's items that are not candidates, each once, without the targets.
        targets: every user's target.
        users: the users to count for.
        advance: called with the number of users that have just been counted for.

    Returns:
        Two arrays, one count for each of `users`.

    Raises:
        RunError: some score is not finite.
    """
    greater, equal = np.zeros(len(users), np.int64), np.zeros(len(users), np.int64)
    for block in blocks(len(users), users_a_block(scorer)):
        chosen = users[block]
        scores_BR = block_scores(scorer, chosen)
        greater[block], equal[block] = _count_block(scores_BR, scorer.rows, excluded.take(chosen), targets[chosen])
        if advance is not None:
            advance(len(chosen))
    return greater, equal


def _count_block(
    scores_BR: npt.NDArray[np.float32], rows: ScoreRows, excluded: Histories, targets_B: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    target_B = scores_BR[np.arange(len(targets_B)), rows.row_of_item[targets_B]]
    users = owners(excluded)
    seen_scores = scores_BR[users, rows.row_of_item[excluded.items]]
    n_seen_above = np.bincount(users[seen_scores > target_B[users]], minlength=len(targets_B))
    n_seen_from = np.bincount(users[seen_scores >= target_B[users]], minlength=len(targets_B))
    greater_B = _items(scores_BR > target_B[:, None], rows) - n_seen_above
    from_B = _items(scores_BR >= target_B[:, None], rows) - n_seen_from
    return greater_B, from_B - greater_B - 1  # without the target itself


def _items(chosen_BR: npt.NDArray[np.bool_], rows: ScoreRows) -> npt.NDArray[np.int64]:
    """Return the number of items that have the chosen rows, (B,)."""
    # Counting bits is several times faster than summing booleans.
    items_B: npt.NDArray[np.int64] = np.bitwise_count(np.packbits(chosen_BR, axis=1)).sum(1, dtype=np.int64)
    further_B = chosen_BR[:, : rows.n_shared] @ (rows.sizes[: rows.n_shared] - 1).astype(np.float64)
    return items_B + further_B.astype(np.int64)
