"""Ranking by inner product with FAISS lists, and by counting where a list is not enough.

FAISS lists give the rank of every target that scores above the last row of its list. All other ranks are counted over
the scores of the whole catalogue, block by block; the target's own score always comes from the matrix product it is
compared with.

Shapes: U users in all, B users of a block, T targets of a block, N items, R rows of scores, K listed rows.
"""

from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from tcf.common.ragged import spans
from tcf.data.histories import Histories, owners
from tcf.ranking.catalogue import ScoreRows, blocks
from tcf.ranking.count_ranks import block_scores, count_ranks
from tcf.ranking.faiss_search import LONGEST_LIST, USERS_AT_ONCE, Search, exhaustive_search
from tcf.ranking.ranked_lists import Entries, RankedLists, place_best, place_best_of_all, unseen
from tcf.ranking.ranker import Advance, Counts
from tcf.ranking.scorers import InnerProduct
from tcf.ranking.seen_items import counts_at
from tcf.ranking.task import RankingTask

__all__ = ["FaissRanker"]

_LIST = 50  # list length for exact ranks: FAISS takes no longer for 50 than for 10
_ENTRIES_AT_ONCE = 4 * 2**20


@dataclass(frozen=True)
class FaissRanker:
    """Ranks with an exhaustive FAISS search for the best items.

    Attributes:
        product: states and item vectors.
        device: where FAISS searches; `cuda` needs a FAISS with GPU support, otherwise the CPU is used.

    Raises:
        TcfError: FAISS is not installed.
    """

    product: InnerProduct
    device: Literal["cpu", "cuda"] = "cpu"
    search: Search = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "search", exhaustive_search(self.product.catalogue.vectors_RD, self.device))

    @property
    def n_users(self) -> int:
        """Number of users."""
        return self.product.n_users

    @property
    def n_items(self) -> int:
        """Number of items."""
        return self.product.catalogue.n_items

    def count(self, task: RankingTask, advance: Advance | None = None) -> Counts:
        """Count from lists, and over all scores for the targets whose list is not enough."""
        greater, equal = (np.zeros(len(task.targets.items), np.int64) for _ in range(2))
        settled = self._from_lists(task, greater, equal, advance)
        left = replace(task, targets=task.targets.where(~settled))
        greater[~settled], equal[~settled] = count_ranks(self.product, left, advance, only_with_targets=True)
        return greater, equal

    def _from_lists(
        self,
        task: RankingTask,
        greater: npt.NDArray[np.int64],
        equal: npt.NDArray[np.int64],
        advance: Advance | None,
    ) -> npt.NDArray[np.bool_]:
        """Fill in the counts of the targets for which a list is enough; return which they are."""
        settled = np.zeros(len(greater), bool)
        # One row more than the excluded rows and the wanted positions, so that the last row lies beyond them.
        needed = np.minimum((task.depth or _LIST) + task.excluded.lengths + 1, self.product.rows.n_rows)
        asked = task.targets.lengths > 0
        users = np.flatnonzero(asked & (needed <= LONGEST_LIST))
        if advance is not None:
            advance(int((~asked).sum()))
        for block in blocks(len(users), USERS_AT_ONCE):
            chosen = users[block]
            places = spans(task.targets.offsets[chosen], task.targets.lengths[chosen])
            length = int(needed[chosen].max())
            greater[places], equal[places], settled[places] = self._read_lists(task, chosen, length)
            if advance is not None:
                open_users = np.repeat(np.arange(len(chosen)), task.targets.lengths[chosen])[~settled[places]]
                advance(len(chosen) - len(np.unique(open_users)))
        return settled

    def _read_lists(
        self, task: RankingTask, users: npt.NDArray[np.int64], length: int
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
        """Count for the targets of a block of users from lists of this length; and say which counts are final."""
        rows, targets = self.product.rows, task.targets.take(users)
        scores_BK, rows_BK = self.search(self.product.states_UD[users], length)
        weights_BK = rows.sizes[rows_BK] - _excluded_counts(task.excluded.take(users), rows, rows_BK)
        owner_T = owners(targets)
        scores_TK, weights_TK = scores_BK[owner_T], weights_BK[owner_T]
        edge_T = scores_TK[:, -1] if length < rows.n_rows else np.full(len(owner_T), -np.inf, np.float32)
        target_T = _target_scores(rows_BK[owner_T], scores_TK, rows.row_of_item[targets.items])
        clear_T = target_T > edge_T
        # A target outside the list, or equal to its last row, has at least these candidates above it.
        level_T1 = np.where(clear_T, target_T, edge_T)[:, None]
        greater_T = (weights_TK * (scores_TK > level_T1)).sum(1)
        equal_T = (weights_TK * (scores_TK == level_T1)).sum(1) - 1
        return greater_T, equal_T, clear_T if task.depth is None else clear_T | (greater_T >= task.depth)

    def lists(self, excluded: Histories, k: int, advance: Advance | None = None) -> RankedLists:
        """Choose among the rows of FAISS lists, and among all scores for the users whose list is not enough."""
        lists = RankedLists.empty(self.n_users, k)
        users = self._fill_from_lists(excluded, lists, advance)
        for block in blocks(len(users), max(1, _ENTRIES_AT_ONCE // self.n_items)):
            chosen = users[block]
            scores_BR = block_scores(self.product, chosen)
            place_best_of_all(scores_BR, self.product.rows, excluded.take(chosen), chosen, lists)
            if advance is not None:
                advance(len(chosen))
        return lists

    def _fill_from_lists(
        self, excluded: Histories, lists: RankedLists, advance: Advance | None
    ) -> npt.NDArray[np.int64]:
        """Fill the lists for which a FAISS search is enough; return the other users."""
        k, rows = lists.items_UK.shape[1], self.product.rows
        needed = k + excluded.lengths + 1
        short = np.minimum(needed, rows.n_rows) <= LONGEST_LIST
        users, left = np.flatnonzero(short), [np.flatnonzero(~short)]
        most = int(needed[users].max(initial=1))
        # No user needs more items of a row than `most`.
        entries_a_user = min(most, rows.n_rows) * min(most, int(rows.sizes.max()))
        for block in blocks(len(users), max(1, min(USERS_AT_ONCE, _ENTRIES_AT_ONCE // entries_a_user))):
            settled = self._search_block(excluded, users[block], int(needed[users[block]].max()), lists)
            left.append(users[block][~settled])
            if advance is not None:
                advance(int(settled.sum()))
        return np.concatenate(left)

    def _search_block(
        self, excluded: Histories, users: npt.NDArray[np.int64], needed: int, lists: RankedLists
    ) -> npt.NDArray[np.bool_]:
        """Fill lists from a search; return which are final: no row outside could tie with the last item."""
        rows = self.product.rows
        length = min(needed, rows.n_rows)
        scores_BK, rows_BK = self.search(self.product.states_UD[users], length)
        entries = _expand(rows, rows_BK, scores_BK, needed)
        place_best(unseen(entries, excluded.take(users), rows.n_items), users, lists)
        if length == rows.n_rows:
            return np.ones(len(users), bool)
        return np.asarray(lists.scores_UK[users, -1] > scores_BK[:, -1])


def _target_scores(
    rows_TK: npt.NDArray[np.int64], scores_TK: npt.NDArray[np.float32], target_rows_T: npt.NDArray[np.int64]
) -> npt.NDArray[np.float32]:
    """Return the target's score in its list, (T,); -inf if it is not in the list."""
    found_TK = np.where(rows_TK == target_rows_T[:, None], scores_TK, np.float32(-np.inf))
    scores_T: npt.NDArray[np.float32] = found_TK.max(1)
    return scores_T


def _excluded_counts(excluded: Histories, rows: ScoreRows, rows_BK: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return how many items of each listed row are not candidates, (B, K)."""
    keys = owners(excluded) * rows.n_rows + rows.row_of_item[excluded.items]
    wanted_BK = np.arange(len(excluded))[:, None] * rows.n_rows + rows_BK
    distinct_keys, counts = np.unique(keys, return_counts=True)
    return counts_at(distinct_keys, counts, wanted_BK)


def _expand(rows: ScoreRows, rows_BK: npt.NDArray[np.int64], scores_BK: npt.NDArray[np.float32], most: int) -> Entries:
    """Return the items of the listed rows, the first `most` of each row."""
    rows_E = rows_BK.ravel()
    counts_E = np.minimum(rows.sizes[rows_E], most)
    places = spans(rows.offsets[rows_E], counts_E)
    users_E = np.repeat(np.arange(len(rows_BK)), rows_BK.shape[1])
    return Entries(np.repeat(users_E, counts_E), rows.items[places], np.repeat(scores_BK.ravel(), counts_E))
