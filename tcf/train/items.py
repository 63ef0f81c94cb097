"""Items as a model sees them: text vectors through a DTL (TCF), or a learned embedding an id (IDCF).

Shapes: N items, U items asked for, V width of a cached vector, D width of the model.
"""

import torch
from torch import Tensor, nn

from tcf.train.dtl import DTL
from tcf.train.vectors import ItemVectors

__all__ = ["IdItems", "ItemTower", "TextItems"]


class TextItems(nn.Module):
    """Items by their texts: a cached vector each, transformed by a DTL that is learned.

    Args:
        vectors: the cached vectors; they are no parameters and are not saved.
        dtl: from their width to the model's.
    """

    def __init__(self, vectors: ItemVectors, dtl: DTL) -> None:
        super().__init__()
        self.vectors = vectors
        self.dtl = dtl

    def forward(self, items_U: Tensor) -> Tensor:
        """Item vectors of the model's width, (U,) int64 item indices to (U, D) float32."""
        vectors_UD: Tensor = self.dtl(self.vectors.of(items_U))
        return vectors_UD

    def all_item_vectors(self) -> Tensor:
        """The vector of every item, (N, D); computed once a text, so that items of equal text have equal bits."""
        vectors_RD = torch.cat([self.dtl(chunk) for chunk in self.vectors.chunks()])
        return vectors_RD[self.vectors.rows_N]


class IdItems(nn.Module):
    """Items by their ids: a learned embedding each.

    Args:
        n_items: N.
        width: D.
    """

    def __init__(self, n_items: int, width: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(n_items, width)

    def forward(self, items_U: Tensor) -> Tensor:
        """Item vectors of the model's width, (U,) int64 item indices to (U, D) float32."""
        vectors_UD: Tensor = self.embedding(items_U)
        return vectors_UD

    def all_item_vectors(self) -> Tensor:
        """The vector of every item, (N, D)."""
        return self.embedding.weight


ItemTower = TextItems | IdItems
