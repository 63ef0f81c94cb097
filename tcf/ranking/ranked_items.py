"""The items that are ranked: the whole catalogue, or some of its items under places of their own.

A part of the catalogue is ranked as a smaller catalogue: scores, searches and counts take only what its size takes.

Shapes: N items of the catalogue, M of them ranked, D width.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tcf.data.histories import Histories
from tcf.data.seen import renumbered

__all__ = ["RankedItems"]


@dataclass(frozen=True)
class RankedItems:
    """Which items of the catalogue are ranked.

    Attributes:
        items: (M,) int64, the index of each ranked item in the catalogue, ascending.
        places: (N,) int32, the place of each item of the catalogue in `items`; -1 for an item that is not ranked.
    """

    items: npt.NDArray[np.int64]
    places: npt.NDArray[np.int32]

    @classmethod
    def where(cls, ranked_N: npt.NDArray[np.bool_]) -> "RankedItems":
        """Rank the marked items."""
        items = np.flatnonzero(ranked_N)
        places = np.full(len(ranked_N), -1, np.int32)
        places[items] = np.arange(len(items))
        return cls(items, places)

    def __len__(self) -> int:
        """Number of ranked items, M."""
        return len(self.items)

    @property
    def are_all(self) -> bool:
        """Whether the whole catalogue is ranked."""
        return len(self.items) == len(self.places)

    def vectors(self, vectors_ND: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Return the vectors of the ranked items, (M, D); the same array if they are all."""
        return vectors_ND if self.are_all else vectors_ND[self.items]

    def places_of(self, histories: Histories) -> Histories:
        """Return the place of every item; -1 where an item is not ranked."""
        return Histories(histories.offsets, self.places[histories.items])

    def of_histories(self, histories: Histories) -> Histories:
        """Return the places of every user's ranked items; the others are left out."""
        return histories if self.are_all else renumbered(histories, self.places)
