"""Ranked lists of the best candidates of every user.

Shapes: U users in all, B users of a block, N items, R rows of scores, K list length.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tcf.data.histories import Histories, owners
from tcf.ranking.catalogue import ScoreRows
from tcf.ranking.seen_items import counts_at

__all__ = ["Entries", "RankedLists", "place_best", "place_best_of_all", "place_ordered", "unseen"]


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
class Entries:
    """Candidates of a block of users, in any order: three arrays of one length.

    Attributes:
        users: positions in the block, 0..B - 1.
        items: item indices.
        scores: float32.
    """

    users: npt.NDArray[np.int64]
    items: npt.NDArray[np.integer]
    scores: npt.NDArray[np.float32]

    @staticmethod
    def joined(one: "Entries", other: "Entries") -> "Entries":
        """Return the entries of both."""
        return Entries(
            np.concatenate([one.users, other.users]),
            np.concatenate([one.items, other.items]),
            np.concatenate([one.scores, other.scores]),
        )

    def take(self, places: npt.NDArray[np.int64]) -> "Entries":
        """Return the entries at some places, in this order."""
        return Entries(self.users[places], self.items[places], self.scores[places])

    def where(self, chosen: npt.NDArray[np.bool_]) -> "Entries":
        """Return the chosen entries."""
        return Entries(self.users[chosen], self.items[chosen], self.scores[chosen])


def place_best(entries: Entries, users: npt.NDArray[np.int64], lists: RankedLists) -> None:
    """Put the best entries of a block into the lists of its users, in order."""
    place_ordered(entries.take(np.lexsort((entries.items, -entries.scores, entries.users))), users, lists)


def place_ordered(entries: Entries, users: npt.NDArray[np.int64], lists: RankedLists) -> None:
    """Put the first entries of each user into the lists of the block's users.

    Args:
        entries: users of the block in order, each user's best item first.
        users: (B,) the users of the block.
        lists: lists of all users.
    """
    places = np.arange(len(entries.users)) - np.searchsorted(entries.users, entries.users)
    kept = places < lists.items_UK.shape[1]
    owner, places = users[entries.users[kept]], places[kept]
    lists.items_UK[owner, places] = entries.items[kept]
    lists.scores_UK[owner, places] = entries.scores[kept]


def unseen(entries: Entries, seen: Histories, n_items: int) -> Entries:
    """Return the entries without the items that the users of the block have seen."""
    keys = owners(seen) * n_items + seen.items
    return entries.where(counts_at(keys, np.ones(len(keys), np.int64), entries.users * n_items + entries.items) == 0)


def place_best_of_all(
    scores_BR: npt.NDArray[np.float32],
    rows: ScoreRows,
    excluded: Histories,
    users: npt.NDArray[np.int64],
    lists: RankedLists,
) -> None:
    """Fill the lists of a block of users from the scores of all items.

    Args:
        scores_BR: scores of all rows.
        rows: which items share a row.
        excluded: the items of each user of the block that are no candidates.
        users: (B,) the users of the block.
        lists: lists of all users.
    """
    scores_BN = scores_BR[:, rows.row_of_item]
    scores_BN[owners(excluded), excluded.items] = -np.inf
    chosen_BN = _best(scores_BN, min(lists.items_UK.shape[1], rows.n_items))
    owner, items = np.nonzero(chosen_BN)
    place_best(Entries(owner, items, scores_BN[owner, items]), users, lists)


def _best(scores_BN: npt.NDArray[np.float32], k: int) -> npt.NDArray[np.bool_]:
    """Mark the k highest finite scores of every row; of those that tie for the last place, the first."""
    n_items = scores_BN.shape[1]
    last_B1 = np.partition(scores_BN, n_items - k, axis=1)[:, n_items - k, None]
    above_BN = scores_BN > last_B1
    ties_BN = scores_BN == last_B1
    room_B1 = k - above_BN.sum(1, keepdims=True)
    return np.asarray((above_BN | (ties_BN & (ties_BN.cumsum(1) <= room_B1))) & np.isfinite(scores_BN))
