"""Ranked lists of the best candidates of every user.

Shapes: U users in all, B users of a block, N items, R rows of scores, K list length.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from tcf.common.errors import RunError
from tcf.common.ragged import spans
from tcf.data.dataset import Histories
from tcf.data.seen import distinct_items
from tcf.ranking.catalogue import Catalogue, ScoreRows, blocks
from tcf.ranking.count_ranks import block_scores
from tcf.ranking.faiss_search import LONGEST_LIST, USERS_AT_ONCE
from tcf.ranking.scorers import InnerProduct
from tcf.ranking.seen_items import check_seen, counts_at, owners

__all__ = ["RankedLists", "top_k"]

_ENTRIES_AT_ONCE = 4 * 2**20


@dataclass(frozen=True)
class RankedLists:
    """The best candidates of every user, best first; equal scores are ordered by item index.

    Attributes:
        items_UK: (U, K) int32 item indices, padded with -1 if a user has fewer than K candidates.
        scores_UK: (U, K) float32, padded with -inf.
    """

    items_UK: npt.NDArray[np.int32]
    scores_UK: npt.NDArray[np.float32]

    @classmethod
    def empty(cls, n_users: int, k: int) -> "RankedLists":
        """Return lists without items."""
        return cls(np.full((n_users, k), -1, np.int32), np.full((n_users, k), -np.inf, np.float32))


@dataclass(frozen=True)
class _Entries:
    """Candidates of a block of users, in any order: three arrays of one length.

    Attributes:
        users: positions in the block, 0..B - 1.
        items: item indices.
        scores: float32.
    """

    users: npt.NDArray[np.int64]
    items: npt.NDArray[np.int64]
    scores: npt.NDArray[np.float32]


def top_k(
    catalogue: Catalogue,
    states_UD: npt.NDArray[np.float32],
    seen: Histories,
    k: int,
    *,
    device: Literal["cpu", "cuda"] = "cpu",
) -> RankedLists:
    """Return the k best items by inner product that each user has not seen.

    Args:
        catalogue: the items.
        states_UD: one state per user, (U, D) float32.
        seen: the users' earlier items, which are left out; repeats allowed.
        k: list length.
        device: where FAISS searches.

    Raises:
        RunError: shapes do not match, a value is not finite, or k is less than 1.
    """
    if k < 1:
        raise RunError(f"k: expected at least 1, found {k}")
    scorer = InnerProduct(catalogue, states_UD, device)
    check_seen(seen, scorer.n_users, catalogue.n_items)
    seen = distinct_items(seen)
    lists = RankedLists.empty(scorer.n_users, k)
    users = _from_search(scorer, seen, lists)
    for block in blocks(len(users), max(1, _ENTRIES_AT_ONCE // catalogue.n_items)):
        _from_all_scores(scorer, seen, users[block], lists)
    return lists


def _from_search(scorer: InnerProduct, seen: Histories, lists: RankedLists) -> npt.NDArray[np.int64]:
    """Fill the lists for which a FAISS search is enough; return the other users."""
    k, sizes = lists.items_UK.shape[1], scorer.rows.sizes
    needed = k + seen.lengths + 1
    short = np.minimum(needed, scorer.rows.n_rows) <= LONGEST_LIST
    users, left = np.flatnonzero(short), [np.flatnonzero(~short)]
    most = int(needed[users].max(initial=1))
    # No user needs more items of a row than `most`.
    entries_a_user = min(most, scorer.rows.n_rows) * min(most, int(sizes.max()))
    for block in blocks(len(users), max(1, min(USERS_AT_ONCE, _ENTRIES_AT_ONCE // entries_a_user))):
        settled = _search_block(scorer, seen, users[block], int(needed[users[block]].max()), lists)
        left.append(users[block][~settled])
    return np.concatenate(left)


def _search_block(
    scorer: InnerProduct, seen: Histories, users: npt.NDArray[np.int64], needed: int, lists: RankedLists
) -> npt.NDArray[np.bool_]:
    """Fill lists from a search; return which are final: no row outside could tie with the last item."""
    length = min(needed, scorer.rows.n_rows)
    scores_BK, rows_BK = scorer.search(scorer.states_UD[users], length)
    entries = _expand(scorer.rows, rows_BK, scores_BK, needed)
    _place(_unseen(entries, seen.take(users), scorer.rows.n_items), users, lists)
    if length == scorer.rows.n_rows:
        return np.ones(len(users), bool)
    return np.asarray(lists.scores_UK[users, -1] > scores_BK[:, -1])


def _expand(rows: ScoreRows, rows_BK: npt.NDArray[np.int64], scores_BK: npt.NDArray[np.float32], most: int) -> _Entries:
    """Return the items of the listed rows, the first `most` of each row."""
    rows_E = rows_BK.ravel()
    counts_E = np.minimum(rows.sizes[rows_E], most)
    places = spans(rows.offsets[rows_E], counts_E)
    users_E = np.repeat(np.arange(len(rows_BK)), rows_BK.shape[1])
    return _Entries(np.repeat(users_E, counts_E), rows.items[places], np.repeat(scores_BK.ravel(), counts_E))


def _unseen(entries: _Entries, seen: Histories, n_items: int) -> _Entries:
    """Return the entries without the items that the users of the block have seen."""
    keys = owners(seen) * n_items + seen.items
    kept = counts_at(keys, np.ones(len(keys), np.int64), entries.users * n_items + entries.items) == 0
    return _Entries(entries.users[kept], entries.items[kept], entries.scores[kept])


def _from_all_scores(scorer: InnerProduct, seen: Histories, users: npt.NDArray[np.int64], lists: RankedLists) -> None:
    """Fill lists from the scores of all items."""
    scores_BN = block_scores(scorer, users)[:, scorer.rows.row_of_item]
    block_seen = seen.take(users)
    scores_BN[owners(block_seen), block_seen.items] = -np.inf
    chosen_BN = _best(scores_BN, min(lists.items_UK.shape[1], scorer.rows.n_items))
    owner, items = np.nonzero(chosen_BN)
    _place(_Entries(owner, items, scores_BN[owner, items]), users, lists)


def _best(scores_BN: npt.NDArray[np.float32], k: int) -> npt.NDArray[np.bool_]:
    """Mark the k highest finite scores of every row; of those that tie for the last place, the first."""
    n_items = scores_BN.shape[1]
    last_B1 = np.partition(scores_BN, n_items - k, axis=1)[:, n_items - k, None]
    above_BN = scores_BN > last_B1
    ties_BN = scores_BN == last_B1
    room_B1 = k - above_BN.sum(1, keepdims=True)
    return np.asarray((above_BN | (ties_BN & (ties_BN.cumsum(1) <= room_B1))) & np.isfinite(scores_BN))


def _place(entries: _Entries, users: npt.NDArray[np.int64], lists: RankedLists) -> None:
    """Put the best entries of a block into the lists of its users, in order."""
    order = np.lexsort((entries.items, -entries.scores, entries.users))
    owner = entries.users[order]
    places = np.arange(len(owner)) - np.searchsorted(owner, owner)
    kept = places < lists.items_UK.shape[1]
    chosen, owner, places = order[kept], users[owner[kept]], places[kept]
    lists.items_UK[owner, places] = entries.items[chosen]
    lists.scores_UK[owner, places] = entries.scores[chosen]
