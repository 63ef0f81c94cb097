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

from tcf.data.histories import owners
from tcf.ranking.catalogue import blocks
from tcf.ranking.products.row_items import RowItems
from tcf.ranking.products.score_block import KnownProducts, ScoreBlock
from tcf.ranking.products.user_block import UserBlock
from tcf.ranking.ranked_lists import Entries, RankedLists, place_best, place_ordered

__all__ = ["BestRows"]

_SPARE = 8  # scores of float32 tie by chance, hardly ever as many as these
_GROUP = 8  # columns of which the highest score is found first
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
        values_BL, rows_BL = _best_of_block(scores, self.scores_BL.shape[1])
        if not self.block.products.are_whole:
            values_BL, rows_BL = _best_of(
                torch.cat([self.scores_BL, values_BL], 1),
                torch.cat([self.rows_BL, rows_BL], 1),
                self.scores_BL.shape[1],
            )
        self.scores_BL.copy_(values_BL)
        self.rows_BL.copy_(rows_BL)

    def place(self, lists: RankedLists, known: KnownProducts | None = None) -> None:
        """Fill the lists of the users of the block.

        Args:
            lists: lists of all users.
            known: the products that were taken in place of the blocks' own.
        """
        scores_BL, rows_BL = self.scores_BL.cpu().numpy(), self.rows_BL.cpu().numpy()
        users, products = self.block.users, self.block.products
        items, lone = RowItems.of(products.rows, self.block.gone), self._lone_entries()
        _place_listed(items, scores_BL, rows_BL, lone, users, lists)
        edge_B = scores_BL[:, -1]
        tied = np.flatnonzero((lists.scores_UK[users, -1] == edge_B) & (edge_B > -np.inf))
        if len(tied) and scores_BL.shape[1] < products.rows.n_rows:
            tied_lone = lone.where(lone.scores == edge_B[lone.users])
            _place_tied(self.block, items, known, tied_lone, tied, lists)

    def _lone_entries(self) -> Entries:
        """Return the items that are scored by themselves and may be listed."""
        none = np.zeros(0, np.int64)
        if self.block.added is None or not len(self.block.added.lone):
            return Entries(none, none, np.zeros(0, np.float32))
        lone = self.block.added.lone
        # All kept rows have candidates. Below the last of them nothing is listed, unless there are no further rows.
        listed = lone.scores_F >= self.scores_BL[:, -1][lone.places.users]
        listed |= self.scores_BL.shape[1] >= self.block.products.rows.n_rows
        chosen = listed.cpu().numpy()
        return Entries(owners(lone.items)[chosen], lone.items.items[chosen], lone.scores_F[listed].cpu().numpy())


def _best_of(values_BC: Tensor, names_BC: Tensor, most: int) -> tuple[Tensor, Tensor]:
    """Return the highest values of each user, highest first, and their names."""
    best = values_BC.topk(min(most, values_BC.shape[1]))
    return best.values, names_BC.gather(1, best.indices)


def _best_of_block(scores: ScoreBlock, most: int) -> tuple[Tensor, Tensor]:
    """Return the highest scores of each user, highest first, and their rows.

    They are in as many groups of rows as rows are wanted, those whose highest scores are the best. So all scores are
    read once, but not searched. The best groups are found in the same way.
    """
    groups = _Groups.of(scores)
    if len(groups) < 4 * most:
        rows = torch.arange(scores.rows.start, scores.rows.stop, device=scores.memory.device)
        all_scores = torch.cat([scores_BS for _, scores_BS in scores.tiles()], 1)
        return _best_of(all_scores, rows.expand_as(all_scores), most)
    highest = ScoreBlock(slice(0, len(groups)), scores.n_users, len(groups), groups.highest(scores))
    _, groups_BK = _best_of_block(highest, most)
    rows_BC = groups.rows(groups_BK)
    users_B1 = torch.arange(scores.n_users, device=rows_BC.device)[:, None]
    return _best_of(scores.memory[scores.places(users_B1, rows_BC)], rows_BC, most)


