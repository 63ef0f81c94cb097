"""Exact ranks of the users' targets among all their candidates, with ties counted apart.

Lists from FAISS settle the targets that stand clear of their list's edge. Every other rank is counted over the scores
of the whole catalogue, block by block; there too the target's own score comes from the product it is compared with.

Shapes: U users in all, B users of a block, R rows of scores, K rows listed.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from tcf.common.errors import RunError
from tcf.data.dataset import Histories
from tcf.ranking.catalogue import blocks
from tcf.ranking.count_ranks import count_ranks
from tcf.ranking.faiss_search import LONGEST_LIST, USERS_AT_ONCE
from tcf.ranking.scorers import InnerProduct, Scorer
from tcf.ranking.seen_items import check_seen, counts_at, distinct, owners, without

__all__ = ["Policy", "Ranks", "rank_targets"]

Policy = Literal["keep", "mask"]
_LIST = 50  # places listed for exact ranks of all: FAISS takes no longer for 50 than for 10


@dataclass(frozen=True)
class Ranks:
    """How the users' targets rank.

    Attributes:
        greater: candidates that score above the target, (U,) int64.
        equal: other candidates that score the same, (U,) int64.
        candidates: candidates in all, (U,) int64. A target that is no candidate has `greater == candidates`.
        depth: None where all ranks are exact. Otherwise a target with at least `depth` candidates above it has
            `greater == depth` and `equal` 0, whatever its rank.
    """

    greater: npt.NDArray[np.int64]
    equal: npt.NDArray[np.int64]
    candidates: npt.NDArray[np.int64]
    depth: int | None = None

    def __post_init__(self) -> None:
        """Check that the counts fit together.

        Raises:
            RunError: they differ in length, or exceed the candidates.
        """
        fits = len(self.greater) == len(self.equal) == len(self.candidates)
        if not fits or (self.greater < 0).any() or (self.equal < 0).any() or (self._last > self.candidates).any():
            raise RunError("ranks: the counts of greater, equal and all candidates do not fit together; rank anew")

    def __len__(self) -> int:
        """Number of users."""
        return len(self.greater)

    @property
    def is_candidate(self) -> npt.NDArray[np.bool_]:
        """Whether the target is among the candidates at all, (U,)."""
        return self.greater < self.candidates

    @property
    def rank(self) -> npt.NDArray[np.float64]:
        """Expected rank, 1 for the best, ties in random order, (U,); one more than the candidates for no candidate."""
        return 1 + self.greater + self.equal / 2

    @property
    def _last(self) -> npt.NDArray[np.int64]:
        """The last position that a candidate may take, the number of candidates for none."""
        return self.greater + self.equal + self.is_candidate


@dataclass(frozen=True)
class _RankingTask:
    """Whom to rank: see `rank_targets`; `excluded` are the distinct items that are no candidates."""

    targets: npt.NDArray[np.int64]
    excluded: Histories
    depth: int | None


@dataclass(frozen=True)
class _Counts:
    """Filled in block by block."""

    greater: npt.NDArray[np.int64]
    equal: npt.NDArray[np.int64]


def rank_targets(
    scorer: Scorer,
    seen: Histories,
    targets: npt.NDArray[np.int64],
    *,
    policy: Policy = "keep",
    depth: int | None = None,
) -> Ranks:
    """Rank every user's target among the whole catalogue less the items that the user has seen.

    Args:
        scorer: scores of all items for these users.
        seen: the users' earlier items, repeats allowed.
        targets: the held-out item of each user, (U,).
        policy: what becomes of a target that the user has seen before: `keep` it as a candidate, or `mask` it, so that
            it ranks behind all candidates.
        depth: None for exact ranks of all; else ranks need be exact to this position only, which with an
            `InnerProduct` takes little more than one matrix product.

    Raises:
        RunError: users or items do not fit together, or a score is not finite.
    """
    n_items = scorer.rows.n_items
    _check_targets(targets, scorer.n_users, n_items)
    check_seen(seen, scorer.n_users, n_items)
    if depth is not None and depth < 1:
        raise RunError(f"depth: expected at least 1, found {depth}")
    excluded, masked = _exclusions(distinct(seen, n_items), targets, policy)
    candidates = n_items - excluded.lengths
    counts = _Counts(np.zeros_like(candidates), np.zeros_like(candidates))
    task = _RankingTask(targets, excluded, depth)
    users = np.flatnonzero(~masked)
    if isinstance(scorer, InnerProduct):
        users = _from_lists(scorer, task, users, counts)
    counts.greater[users], counts.equal[users] = count_ranks(scorer, excluded, targets, users)
    if depth is not None:
        counts.equal[counts.greater >= depth] = 0
        np.minimum(counts.greater, depth, out=counts.greater)
    counts.greater[masked] = candidates[masked]
    return Ranks(counts.greater, counts.equal, candidates, depth)


def _exclusions(
    seen: Histories, targets: npt.NDArray[np.int64], policy: Policy
) -> tuple[Histories, npt.NDArray[np.bool_]]:
    """The items that are no candidates, and which users' targets are among them."""
    masked = np.zeros(len(targets), bool)
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
    """Settle from lists what they can settle; returns the users that are left."""
    # Past the excluded rows and the wanted positions one row more, so that the edge lies beyond them.
    needed = np.minimum((task.depth or _LIST) + task.excluded.lengths[users] + 1, scorer.rows.n_rows)
    left = [users[needed > LONGEST_LIST]]
    users, needed = users[needed <= LONGEST_LIST], needed[needed <= LONGEST_LIST]
    for block in blocks(len(users), USERS_AT_ONCE):
        settled = _read_lists(scorer, task, users[block], int(needed[block].max()), counts)
        left.append(users[block][~settled])
    return np.concatenate(left)


