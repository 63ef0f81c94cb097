"""Counts of what scores above, and as much as, each user's targets, taken from blocks of scores.

Where a block has the scores of the whole catalogue, a target's score is that of the same product. Otherwise its product
is computed first, by itself, and put into the blocks in place of theirs; it then equals theirs within the
rounding of float32, and exactly where all sums are whole numbers below 2^24. What is added is added to either.

Shapes: B users of a block, H of them who have a further target, T targets of them all, M of the user who has most, S
rows of a tile, R rows in all, D width.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tcf.data.histories import Histories, owners
from tcf.ranking.catalogue import blocks
from tcf.ranking.products.block_products import Products
from tcf.ranking.products.excluded_rows import Places
from tcf.ranking.products.score_block import KnownProducts, ScoreBlock
from tcf.ranking.products.user_block import UserBlock

__all__ = ["Counter", "TargetCounts"]

_COMPARISONS = (torch.gt, torch.ge)
_EXACT = 2**24  # float32 holds all whole numbers up to here
_NUMBERS_AT_ONCE = 2**22


@dataclass(frozen=True)
class Counter:
    """Counts the items of the rows whose scores pass a comparison.

    Attributes:
        sizes_R: number of items of each row, in a type in which the sums over a tile are exact.
        marks: memory for 1 where a score of a tile passes and 0 elsewhere.
    """

    sizes_R: Tensor
    marks: Tensor

    @staticmethod
    def of(products: Products) -> "Counter":
        """Allocate what the blocks of some products need."""
        sizes, shape = products.rows.sizes, products.shape
        # A tile's rows that are not all its own are counted twice here, which does no harm.
        most = max(int(sizes[rows].sum()) for rows in blocks(len(sizes), shape.tile)) * 2
        dtype = torch.float32 if most <= _EXACT else torch.float64
        marks = torch.empty(shape.users * shape.tile, dtype=dtype, device=products.device)
        return Counter(torch.from_numpy(sizes).to(products.device, dtype), marks)

    def items(self, scores: ScoreBlock, levels_H: Tensor) -> Tensor:
        """Count for the first users the items that score above a level of each, and those from there on, (H, 2)."""
        counts_H2 = torch.zeros(len(levels_H), 2, dtype=torch.float64, device=levels_H.device)
        for rows, scores_BS in scores.tiles():
            scores_HS = scores_BS[: len(levels_H)]
            marks_HS = self.marks[: scores_HS.numel()].view_as(scores_HS)
            for place, compare in enumerate(_COMPARISONS):
                compare(scores_HS, levels_H[:, None], out=marks_HS)
                counts_H2[:, place] += torch.mv(marks_HS, self.sizes_R[rows])
        return counts_H2


@dataclass(frozen=True)
class TargetCounts:
    """The counts for a block of users, filled in by one block of scores after the other.

    Attributes:
        block: the users, those with more targets first.
        counter: counts items.
        own: the places of the rows of the targets, T of them, users in order.
        turns_T: the number of each target among those of its user.
        having: for each turn, how many users have a further target; they are the first ones.
        known: the products of the targets; None if blocks are whole.
        alone: the targets that are scored by themselves: their numbers, and those of their scores.
        levels_BM: the targets' scores; without a meaning where a user has no further target.
        counts_BM2: the candidates that score above, and those that score as much or more, float64; the target is one.
    """

    block: UserBlock
    counter: Counter
    own: Places
    turns_T: Tensor
    having: tuple[int, ...]
    known: KnownProducts | None
    alone: tuple[Tensor, Tensor] | None
    levels_BM: Tensor
    counts_BM2: Tensor

    @staticmethod
    def of(block: UserBlock, counter: Counter, targets: Histories) -> "TargetCounts":
        """Begin to count for a block of users, whose numbers of targets never rise."""
        products, users_T, added = block.products, owners(targets), block.added
        turns_T = np.arange(len(users_T)) - targets.offsets[users_T]
        having = np.bincount(turns_T)
        shape, device = (len(block), len(having)), products.device
        levels_BM = torch.zeros(shape, dtype=torch.float32, device=device)
        counts_BM2 = torch.zeros(*shape, 2, dtype=torch.float64, device=device)
        own = Places.of(users_T, products.rows.row_of_item[targets.items], device)
        turns, known, alone = torch.from_numpy(turns_T).to(device), None, None
        if not products.are_whole:
            known = KnownProducts(own, _products_at(block, own))
            levels_BM[own.users, turns] = known.products_T + (0 if added is None else added.values_of(targets))
        elif added is not None and len(added.lone):
            alone = added.lone.among(targets)
        return TargetCounts(block, counter, own, turns, tuple(having.tolist()), known, alone, levels_BM, counts_BM2)

    def read(self, scores: ScoreBlock) -> None:
        """Count in a block of scores."""
        if self.known is None:
            self.levels_BM[self.own.users, self.turns_T] = self._levels(scores)
        for turn, having in enumerate(self.having):
            self.counts_BM2[:having, turn] += self.counter.items(scores, self.levels_BM[:having, turn])
        gone, added = self.block.gone_rows, self.block.added
        here = gone.partial.among(scores.rows)
        places = gone.partial.take(here)
        self._tally(places.users, scores.memory[scores.places(places.users, places.rows)], -gone.counts_P[here])
        if added is not None:
            here = added.lone.places.among(scores.rows)
            self._tally(added.lone.places.users[here], added.lone.scores_F[here], None)

    def _levels(self, scores: ScoreBlock) -> Tensor:
        """Return the scores of the targets, (T,), from a block of all scores."""
        levels_T = scores.memory[scores.places(self.own.users, self.own.rows)]
        if self.alone is not None and self.block.added is not None:
            numbers, places = self.alone
            levels_T[numbers] = self.block.added.lone.scores_F[places]
        return levels_T

    def _tally(self, users: Tensor, found: Tensor, numbers: Tensor | None) -> None:
        """Count scores that are not those of whole rows.

        Args:
            users: whose they are, rising.
            found: the scores.
            numbers: how many items have each, float64, below 0 to take them from the counts; None: one.
        """
        if not len(users):
            return
        for turn, having in enumerate(self.having):
            n_entries = int((users < having).sum())
            owner, level = users[:n_entries], self.levels_BM[users[:n_entries], turn]
            for place, compare in enumerate(_COMPARISONS):
                passed = compare(found[:n_entries], level).double()
                passed = passed if numbers is None else passed * numbers[:n_entries]
                self.counts_BM2[:, turn, place].index_add_(0, owner, passed)

    def result(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Return how many candidates score above each target, and how many others as much, (T,), in their order."""
        counts_T2 = self.counts_BM2[self.own.users, self.turns_T].cpu().numpy().astype(np.int64)
        return counts_T2[:, 0], counts_T2[:, 1] - counts_T2[:, 0] - 1


def _products_at(block: UserBlock, places: Places) -> Tensor:
    """Return the products at some places, (T,), each the sum of its products in float64, rounded to float32."""
    vectors_RD = block.products.vectors_RD
    products_T = torch.empty(len(places.rows), dtype=torch.float32, device=block.states_BD.device)
    for part in blocks(len(products_T), max(1, _NUMBERS_AT_ONCE // vectors_RD.shape[1])):
        vectors_tD = vectors_RD[places.rows[part].to(vectors_RD.device)].to(products_T.device, torch.float64)
        products_T[part] = (block.states_BD[places.users[part]].double() * vectors_tD).sum(1)
    return products_T
