"""Scores of some rows for a block of users, in memory.

Shapes: B users of a block, S rows of a tile, T products known beforehand.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from tcf.ranking.catalogue import blocks
from tcf.ranking.products.excluded_rows import Places

__all__ = ["KnownProducts", "ScoreBlock"]


@dataclass(frozen=True)
class ScoreBlock:
    """Scores of some rows for the users of a block, one tile after the other.

    A tile lies in one piece, since a product is up to twice as slow where its result is part of wider rows.

    Attributes:
        rows: which rows.
        n_users: number of users, B.
        tile: number of rows of a tile; the last one may have fewer.
        memory: the scores; -inf where no item of a row is a candidate of the user. The next block overwrites them.
    """

    rows: slice
    n_users: int
    tile: int
    memory: Tensor

    def tiles(self) -> Iterator[tuple[slice, Tensor]]:
        """Iterate over the rows of a tile and their scores, (B, S)."""
        for rows in blocks(self.rows.stop - self.rows.start, self.tile):
            scores = self.memory[rows.start * self.n_users : rows.stop * self.n_users]
            yield slice(self.rows.start + rows.start, self.rows.start + rows.stop), scores.view(self.n_users, -1)

    def places(self, users: Tensor, rows: Tensor) -> Tensor:
        """Return where in the memory the scores of some rows of the block are, for users of the block."""
        in_block, n_rows = rows - self.rows.start, self.rows.stop - self.rows.start
        if self.tile >= n_rows:
            found: Tensor = users * n_rows + in_block
            return found
        start = in_block - in_block % self.tile
        width = torch.clamp(n_rows - start, max=self.tile)
        found = start * self.n_users + users * width + in_block - start
        return found


@dataclass(frozen=True)
class KnownProducts:
    """Products that are known before the blocks of scores are made.

    Attributes:
        places: where they belong.
        products_T: the products.
    """

    places: Places
    products_T: Tensor

    def put_into(self, scores: ScoreBlock) -> None:
        """Put those of its rows into a block, in place of its own: they may differ by rounding."""
        here = self.places.among(scores.rows)
        places = self.places.take(here)
        scores.memory[scores.places(places.users, places.rows)] = self.products_T[here]
