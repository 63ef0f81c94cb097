"""Exact ranks of the users' targets among all their candidates, with ties counted separately.

Shapes: U users, T targets of all users.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

from tcf.common.errors import RunError
from tcf.common.ragged import offsets_from
from tcf.data.dataset import Histories
from tcf.data.histories import owners
from tcf.data.seen import distinct_items
from tcf.ranking.ranked_lists import RankedLists
from tcf.ranking.ranker import Counts, Ranker, RanksAndLists
from tcf.ranking.seen_items import are_in, check_seen, without
from tcf.ranking.task import RankingTask

__all__ = ["Policy", "Ranks", "excluded_items", "rank_and_list", "rank_targets"]

Policy = Literal["keep", "mask"]


@dataclass(frozen=True)
class Ranks:
    """Ranks of the users' targets; the targets of user u are offsets[u] to offsets[u + 1] - 1.

    Attributes:
        greater: candidates that score above the target, (T,) int64; other targets of the user may be among them.
        equal: other candidates with the same score, (T,) int64.
        candidates: number of candidates, (U,) int64. A target that is not a candidate has as many `greater`.
        depth: None if all ranks are exact. Otherwise a target with at least `depth` candidates above it has
            `greater == depth` and `equal` 0, whatever its rank.
        offsets: (U + 1,) int64; by default each user has one target.
    """

    greater: npt.NDArray[np.int64]
    equal: npt.NDArray[np.int64]
    candidates: npt.NDArray[np.int64]
    depth: int | None = None
    offsets: npt.NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))

    def __post_init__(self) -> None:
        """Check that the counts are consistent.

        Raises:
            RunError: they differ in length, or exceed the candidates, or a user has no target.
        """
        if not len(self.offsets):
            object.__setattr__(self, "offsets", np.arange(len(self.candidates) + 1))
        fits = len(self.greater) == len(self.equal) == self.offsets[-1] and len(self.offsets) == len(self) + 1
        fits = fits and bool((self.n_targets > 0).all())
        if not fits or (self.greater < 0).any() or (self.equal < 0).any() or (self._last > self._candidates).any():
            raise RunError(
                "ranks: expected counts of equal length, with greater and equal within the candidates, found others; "
                "rank again"
            )

    def __len__(self) -> int:
        """Number of users."""
        return len(self.candidates)

    @property
    def n_targets(self) -> npt.NDArray[np.int64]:
        """Number of targets of each user, (U,)."""
        return np.diff(self.offsets)

    @property
    def owners(self) -> npt.NDArray[np.int64]:
        """The user of each target, (T,)."""
        return np.repeat(np.arange(len(self)), self.n_targets)

    @property
    def is_candidate(self) -> npt.NDArray[np.bool_]:
        """Whether the target is a candidate, (T,)."""
        return self.greater < self._candidates

    @property
    def rank(self) -> npt.NDArray[np.float64]:
        """Expected rank from 1, ties in random order, (T,); the number of candidates + 1 if the target is not one."""
        return 1 + self.greater + self.equal / 2

    @property
    def deepest(self) -> int:
        """The largest position that any target may take, at least 1.

        Raises:
            RunError: the ranks are not exact at all depths.
        """
        if self.depth is not None:
            raise RunError(f"ranks: expected exact ranks, found ranks to depth {self.depth}; rank without a depth")
        return int((self.greater + self.equal).max(initial=0)) + 1

    def take(self, users: npt.NDArray[np.int64]) -> "Ranks":
        """Return the ranks of some users, in the given order."""
        chosen = Histories(self.offsets, np.arange(len(self.greater), dtype=np.int32)).take(users)
        return self._kept(chosen.items, self.candidates[users], chosen.offsets)

    def where(self, chosen_T: npt.NDArray[np.bool_]) -> "Ranks":
        """Return the ranks of some targets, and of the users who have one of them, as if there were no others."""
        numbers = np.bincount(self.owners[chosen_T], minlength=len(self))
        kept = numbers > 0
        return self._kept(np.flatnonzero(chosen_T), self.candidates[kept], offsets_from(numbers[kept]))

    def _kept(
        self, targets: npt.NDArray[np.integer], candidates: npt.NDArray[np.int64], offsets: npt.NDArray[np.int64]
    ) -> "Ranks":
        return Ranks(self.greater[targets], self.equal[targets], candidates, self.depth, offsets)

    @property
    def _candidates(self) -> npt.NDArray[np.int64]:
        """The number of candidates, by target."""
        return self.candidates[self.owners]

    @property
    def _last(self) -> npt.NDArray[np.int64]:
        """The last position that the target may take; the number of candidates if it is not one."""
        return self.greater + self.equal + self.is_candidate


def rank_targets(
    ranker: Ranker,
    seen: Histories,
    targets: Histories,
    *,
    policy: Policy = "keep",
    depth: int | None = None,
    advance: Callable[[int], object] | None = None,
) -> Ranks:
    """Rank every user's targets among all items without those that the user has seen.

    Args:
        ranker: ranks all items for these users.
        seen: the items that each user has seen, repeats allowed.
        targets: the held-out items of each user, distinct; -1 for one that is none of the items: it ranks behind all
            candidates.
        policy: how to treat a target that the user has seen before: `keep` it as a candidate, or `mask` it, so that it
            ranks behind all candidates.
        depth: None for exact ranks; otherwise ranks are exact up to this position only.
        advance: called with the number of users that have just been ranked.

    Raises:
        RunError: users or items do not match, or a score is not finite.
    """
    if depth is not None and depth < 1:
        raise RunError(f"depth: expected at least 1, found {depth}")
    task, masked_T = _asked(ranker, seen, targets, policy, depth)
    return _ranks(ranker.n_items, task, targets, masked_T, ranker.count(task, advance))


def rank_and_list(
    ranker: RanksAndLists,
    seen: Histories,
    targets: Histories,
    k: int,
    *,
    policy: Policy = "keep",
    advance: Callable[[int], object] | None = None,
) -> tuple[Ranks, RankedLists]:
    """Rank every user's targets, exactly, and return the k best of the same candidates, from the same scores.

    So a target without ties is at the place of its rank. Where scores are computed twice they may differ in a last bit.

    Args:
        ranker: ranks all items for these users.
        seen: as for `rank_targets`.
        targets: as for `rank_targets`.
        k: list length.
        policy: as for `rank_targets`.
        advance: called with the number of users that have just been finished.

    Raises:
        RunError: users or items do not match, a score is not finite, or k is less than 1.
    """
    if k < 1:
        raise RunError(f"k: expected at least 1, found {k}")
    task, masked_T = _asked(ranker, seen, targets, policy, None)
    counts, lists = ranker.count_and_list(task, k, advance)
    return _ranks(ranker.n_items, task, targets, masked_T, counts), lists


def _asked(
    ranker: Ranker, seen: Histories, targets: Histories, policy: Policy, depth: int | None
) -> tuple[RankingTask, npt.NDArray[np.bool_]]:
    """Return what to ask a ranker, and the mask of the targets that are no candidates, (T,)."""
    _check_targets(targets, ranker.n_users, ranker.n_items)
    check_seen(seen, ranker.n_users, ranker.n_items)
    excluded, masked_T = _exclusions(distinct_items(seen), targets, policy)
    return RankingTask(targets.where(~masked_T), excluded, depth), masked_T


def _ranks(
    n_items: int, task: RankingTask, targets: Histories, masked_T: npt.NDArray[np.bool_], counts: Counts
) -> Ranks:
    """Return the ranks of all targets, given the counts of those that are candidates."""
    candidates = n_items - task.excluded.lengths
    greater, equal = (np.zeros(len(targets.items), np.int64) for _ in range(2))
    greater[~masked_T], equal[~masked_T] = counts
    if task.depth is not None:
        equal[greater >= task.depth] = 0
        np.minimum(greater, task.depth, out=greater)
    greater[masked_T] = candidates[owners(targets)[masked_T]]
    return Ranks(greater, equal, candidates, task.depth, targets.offsets)


def excluded_items(seen: Histories, targets: Histories, policy: Policy) -> Histories:
    """Return each user's items that are no candidates when the targets are ranked, distinct and rising.

    Args:
        seen: the items that each user has seen, repeats allowed.
        targets: the held-out items of each user; -1 for one that is none of the items.
        policy: how to treat a target that the user has seen before, as in `rank_targets`.
    """
    return _exclusions(distinct_items(seen), targets, policy)[0]


def _exclusions(seen: Histories, targets: Histories, policy: Policy) -> tuple[Histories, npt.NDArray[np.bool_]]:
    """Return the items that are not candidates, and the mask of the targets that are none, (T,)."""
    outside_T = targets.items < 0
    match policy:
        case "keep":
            return without(seen, targets), outside_T
        case "mask":
            return seen, outside_T | are_in(targets, seen)


def _check_targets(targets: Histories, n_users: int, n_items: int) -> None:
    if len(targets) != n_users or (targets.lengths < 1).any():
        raise RunError(
            f"targets: expected one item or more for each of {n_users} users, found {len(targets.items)} items for "
            f"{int((targets.lengths > 0).sum())} users"
        )
    if n_users and not (targets.items.min() >= -1 and targets.items.max() < n_items):
        found = f"{targets.items.min()}..{targets.items.max()}"
        raise RunError(f"targets: expected items 0..{n_items - 1}, or -1 for none of them, found {found}")
