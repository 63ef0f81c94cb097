"""The best rows of each user of a block, taken from blocks of scores, and the lists of items that they become.

A list of K items needs no more than the K best rows, since rows without a candidate are masked. A few more are kept:
only if the last of these ties with the last item may there be others that tie, and all of them are looked at then.

Shapes: B users of a block, S rows of a block, L listed rows, E entries, Q users of a block with ties at the edge.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tcf.ranking.catalogue import blocks
from tcf.ranking.products.block_products import ScoreBlock, UserBlock
from tcf.ranking.products.row_items import RowItems
from tcf.ranking.ranked_lists import Entries, RankedLists, place_best, place_ordered

__all__ = ["BestRows"]

_SPARE = 8  # scores of float32 tie by chance, hardly ever as many as these
_GROUP = 16  # columns of which the highest score is found first
_TIES_AT_ONCE = 2**20


@dataclass(frozen=True)
class BestRows:
    """The best rows of a block of users, filled in by one block of scores after the other.

    Attributes:
        block: the users.
        scores_BL: the best scores, highest first; -inf where there are no further candidates.
        rows_BL: their rows.
    """

    block: UserBlock
    scores_BL: Tensor
    rows_BL: Tensor

    @staticmethod
    def of(block: UserBlock, k: int) -> "BestRows":
        """Begin to look for what lists of k items need."""
        shape = (len(block), min(k + _SPARE, block.products.rows.n_rows))
        device = block.products.device
        scores_BL = torch.full(shape, -torch.inf, dtype=torch.float32, device=device)
        return BestRows(block, scores_BL, torch.zeros(shape, dtype=torch.int64, device=device))

    def read(self, scores: ScoreBlock) -> None:
        """Take what is better in a block of scores."""
        values_BL, columns_BL = _best(scores.scores_BS, min(self.scores_BL.shape[1], scores.scores_BS.shape[1]))
        values = torch.cat([self.scores_BL, values_BL], 1)
        rows = torch.cat([self.rows_BL, columns_BL + scores.rows.start], 1)
        best = values.topk(self.scores_BL.shape[1])
        self.scores_BL.copy_(best.values)
        self.rows_BL.copy_(rows.gather(1, best.indices))

    def place(self, lists: RankedLists) -> None:
        """Fill the lists of the users of the block."""
        scores_BL, rows_BL = self.scores_BL.cpu().numpy(), self.rows_BL.cpu().numpy()
        users, products = self.block.users, self.block.products
        items = RowItems.of(products.rows, self.block.excluded)
        _place_listed(items, scores_BL, rows_BL, users, lists)
        edge_B = scores_BL[:, -1]
        tied = np.flatnonzero((lists.scores_UK[users, -1] == edge_B) & (edge_B > -np.inf))
        if len(tied) and scores_BL.shape[1] < products.rows.n_rows:
            _place_tied(self.block, items, tied, lists)


def _best(scores_BS: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return the k highest scores of each user and their columns, highest first, through the best of groups."""
    n_columns = scores_BS.shape[1]
    n_groups = n_columns // _GROUP
    if n_groups < 2 * k:
        best = scores_BS.topk(k)
        return best.values, best.indices
    # Column c is in group c mod n_groups; those that are left over at the end are candidates anyway.
    first = n_groups * _GROUP
    highest_BG = scores_BS[:, :first].unflatten(1, (_GROUP, n_groups)).amax(1)
    groups_Bk = highest_BG.topk(k, sorted=False).indices
    steps_G = torch.arange(0, first, n_groups, device=scores_BS.device)
    columns = (groups_Bk[:, None, :] + steps_G[None, :, None]).flatten(1)
    left = torch.arange(first, n_columns, device=scores_BS.device).expand(len(scores_BS), -1)
    columns = torch.cat([columns, left], 1)
    best = scores_BS.gather(1, columns).topk(k)
    return best.values, columns.gather(1, best.indices)


def _place_listed(
    items: RowItems,
    scores_BL: npt.NDArray[np.float32],
    rows_BL: npt.NDArray[np.int64],
    users: npt.NDArray[np.int64],
    lists: RankedLists,
) -> None:
    """Put the items of the listed rows into the lists."""
    owner, place = np.nonzero(scores_BL > -np.inf)
    entries = items.entries(owner, rows_BL[owner, place], scores_BL[owner, place], lists.items_UK.shape[1])
    ties_B = ((scores_BL[:, 1:] == scores_BL[:, :-1]) & (scores_BL[:, 1:] > -np.inf)).any(1)
    if ties_B.any():
        tied_E = ties_B[entries.users]
        place_best(entries.where(tied_E), users, lists)
        entries = entries.where(~tied_E)
    place_ordered(entries, users, lists)


def _place_tied(block: UserBlock, items: RowItems, tied_Q: npt.NDArray[np.int64], lists: RankedLists) -> None:
    """Fill the lists of users with more ties at the last place than are listed, from a second look at all scores."""
    k, users_Q = lists.items_UK.shape[1], block.users[tied_Q]
    edge_Q = lists.scores_UK[users_Q, -1]
    owner, place = np.nonzero(lists.scores_UK[users_Q] > edge_Q[:, None])
    above = Entries(tied_Q[owner], lists.items_UK[users_Q[owner], place], lists.scores_UK[users_Q[owner], place])
    ties = above.where(np.zeros(len(owner), bool))
    for scores in block.sweep():
        for part in blocks(len(tied_Q), max(1, _TIES_AT_ONCE // scores.scores_BS.shape[1])):
            found = _ties(scores, items, tied_Q[part], edge_Q[part], k)
            ties = _first_items(Entries.joined(ties, found), k)
    place_best(Entries.joined(above, ties), block.users, lists)


def _ties(
    scores: ScoreBlock, items: RowItems, users_Q: npt.NDArray[np.int64], edge_Q: npt.NDArray[np.float32], k: int
) -> Entries:
    """Return the first candidates that score just so."""
    scores_BS, rows = scores.scores_BS, scores.rows
    users, edges = (torch.from_numpy(values).to(scores_BS.device) for values in (users_Q, edge_Q))
    ties_QS = scores_BS[users] == edges[:, None]
    # Rows, those of several items and then the others, rise with their first items. As many rows as the list is long
    # have the first candidates, if no row's first item is excluded.
    enough_Q1 = torch.from_numpy(k + items.excluded.lengths[users_Q]).to(scores_BS.device)[:, None]
    shared = min(max(items.rows.n_shared - rows.start, 0), ties_QS.shape[1])
    for ties_Qs in (ties_QS[:, :shared], ties_QS[:, shared:]):
        ties_Qs &= ties_Qs.cumsum(1, dtype=torch.int32) <= enough_Q1
    owner, column = (places.cpu().numpy() for places in ties_QS.nonzero(as_tuple=True))
    return items.entries(users_Q[owner], column + rows.start, edge_Q[owner], k)


def _first_items(entries: Entries, k: int) -> Entries:
    """Return the k lowest items of each user."""
    ordered = entries.take(np.lexsort((entries.items, entries.users)))
    return ordered.where(np.arange(len(ordered.users)) - np.searchsorted(ordered.users, ordered.users) < k)
