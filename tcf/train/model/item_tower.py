"""Item towers: text vectors through a DTL (TCF), a learned embedding per id (IDCF), or the sum of both.

The dimension transformation layer (DTL) maps an encoder's vector to the width of the model (study, section on models).

Shapes: N items, R distinct items (with text alone, items of equal text are one), U requested items, V width of a cached
vector, D width of the model.
"""

from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tcf.train.model.embedding import make_embedding
from tcf.train.vectors.item_vectors import ItemVectors

__all__ = ["DTL", "DeepItems", "IdItems", "ItemTower", "SummedItems", "TextItems"]

_ROWS_AT_ONCE = 16384


class DTL(nn.Module):
    """`layers` linear maps, each followed by GELU, with dropout between them.

    Args:
        vector_width: V, width of a cached vector.
        width: D, width of an item vector inside the model.
        layers: number of linear maps, at least one.
        dropout: rate between two layers; the last layer's output has no dropout.
    """

    def __init__(self, vector_width: int, width: int, layers: int, dropout: float) -> None:
        super().__init__()
        inputs = [vector_width, *[width] * (layers - 1)]
        self.layers = nn.ModuleList(nn.Linear(n, width) for n in inputs)
        self.dropout = dropout

    def forward(self, vectors_UV: Tensor) -> Tensor:
        """Transform item vectors.

        Args:
            vectors_UV: (U, V), any float type.

        Returns:
            (U, D) float32.
        """
        states = vectors_UV.float()
        for depth, layer in enumerate(self.layers):
            if depth:
                states = F.dropout(states, self.dropout, self.training)
            states = F.gelu(layer(states))
        return states


class ItemTower(Protocol):
    """Computes item vectors of the model's width."""

    def __call__(self, items_U: Tensor, read_UV: Tensor | None = None) -> Tensor:
        """Vectors of the given items.

        Args:
            items_U: item indices, int64.
            read_UV: their cached vectors, if they were prefetched.

        Returns:
            (U, D) float32.
        """

    def distinct(self) -> tuple[Tensor, Tensor]:
        """The vectors of all distinct items, (R, D), and the position of each item among them, (N,)."""

    def all_item_vectors(self) -> Tensor:
        """The vector of every item, (N, D); indistinct items have equal bits."""


class TextItems(nn.Module):
    """Items as texts: a cached vector per item, transformed by a learned DTL.

    Args:
        vectors: the cached vectors; they are not parameters and are not saved.
        dtl: maps their width to the model's.
    """

    def __init__(self, vectors: ItemVectors, dtl: DTL) -> None:
        super().__init__()
        self.vectors = vectors
        self.dtl = dtl

    def forward(self, items_U: Tensor, read_UV: Tensor | None = None) -> Tensor:
        """See `ItemTower`."""
        vectors_UD: Tensor = self.dtl(self.vectors.of(items_U) if read_UV is None else read_UV)
        return vectors_UD

    def distinct(self) -> tuple[Tensor, Tensor]:
        """See `ItemTower`."""
        return torch.cat([self.dtl(chunk) for chunk in self.vectors.chunks()]), self.vectors.rows_N

    def all_item_vectors(self) -> Tensor:
        """See `ItemTower`."""
        return _spread(*self.distinct())


class IdItems(nn.Module):
    """Items as ids: a learned embedding per item.

    Args:
        n_items: N.
        width: D.
    """

    def __init__(self, n_items: int, width: int) -> None:
        super().__init__()
        self.embedding = make_embedding(n_items, width)

    def forward(self, items_U: Tensor, read_UV: Tensor | None = None) -> Tensor:
        """See `ItemTower`."""
        vectors_UD: Tensor = self.embedding(items_U)
        return vectors_UD

    def distinct(self) -> tuple[Tensor, Tensor]:
        """See `ItemTower`; all items are distinct."""
        return self.embedding.weight, _each(self.embedding.weight)

    def all_item_vectors(self) -> Tensor:
        """See `ItemTower`."""
        return self.embedding.weight


class SummedItems(nn.Module):
    """Items as texts and ids: the sum of both towers' vectors.

    With a gate, an item's id counts by how often the item occurs in training. With dropout, whole ids are left out in
    training, so that texts learn to do without them, as for items that have never occurred (Volkovs et al. 2017,
    DropoutNet, algorithm 1); the others are not scaled up, since they are corrections of the texts.

    Args:
        text: vectors of the texts.
        ids: vectors of the ids.
        gated: whether ids are multiplied by `gate_N`, (N,), which `build_model` fills. It is saved with the parameters:
            a finished model then has the gate of its training, whatever dataset part that was (a refit's is larger).
        id_dropout: rate at which an item's whole id is left out of a training step.
    """

    gate_N: Tensor | None

    def __init__(self, text: TextItems, ids: IdItems, *, gated: bool = False, id_dropout: float = 0.0) -> None:
        super().__init__()
        self.text, self.ids, self.id_dropout = text, ids, id_dropout
        self.register_buffer("gate_N", torch.empty(len(ids.embedding.weight)) if gated else None)

    def forward(self, items_U: Tensor, read_UV: Tensor | None = None) -> Tensor:
        """See `ItemTower`."""
        summed_UD: Tensor = self.text(items_U, read_UV) + self._weighted_ids(items_U)
        return summed_UD

    def distinct(self) -> tuple[Tensor, Tensor]:
        """See `ItemTower`; all items are distinct."""
        vectors_ND = self.all_item_vectors()
        return vectors_ND, _each(vectors_ND)

    def all_item_vectors(self) -> Tensor:
        """See `ItemTower`."""
        ids_ND = self.ids.all_item_vectors()
        return self.text.all_item_vectors() + (ids_ND if self.gate_N is None else self.gate_N[:, None] * ids_ND)

    def _weighted_ids(self, items_U: Tensor) -> Tensor:
        """The ids' part of a step, (U, D). Of several devices, each draws for its own share of the items."""
        ids_UD: Tensor = self.ids(items_U)
        if self.gate_N is not None:
            ids_UD = self.gate_N[items_U, None] * ids_UD
        if self.id_dropout and self.training:
            ids_UD = ids_UD * (F.dropout(ids_UD.new_ones(len(items_U), 1), self.id_dropout) > 0)
        return ids_UD


class DeepItems(nn.Module):
    """Further layers on top of a tower (study, DSSM's item tower).

    Args:
        tower: computes vectors of the model's width.
        layers: the further layers.
    """

    def __init__(self, tower: TextItems | IdItems | SummedItems, layers: DTL) -> None:
        super().__init__()
        self.tower, self.layers = tower, layers

    def forward(self, items_U: Tensor, read_UV: Tensor | None = None) -> Tensor:
        """See `ItemTower`."""
        vectors_UD: Tensor = self.layers(self.tower(items_U, read_UV))
        return vectors_UD

    def distinct(self) -> tuple[Tensor, Tensor]:
        """See `ItemTower`."""
        below_RD, rows_N = self.tower.distinct()
        return torch.cat([self.layers(part) for part in torch.split(below_RD, _ROWS_AT_ONCE)]), rows_N

    def all_item_vectors(self) -> Tensor:
        """See `ItemTower`."""
        return _spread(*self.distinct())


def _spread(vectors_RD: Tensor, rows_N: Tensor) -> Tensor:
    """The vector of every item, by copying: computing equal rows twice may round them differently."""
    return vectors_RD[rows_N]


def _each(vectors_ND: Tensor) -> Tensor:
    return torch.arange(len(vectors_ND), device=vectors_ND.device)
