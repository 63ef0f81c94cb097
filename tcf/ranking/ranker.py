"""Rankers: anything that can rank the whole catalogue for every user.

Shapes: U users, T targets of all users, N items, K list length.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeAlias, runtime_checkable

import numpy as np
import numpy.typing as npt

from tcf.common.errors import RunError
from tcf.data.histories import Histories
from tcf.data.seen import distinct_items
from tcf.ranking.catalogue import blocks
from tcf.ranking.count_ranks import block_scores, count_ranks, users_a_block
from tcf.ranking.ranked_lists import RankedLists, place_best_of_all
from tcf.ranking.scorers import Scorer
from tcf.ranking.seen_items import check_seen
from tcf.ranking.task import RankingTask

__all__ = ["Advance", "Counts", "DenseRanker", "Ranker", "RanksAndLists", "top_k"]

Advance = Callable[[int], object]
"""Called with the number of users that have just been finished."""

Counts: TypeAlias = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]
"""The candidates that score above each target, (T,), and the other ones that score the same, (T,)."""


class Ranker(Protocol):
    """Ranks every item for every user; a higher score is a better item."""

    @property
    def n_users(self) -> int:
        """Number of users, U."""

    @property
    def n_items(self) -> int:
        """Number of items, N."""

    def count(self, task: RankingTask, advance: Advance | None = None) -> Counts:
        """Count the candidates that score above each target, (T,), and the other ones that score the same, (T,).

        Args:
            task: the targets of all users, in order.
            advance: called with numbers of users, U in total.

        Raises:
            RunError: some score is not finite.
        """

    def lists(self, excluded: Histories, k: int, advance: Advance | None = None) -> RankedLists:
        """Return each user's k best candidates.

        Args:
            excluded: the items of each user that are no candidates, distinct and rising.
            k: list length.
            advance: called with numbers of users, U in total.

        Raises:
            RunError: some score is not finite.
        """


@runtime_checkable
class RanksAndLists(Ranker, Protocol):
    """A ranker that ranks and lists from the same scores, so that both agree to the last bit."""

    def count_and_list(self, task: RankingTask, k: int, advance: Advance | None = None) -> tuple[Counts, RankedLists]:
        """Return what `count` and `lists` return, the lists of the task's candidates.

        Args:
            task: the targets of all users, in order.
            k: list length.
            advance: called with numbers of users, U in total.

        Raises:
            RunError: some score is not finite.
        """


@dataclass(frozen=True)
class DenseRanker:
    """Ranks with a scorer that scores all items of every user.

    Attributes:
        scorer: the scorer.
    """

    scorer: Scorer

    @property
    def n_users(self) -> int:
        """Number of users."""
        return self.scorer.n_users

    @property
    def n_items(self) -> int:
        """Number of items."""
        return self.scorer.rows.n_items

    def count(self, task: RankingTask, advance: Advance | None = None) -> Counts:
        """Count over the scores of all items."""
        return count_ranks(self.scorer, task, advance)

    def lists(self, excluded: Histories, k: int, advance: Advance | None = None) -> RankedLists:
        """Choose among the scores of all items."""
        lists = RankedLists.empty(self.n_users, k)
        for block in blocks(self.n_users, users_a_block(self.n_items) // 4 or 1):
            users = np.arange(block.start, block.stop)
            scores_BR = block_scores(self.scorer, users)
            place_best_of_all(scores_BR, self.scorer.rows, excluded.take(users), users, lists)
            if advance is not None:
                advance(len(users))
        return lists


def top_k(ranker: Ranker, seen: Histories, k: int, advance: Advance | None = None) -> RankedLists:
    """Return the k best items that each user has not seen.

    Args:
        ranker: ranks all items for these users.
        seen: the items that each user has seen, which are left out; repeats allowed.
        k: list length.
        advance: called with the number of users that have just been finished.

    Raises:
        RunError: users or items do not match, a score is not finite, or k is less than 1.
    """
    if k < 1:
        raise RunError(f"k: expected at least 1, found {k}")
    check_seen(seen, ranker.n_users, ranker.n_items)
    return ranker.lists(distinct_items(seen), k, advance)
