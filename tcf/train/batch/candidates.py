"""Candidates of a loss besides the targets: only the batch's own items, all training items, or drawn ones.

Shapes: N items, P targets, K items drawn for each target, M items drawn for a batch.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from tcf.common.errors import DataError
from tcf.data.dataset import Histories

__all__ = ["AllItems", "Candidates", "Drawn", "OwnItems", "PerBatch", "PerTarget"]

Items = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Drawn:
    """Items drawn for one batch, as indices into the catalogue.

    Attributes:
        items: (M,) for all targets, or (P, K) for each target.
        constant: the items are the same in every batch, ascending, and include all items that a batch can contain.
    """

    items: Items
    constant: bool = False


class Candidates(Protocol):
    """Chooses the items that a loss needs besides those of a batch's sequences."""

    def draw(self, sequences: Histories, rows_P: Items, generator: np.random.Generator) -> Drawn:
        """Choose items for a batch.

        Args:
            sequences: the items of each row of the batch, targets included.
            rows_P: the row of each target.
            generator: source of randomness; a function of seed, epoch and step.
        """


@dataclass(frozen=True)
class OwnItems:
    """Only the items of the batch."""

    def draw(self, sequences: Histories, rows_P: Items, generator: np.random.Generator) -> Drawn:
        """No items."""
        return Drawn(np.zeros(0, np.int64))


@dataclass(frozen=True)
class AllItems:
    """Every item that occurs in training, (N,), ascending; others are never a target and would only be pushed down."""

    items: Items

    def draw(self, sequences: Histories, rows_P: Items, generator: np.random.Generator) -> Drawn:
        """All training items."""
        return Drawn(self.items, constant=True)


@dataclass(frozen=True)
class PerBatch:
    """M items for all targets together, drawn with replacement.

    Attributes:
        items: (N,) the items to draw from.
        reach: (N,) float64, cumulative probabilities of the items.
        count: M.
    """

    items: Items
    reach: npt.NDArray[np.float64]
    count: int

    @staticmethod
    def build(items: Items, chances: npt.NDArray[np.float64], count: int) -> "PerBatch":
        """Draw the items with probabilities `chances`, (N,), which sum to 1."""
        reach = np.cumsum(chances)
        return PerBatch(items, reach / reach[-1], count)

    def draw(self, sequences: Histories, rows_P: Items, generator: np.random.Generator) -> Drawn:
        """M items."""
        return Drawn(self.items[np.searchsorted(self.reach, generator.random(self.count), side="right")])


@dataclass(frozen=True)
class PerTarget:
    """K items for each target, drawn uniformly with replacement from the catalogue less the items of the target's row.

    Items without a training interaction are drawn too. All items are ranked, and nothing but being drawn lowers an
    item's score: those that are never drawn would end up above most others.

    Attributes:
        n_items: N, size of the catalogue.
        count: K.
    """

    n_items: int
    count: int

    def draw(self, sequences: Histories, rows_P: Items, generator: np.random.Generator) -> Drawn:
        """(P, K) items.

        Raises:
            DataError: a row contains all items.
        """
        n_items, n_rows = self.n_items, len(sequences)
        owners = np.repeat(np.arange(n_rows), sequences.lengths)
        own = np.unique(owners * n_items + sequences.items)
        firsts = np.searchsorted(own, np.arange(n_rows + 1) * n_items)
        left_B = n_items - np.diff(firsts)
        if not left_B[rows_P].all():
            raise DataError(
                "expected users with at least one item missing from their history, as a negative, found a user with "
                f"all {n_items} items of the catalogue; train with --loss in-batch, full or sampled"
            )
        chosen_PK = generator.integers(0, left_B[rows_P, None], (len(rows_P), self.count))
        return Drawn(chosen_PK + _skipped(own, firsts, n_items, rows_P, chosen_PK))


def _skipped(own: Items, firsts: Items, n_items: int, rows_P: Items, chosen_PK: Items) -> Items:
    """How many of a row's own items precede the c-th (from 0) item that is not its own, (P, K).

    Args:
        own: row * n_items + item of all own items, ascending, distinct.
        firsts: where each row starts in `own`, followed by its length.
        n_items: number of items.
        rows_P: the row of each target.
        chosen_PK: c.
    """
    rows = own // n_items
    # For each own item, the number of items before it that are not the row's own. It is skipped if that is at most c.
    before = own % n_items - (np.arange(len(own)) - firsts[rows])
    keys = rows * (n_items + 1) + before
    found: Items = np.searchsorted(keys, rows_P[:, None] * (n_items + 1) + chosen_PK, side="right")
    return found - firsts[rows_P, None]