def _read_lists(
    scorer: InnerProduct, task: _RankingTask, users: npt.NDArray[np.int64], length: int, counts: _Counts
) -> npt.NDArray[np.bool_]:
    """Rank the users of a block from lists of this length; returns which of them are settled."""
    scores_BK, rows_BK = scorer.search(scorer.states_UD[users], length)
    weights_BK = scorer.rows.sizes[rows_BK] - _excluded_counts(task.excluded.take(users), scorer, rows_BK)
    edge_B = scores_BK[:, -1] if length < scorer.rows.n_rows else np.full(len(users), -np.inf, np.float32)
    target_B = _target_scores(rows_BK, scores_BK, scorer.rows.row_of_item[task.targets[users]])
    clear_B = target_B > edge_B
    # Whatever lies outside the list, or on its edge, has at least these above it.
    level_B1 = np.where(clear_B, target_B, edge_B)[:, None]
    greater_B = (weights_BK * (scores_BK > level_B1)).sum(1)
    equal_B = (weights_BK * (scores_BK == level_B1)).sum(1) - 1
    counts.greater[users], counts.equal[users] = greater_B, equal_B
    return clear_B if task.depth is None else clear_B | (greater_B >= task.depth)


def _target_scores(
    rows_BK: npt.NDArray[np.int64], scores_BK: npt.NDArray[np.float32], target_rows_B: npt.NDArray[np.int64]
) -> npt.NDArray[np.float32]:
    """The target's score in its list, (B,); -inf where the list does not hold it."""
    scores_B: npt.NDArray[np.float32] = np.where(rows_BK == target_rows_B[:, None], scores_BK, np.float32(-np.inf)).max(
        1
    )
    return scores_B


def _excluded_counts(
    excluded: Histories, scorer: InnerProduct, rows_BK: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """How many items of each listed row are no candidates, (B, K)."""
    n_rows = scorer.rows.n_rows
    keys = owners(excluded) * n_rows + scorer.rows.row_of_item[excluded.items]
    wanted_BK = np.arange(len(excluded))[:, None] * n_rows + rows_BK
    distinct_keys, counts = np.unique(keys, return_counts=True)
    return counts_at(distinct_keys, counts, wanted_BK)


def _check_targets(targets: npt.NDArray[np.int64], n_users: int, n_items: int) -> None:
    if targets.shape != (n_users,) or not np.issubdtype(targets.dtype, np.integer):
        raise RunError(f"targets: expected one item index for each of {n_users} users, found {targets.shape}")
    if n_users and not (targets.min() >= 0 and targets.max() < n_items):
        raise RunError(f"targets: expected items 0..{n_items - 1}, found {targets.min()}..{targets.max()}")
