"""Exact ranks of the users' targets among all their candidates, with ties counted separately.

FAISS lists give the rank of every target that scores above the last row of its list. All other ranks are counted over
the scores of the whole catalogue, block by block; the target's own score always comes from the matrix product it is
compared with.

Shapes: U users in all, B users of a block, R rows of scores, K listed rows.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from tcf.common.errors import RunError, shape_words
from tcf.data.dataset import Histories
from tcf.data.seen import distinct_items
from tcf.ranking.catalogue import blocks
from tcf.ranking.count_ranks import count_ranks
from tcf.ranking.faiss_search import LONGEST_LIST, USERS_AT_ONCE
from tcf.ranking.scorers import InnerProduct, Scorer
from tcf.ranking.seen_items import check_seen, counts_at, owners, without

__all__ = ["Policy", "Ranks", "rank_targets"]

Policy = Literal["keep", "mask"]
_LIST = 50  # list length for exact ranks: FAISS takes no longer for 50 than for 10


@dataclass(frozen=True)
class Ranks:
    """Ranks of the users' targets.

    Attributes:
        greater: candidates that score above the target, (U,) int64.
        equal: other candidates with the same score, (U,) int64.
        candidates: number of candidates, (U,) int64. A target that is not a candidate has `greater == candidates`.
        depth: None if all ranks are exact. Otherwise a target with at least `depth` candidates above it has
            `greater == depth` and `equal` 0, whatever its rank.
    """

    greater: npt.NDArray[np.int64]
    equal: npt.NDArray[np.int64]
    candidates: npt.NDArray[np.int64]
    depth: int | None = None

    def __post_init__(self) -> None:
        """Check that the counts are consistent.

        Raises:
            RunError: they differ in length, or exceed the candidates.
        """
        fits = len(self.greater) == len(self.equal) == len(self.candidates)
        if not fits or (self.greater < 0).any() or (self.equal < 0).any() or (self._last > self.candidates).any():
            raise RunError(
                "ranks: expected counts of equal length, with greater and equal within the candidates, found others; "
                "rank again"
            )

    def __len__(self) -> int:
        """Number of users."""
        return len(self.greater)

    @property
    def is_candidate(self) -> npt.NDArray[np.bool_]:
        """Whether the target is a candidate, (U,)."""
        return self.greater < self.candidates

    @property
    def rank(self) -> npt.NDArray[np.float64]:
        """Expected rank from 1, ties in random order, (U,); the number of candidates + 1 if the target is not one."""
        return 1 + self.greater + self.equal / 2

    @property
    def _last(self) -> npt.NDArray[np.int64]:
        """The last position that the target may take; the number of candidates if it is not one."""
        return self.greater + self.equal + self.is_candidate


@dataclass(frozen=True)
class _RankingTask:
    """The targets to rank, see `rank_targets`; `excluded` has each user's items that are not candidates, each once."""

    targets: npt.NDArray[np.int64]
    excluded: Histories
    depth: int | None
    advance: Callable[[int], object] | None


@dataclass(frozen=True)
class _Counts:
    """Counts that are filled in block by block."""

    greater: npt.NDArray[np.int64]
    equal: npt.NDArray[np.int64]


def rank_targets(
    scorer: Scorer,
    seen: Histories,
    targets: npt.NDArray[np.int64],
    *,
    policy: Policy = "keep",
    depth: int | None = None,
    advance: Callable[[int], object] | None = None,
) -> Ranks:
    """Rank every user's target among all items without those that the user has seen.

    Args:
        scorer: scores of all items for these users.
        seen: the items that each user has seen, repeats allowed.
        targets: the held-out item of each user, (U,); -1 for one that is none of the items: it ranks behind all
            candidates.
        policy: how to treat a target that the user has seen before: `keep` it as a candidate, or `mask` it, so that it
            ranks behind all candidates.
        depth: None for exact ranks; otherwise ranks are exact up to this position only, which with an `InnerProduct`
            takes little more than one matrix product.
        advance: called with the number of users that have just been ranked.

    Raises:
        RunError: users or items do not match, or a score is not finite.
    """
    n_items = scorer.rows.n_items
    _check_targets(targets, scorer.n_users, n_items)
    check_seen(seen, scorer.n_users, n_items)
    if depth is not None and depth < 1:
        raise RunError(f"depth: expected at least 1, found {depth}")
    excluded, masked = _exclusions(distinct_items(seen), targets, policy)
    candidates = n_items - excluded.lengths
    counts = _Counts(np.zeros_like(candidates), np.zeros_like(candidates))
    task = _RankingTask(targets, excluded, depth, advance)
    users = np.flatnonzero(~masked)
    if advance is not None:
        advance(int(masked.sum()))  # their ranks are known
    if isinstance(scorer, InnerProduct):
        users = _from_lists(scorer, task, users, counts)
    counts.greater[users], counts.equal[users] = count_ranks(scorer, excluded, targets, users, advance)
    if depth is not None:
        counts.equal[counts.greater >= depth] = 0
        np.minimum(counts.greater, depth, out=counts.greater)
    counts.greater[masked] = candidates[masked]
    return Ranks(counts.greater, counts.equal, candidates, depth)


