"""Which items a loss sets beside the targets: none but the batch's own, all, or drawn ones.

Shapes: N items, P targets, K drawn for each target, M drawn for a batch.
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
    """Items for one batch, by their index in the catalogue.

    Attributes:
        items: (M,) for all targets, or (P, K) for each.
        constant: they are the same in every batch, rising, and hold all items that a batch can hold.
    """

    items: Items
    constant: bool = False


class Candidates(Protocol):
    """Chooses the items that a loss needs beside those of a batch's sequences."""

    def draw(self, sequences: Histories, rows_P: Items, generator: np.random.Generator) -> Drawn:
        """Choose for a batch.

        Args:
            sequences: the items of each row of the batch, targets included.
            rows_P: the row of each target.
            generator: decides the draw; a function of seed, epoch and step.
        """


@dataclass(frozen=True)
class OwnItems:
    """The items of the batch alone."""

    def draw(self, sequences: Histories, rows_P: Items, generator: np.random.Generator) -> Drawn:
        """Nothing."""
        return Drawn(np.zeros(0, np.int64))


@dataclass(frozen=True)
class AllItems:
    """Every item that occurs in training, (N,), rising; others, never a target, would only be pushed down."""

    items: Items

    def draw(self, sequences: Histories, rows_P: Items, generator: np.random.Generator) -> Drawn:
        """All of them."""
        return Drawn(self.items, constant=True)


@dataclass(frozen=True)
class PerBatch:
    """So many items for all targets together, with replacement.

    Attributes:
        items: (N,) those to draw from.
        reach: (N,) float64, the sum of the chances of each item and of those before it.
        count: M.
    """

    items: Items
    reach: npt.NDArray[np.float64]
    count: int

    @staticmethod
    def build(items: Items, chances: npt.NDArray[np.float64], count: int) -> "PerBatch":
        """Items are drawn by chances (N,), which sum to 1."""
        reach = np.cumsum(chances)
        return PerBatch(items, reach / reach[-1], count)

    def draw(self, sequences: Histories, rows_P: Items, generator: np.random.Generator) -> Drawn:
        """M items."""
        return Drawn(self.items[np.searchsorted(self.reach, generator.random(self.count), side="right")])


@dataclass(frozen=True)
class PerTarget:
    """So many items for each target, with replacement, all alike likely, none of the target's own row.

    Attributes:
        items: (N,) those to draw from, rising; the items of every sequence are among them.
        count: K.
    """

    items: Items
    count: int

    def draw(self, sequences: Histories, rows_P: Items, generator: np.random.Generator) -> Drawn:
        """(P, K) items.

        Raises:
            DataError: a row holds all items.
        """
        n_items, n_rows = len(self.items), len(sequences)
        owners = np.repeat(np.arange(n_rows), sequences.lengths)
        own = np.unique(owners * n_items + np.searchsorted(self.items, sequences.items))
        firsts = np.searchsorted(own, np.arange(n_rows + 1) * n_items)
        left_B = n_items - np.diff(firsts)
        if not left_B[rows_P].all():
            raise DataError(
                f"expected an item that is not the user's own to set beside each target, found a user who has all "
                f"{n_items} training items; train with --loss in-batch, full or sampled"
            )
        chosen_PK = generator.integers(0, left_B[rows_P, None], (len(rows_P), self.count))
        return Drawn(self.items[chosen_PK + _skipped(own, firsts, n_items, rows_P, chosen_PK)])


def _skipped(own: Items, firsts: Items, n_items: int, rows_P: Items, chosen_PK: Items) -> Items:
    """How many of a row's own items lie before the one that is the c-th (from 0) that is not its own, (P, K).

    Args:
        own: row * n_items + item of all own items, rising, distinct.
        firsts: where each row begins among them, and their number.
        n_items: items that there are.
        rows_P: the row of each target.
        chosen_PK: c.
    """
    rows = own // n_items
    # Of each own item: how many that are not the row's own lie before it. It is skipped if these are at most c.
    before = own % n_items - (np.arange(len(own)) - firsts[rows])
    keys = rows * (n_items + 1) + before
    found: Items = np.searchsorted(keys, rows_P[:, None] * (n_items + 1) + chosen_PK, side="right")
    return found - firsts[rows_P, None]