@dataclass(frozen=True)
class _Groups:
    """Groups of rows of a block, each within a tile: first, first + step, first + 2 step, ...

    Attributes:
        first_G: first row of each group.
        step_G: step of each group.
        left: rows at the ends of tiles that are in no group.
    """

    first_G: Tensor
    step_G: Tensor
    left: Tensor

    @staticmethod
    def of(scores: ScoreBlock) -> "_Groups":
        """Divide the rows of a block."""
        device, tiles = scores.memory.device, [rows for rows, _ in scores.tiles()]
        steps = [(rows.stop - rows.start) // _GROUP for rows in tiles]
        ends = [rows.start + step * _GROUP for rows, step in zip(tiles, steps, strict=True)]
        return _Groups(
            torch.cat([torch.arange(r.start, r.start + n, device=device) for r, n in zip(tiles, steps, strict=True)]),
            torch.repeat_interleave(torch.tensor(steps, device=device), torch.tensor(steps, device=device)),
            torch.cat([torch.arange(end, r.stop, device=device) for r, end in zip(tiles, ends, strict=True)]),
        )

    def __len__(self) -> int:
        """Number of groups, G."""
        return len(self.first_G)

    def highest(self, scores: ScoreBlock) -> Tensor:
        """Return the highest score of each user in each group, (B * G,)."""
        highest_BG, done = torch.empty(scores.n_users, len(self), device=scores.memory.device), 0
        for _, scores_BS in scores.tiles():
            step = scores_BS.shape[1] // _GROUP
            if step:
                grouped = scores_BS[:, : step * _GROUP].view(scores.n_users, _GROUP, step)
                torch.amax(grouped, 1, out=highest_BG[:, done : done + step])
            done += step
        return highest_BG.view(-1)

    def rows(self, groups_BK: Tensor) -> Tensor:
        """Return the rows of each user's chosen groups, and those of no group, (B, C)."""
        first_B1K, step_B1K = self.first_G[groups_BK][:, None], self.step_G[groups_BK][:, None]
        turns = torch.arange(_GROUP, device=groups_BK.device)[:, None]
        in_groups = (first_B1K + turns * step_B1K).flatten(1)
        return torch.cat([in_groups, self.left.expand(len(groups_BK), -1)], 1)


def _place_listed(
    items: RowItems,
    scores_BL: npt.NDArray[np.float32],
    rows_BL: npt.NDArray[np.int64],
    lone: Entries,
    users: npt.NDArray[np.int64],
    lists: RankedLists,
) -> None:
    """Put the items of the listed rows, and those that are scored by themselves, into the lists."""
    owner, place = np.nonzero(scores_BL > -np.inf)
    entries = items.entries(owner, rows_BL[owner, place], scores_BL[owner, place], lists.items_UK.shape[1])
    ties_B = ((scores_BL[:, 1:] == scores_BL[:, :-1]) & (scores_BL[:, 1:] > -np.inf)).any(1)
    ties_B[lone.users] = True
    if ties_B.any():
        tied_E = ties_B[entries.users]
        place_best(Entries.joined(entries.where(tied_E), lone), users, lists)
        entries = entries.where(~tied_E)
    place_ordered(entries, users, lists)


def _place_tied(
    block: UserBlock,
    items: RowItems,
    known: KnownProducts | None,
    ties: Entries,
    tied_Q: npt.NDArray[np.int64],
    lists: RankedLists,
) -> None:
    """Fill the lists of users with more ties at the last place than are listed, from a second look at all scores.

    Args:
        block: the users.
        items: their candidates.
        known: the products that are taken in place of the blocks' own.
        ties: the items that are scored by themselves and tie.
        tied_Q: those of the users.
        lists: lists of all users.
    """
    k, users_Q = lists.items_UK.shape[1], block.users[tied_Q]
    edge_Q = lists.scores_UK[users_Q, -1]
    owner, place = np.nonzero(lists.scores_UK[users_Q] > edge_Q[:, None])
    above = Entries(tied_Q[owner], lists.items_UK[users_Q[owner], place], lists.scores_UK[users_Q[owner], place])
    ties = ties.where(np.isin(ties.users, tied_Q))
    for scores in block.sweep(known):
        for rows, scores_BS in scores.tiles():
            for part in blocks(len(tied_Q), max(1, _TIES_AT_ONCE // scores_BS.shape[1])):
                found = _ties(scores_BS, rows.start, items, tied_Q[part], edge_Q[part], k)
                ties = _first_items(Entries.joined(ties, found), k)
    place_best(Entries.joined(above, ties), block.users, lists)


def _ties(
    scores_BS: Tensor,
    first: int,
    items: RowItems,
    users_Q: npt.NDArray[np.int64],
    edge_Q: npt.NDArray[np.float32],
    k: int,
) -> Entries:
    """Return the first candidates that score just so, among the rows of a tile, of which `first` is the first."""
    users, edges = (torch.from_numpy(values).to(scores_BS.device) for values in (users_Q, edge_Q))
    ties_QS = scores_BS[users] == edges[:, None]
    # Rows, those of several items and then the others, rise with their first items. As many rows as the list is long
    # have the first candidates, if no row's first item is excluded.
    enough_Q1 = torch.from_numpy(k + items.excluded.lengths[users_Q]).to(scores_BS.device)[:, None]
    shared = min(max(items.rows.n_shared - first, 0), ties_QS.shape[1])
    for ties_Qs in (ties_QS[:, :shared], ties_QS[:, shared:]):
        ties_Qs &= ties_Qs.cumsum(1, dtype=torch.int32) <= enough_Q1
    owner, column = (places.cpu().numpy() for places in ties_QS.nonzero(as_tuple=True))
    return items.entries(users_Q[owner], column + first, edge_Q[owner], k)


def _first_items(entries: Entries, k: int) -> Entries:
    """Return the k lowest items of each user."""
    ordered = entries.take(np.lexsort((entries.items, entries.users)))
    return ordered.where(np.arange(len(ordered.users)) - np.searchsorted(ordered.users, ordered.users) < k)