def _exclusions(
    seen: Histories, targets: npt.NDArray[np.int64], policy: Policy
) -> tuple[Histories, npt.NDArray[np.bool_]]:
    """Return the items that are not candidates, and the mask of users whose targets are no candidates."""
    masked = targets < 0
    match policy:
        case "keep":
            return without(seen, targets), masked
        case "mask":
            users = owners(seen)
            masked[users[seen.items == targets[users]]] = True
            return seen, masked


def _from_lists(
    scorer: InnerProduct, task: _RankingTask, users: npt.NDArray[np.int64], counts: _Counts
) -> npt.NDArray[np.int64]:
    """Rank the users for whom a list is enough; return the other users."""
    # One row more than the excluded rows and the wanted positions, so that the last row lies beyond them.
    needed = np.minimum((task.depth or _LIST) + task.excluded.lengths[users] + 1, scorer.rows.n_rows)
    left = [users[needed > LONGEST_LIST]]
    users, needed = users[needed <= LONGEST_LIST], needed[needed <= LONGEST_LIST]
    for block in blocks(len(users), USERS_AT_ONCE):
        settled = _read_lists(scorer, task, users[block], int(needed[block].max()), counts)
        left.append(users[block][~settled])
        if task.advance is not None:
            task.advance(int(settled.sum()))
    return np.concatenate(left)


def _read_lists(
    scorer: InnerProduct, task: _RankingTask, users: npt.NDArray[np.int64], length: int, counts: _Counts
) -> npt.NDArray[np.bool_]:
    """Rank the users of a block from lists of this length; return which of them have their final counts."""
    scores_BK, rows_BK = scorer.search(scorer.states_UD[users], length)
    weights_BK = scorer.rows.sizes[rows_BK] - _excluded_counts(task.excluded.take(users), scorer, rows_BK)
    edge_B = scores_BK[:, -1] if length < scorer.rows.n_rows else np.full(len(users), -np.inf, np.float32)
    target_B = _target_scores(rows_BK, scores_BK, scorer.rows.row_of_item[task.targets[users]])
    clear_B = target_B > edge_B
    # A target outside the list, or equal to its last row, has at least these candidates above it.
    level_B1 = np.where(clear_B, target_B, edge_B)[:, None]
    greater_B = (weights_BK * (scores_BK > level_B1)).sum(1)
    equal_B = (weights_BK * (scores_BK == level_B1)).sum(1) - 1
    counts.greater[users], counts.equal[users] = greater_B, equal_B
    return clear_B if task.depth is None else clear_B | (greater_B >= task.depth)


def _target_scores(
    rows_BK: npt.NDArray[np.int64], scores_BK: npt.NDArray[np.float32], target_rows_B: npt.NDArray[np.int64]
) -> npt.NDArray[np.float32]:
    """Return the target's score in its list, (B,); -inf if it is not in the list."""
    scores_B: npt.NDArray[np.float32] = np.where(rows_BK == target_rows_B[:, None], scores_BK, np.float32(-np.inf)).max(
        1
    )
    return scores_B


def _excluded_counts(
    excluded: Histories, scorer: InnerProduct, rows_BK: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """Return how many items of each listed row are not candidates, (B, K)."""
    n_rows = scorer.rows.n_rows
    keys = owners(excluded) * n_rows + scorer.rows.row_of_item[excluded.items]
    wanted_BK = np.arange(len(excluded))[:, None] * n_rows + rows_BK
    distinct_keys, counts = np.unique(keys, return_counts=True)
    return counts_at(distinct_keys, counts, wanted_BK)


def _check_targets(targets: npt.NDArray[np.int64], n_users: int, n_items: int) -> None:
    if targets.shape != (n_users,) or not np.issubdtype(targets.dtype, np.integer):
        found = f"{targets.dtype} of shape {shape_words(targets.shape)}"
        raise RunError(f"targets: expected one item index for each of {n_users} users, found {found}")
    if n_users and not (targets.min() >= -1 and targets.max() < n_items):
        found = f"{targets.min()}..{targets.max()}"
        raise RunError(f"targets: expected items 0..{n_items - 1}, or -1 for none of them, found {found}")
