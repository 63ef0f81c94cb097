"""Counting ranks over the scores of the whole catalogue, for any scorer.

Shapes: B users of a block, H of them who have a further target, R rows of scores.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from tcf.common.errors import RunError
from tcf.data.histories import Histories, owners
from tcf.ranking.catalogue import ScoreRows, blocks
from tcf.ranking.scorers import Scorer
from tcf.ranking.task import RankingTask

__all__ = ["block_scores", "count_ranks", "users_a_block"]

_SCORES_AT_ONCE = 16 * 2**20


def users_a_block(n_scores: int) -> int:
    """Return how many users with so many scores to take at once so that their scores take about 64 MB."""
    return max(1, _SCORES_AT_ONCE // n_scores)


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
    task: RankingTask,
    advance: Callable[[int], object] | None = None,
    *,
    only_with_targets: bool = False,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Count the candidates that score above each target, and the other candidates that score the same.

    Args:
        scorer: scores of all items for all users.
        task: the targets of all users.
        advance: called with the number of users that have just been counted for.
        only_with_targets: call it for users with targets alone.

    Returns:
        Two arrays, one count for each target.

    Raises:
        RunError: some score is not finite.
    """
    greater, equal = (np.zeros(len(task.targets.items), np.int64) for _ in range(2))
    users = np.flatnonzero(task.targets.lengths)
    if advance is not None and not only_with_targets:
        advance(scorer.n_users - len(users))
    for block in blocks(len(users), users_a_block(scorer.rows.n_rows)):
        chosen = users[block]
        scores_BR, targets = block_scores(scorer, chosen), task.targets.take(chosen)
        places = slice(task.targets.offsets[chosen[0]], task.targets.offsets[chosen[-1] + 1])
        greater[places], equal[places] = _count_block(scores_BR, scorer.rows, task.excluded.take(chosen), targets)
        if advance is not None:
            advance(len(chosen))
    return greater, equal


def _count_block(
    scores_BR: npt.NDArray[np.float32], rows: ScoreRows, excluded: Histories, targets: Histories
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Count for each target of a block of users, one target of every user at a time."""
    users, seen_scores = owners(excluded), scores_BR[owners(excluded), rows.row_of_item[excluded.items]]
    greater, equal = (np.zeros(len(targets.items), np.int64) for _ in range(2))
    for turn in range(int(targets.lengths.max())):
        having = np.flatnonzero(targets.lengths > turn)
        scores_HR = scores_BR if len(having) == len(targets) else scores_BR[having]
        places = targets.offsets[having] + turn
        level_B = np.full(len(targets), np.inf, np.float32)
        level_B[having] = level_H = scores_HR[np.arange(len(having)), rows.row_of_item[targets.items[places]]]
        n_seen_above = np.bincount(users[seen_scores > level_B[users]], minlength=len(targets))[having]
        n_seen_from = np.bincount(users[seen_scores >= level_B[users]], minlength=len(targets))[having]
        greater[places] = _items(scores_HR > level_H[:, None], rows) - n_seen_above
        from_H = _items(scores_HR >= level_H[:, None], rows) - n_seen_from
        equal[places] = from_H - greater[places] - 1  # without the target itself
    return greater, equal


def _items(chosen_BR: npt.NDArray[np.bool_], rows: ScoreRows) -> npt.NDArray[np.int64]:
    """Return the number of items that have the chosen rows, (B,)."""
    # Counting bits is several times faster than summing booleans.
    items_B: npt.NDArray[np.int64] = np.bitwise_count(np.packbits(chosen_BR, axis=1)).sum(1, dtype=np.int64)
    further_B = chosen_BR[:, : rows.n_shared] @ (rows.sizes[: rows.n_shared] - 1).astype(np.float64)
    return items_B + further_B.astype(np.int64)
