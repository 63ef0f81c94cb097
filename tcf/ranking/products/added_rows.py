"""Added scores of a block of users, by rows of scores.

What is added to an item that has a row for itself is added to the row. An item that shares a row with others leaves it,
like an excluded item, and is scored by itself: by the product of its row, from the same block, and what is added to it.

Shapes: B users of a block, E items with an added score, F of them that share rows and are candidates, T targets.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tcf.data.histories import Histories, owners
from tcf.data.seen import distinct_items
from tcf.ranking.added_scores import Added
from tcf.ranking.catalogue import ScoreRows
from tcf.ranking.products.excluded_rows import Places
from tcf.ranking.products.score_block import ScoreBlock
from tcf.ranking.seen_items import are_in

__all__ = ["AddedRows", "LoneItems"]

_LARGEST_INT32 = 2**31 - 1


@dataclass(frozen=True)
class LoneItems:
    """Candidates that have left rows of several items, because something is added to them alone.

    Attributes:
        items: each user's, distinct and rising; F in all.
        places: their users and rows.
        values_F: what is added.
        scores_F: their scores, filled in by one block of scores after the other.
    """

    items: Histories
    places: Places
    values_F: Tensor
    scores_F: Tensor

    @staticmethod
    def of(added: Added, excluded: Histories, rows: ScoreRows, device: torch.device) -> "LoneItems":
        """Find them among the items of a block of users."""
        if not rows.n_shared:
            nobody = Histories(np.zeros_like(added.offsets), np.zeros(0, np.int32))
            none = np.zeros(0, np.int64)
            return LoneItems(nobody, Places.of(none, none, device), *torch.zeros(2, 0, device=device))
        lone_E = rows.row_of_item[added.items] < rows.n_shared
        lone_E[lone_E] = ~are_in(added.histories.where(lone_E), excluded)
        items = added.histories.where(lone_E)
        values_F = torch.from_numpy(added.values[lone_E]).to(device)
        places = Places.of(owners(items), rows.row_of_item[items.items], device)
        return LoneItems(items, places, values_F, torch.empty_like(values_F))

    def __len__(self) -> int:
        """Number of items, F."""
        return len(self.items.items)

    def read(self, scores: ScoreBlock) -> None:
        """Score those whose rows are in a block of products, before anything is added there."""
        here = self.places.among(scores.rows)
        places = self.places.take(here)
        self.scores_F[here] = scores.memory[scores.places(places.users, places.rows)] + self.values_F[here]

    def among(self, items: Histories) -> tuple[Tensor, Tensor]:
        """Return which of the users' items are here, as their numbers, and their numbers here."""
        most = int(max(self.items.items.max(initial=0), items.items.max(initial=0))) + 1
        keys, wanted = (owners(part) * most + part.items for part in (self.items, items))
        found = np.flatnonzero(np.isin(wanted, keys))
        places = np.searchsorted(keys, wanted[found])
        return torch.from_numpy(found).to(self.values_F.device), torch.from_numpy(places).to(self.values_F.device)


@dataclass(frozen=True)
class AddedRows:
    """What is added to the rows of scores of a block of users.

    Attributes:
        added: the items and values.
        rows_N: the row of each item of the catalogue.
        users_E: the user of each of these items.
        items_E: the items.
        values_E: what is added to their rows: 0 if several items share the row.
        lone: the candidates that share rows.
    """

    added: Added
    rows_N: Tensor
    users_E: Tensor
    items_E: Tensor
    values_E: Tensor
    lone: LoneItems

    @staticmethod
    def of(added: Added, excluded: Histories, rows: ScoreRows, rows_N: Tensor) -> "AddedRows":
        """Find the rows.

        Args:
            added: what is added for each user of the block.
            excluded: the items of each user of the block that are no candidates, distinct and rising.
            rows: which items share a row.
            rows_N: the row of each item, where the scores are.
        """
        device = rows_N.device
        lengths_B = torch.from_numpy(np.diff(added.offsets)).to(device)
        users_E = torch.repeat_interleave(torch.arange(len(added), dtype=torch.int32, device=device), lengths_B)
        items_E, values_E = (torch.from_numpy(part).to(device) for part in (added.items, added.values))
        if rows.n_shared:
            shared_N = rows_N < rows.n_shared
            values_E = values_E.masked_fill(shared_N.index_select(0, items_E), 0)
        return AddedRows(added, rows_N, users_E, items_E, values_E, LoneItems.of(added, excluded, rows, device))

    def gone(self, excluded: Histories) -> Histories:
        """Return the items of each user that are no candidates by their rows: excluded ones, and those scored alone."""
        return distinct_items(excluded, self.lone.items) if len(self.lone) else excluded

    def values_of(self, items: Histories) -> Tensor:
        """Return what is added to some items of each user, one after another."""
        return torch.from_numpy(self.added.of_items(items)).to(self.values_E.device)

    def add_to(self, scores: ScoreBlock, *, are_whole: bool) -> None:
        """Score the items that share rows of a block of products, and add to the rows of the others.

        Args:
            scores: products of some rows for the users.
            are_whole: whether they are those of all rows.
        """
        if len(self.lone):
            self.lone.read(scores)
        users_E, items_E, values_E = self.users_E, self.items_E, self.values_E
        if not are_whole:
            in_block_N = (self.rows_N >= scores.rows.start) & (self.rows_N < scores.rows.stop)
            here = torch.nonzero(in_block_N.index_select(0, items_E)).ravel()
            users_E, items_E, values_E = users_E[here], items_E[here], values_E[here]
        scores.memory.index_add_(0, self._places(scores, users_E, items_E), values_E)

    def _places(self, scores: ScoreBlock, users_E: Tensor, items_E: Tensor) -> Tensor:
        """Return where the scores of some items of the block are."""
        # A row's scores of two users next to one another are as far apart as those of any two. So places are looked up
        # for one user, and moved: several times as fast as finding the tile of every item.
        dtype = torch.int32 if scores.memory.numel() < _LARGEST_INT32 else torch.int64
        first_N, second_N = (scores.places(torch.full_like(self.rows_N, user), self.rows_N) for user in (0, 1))
        first_E = first_N.to(dtype).index_select(0, items_E)
        steps_E = (second_N - first_N).to(dtype).index_select(0, items_E)
        return first_E.addcmul_(users_E.to(dtype), steps_E)
