"""Scores of all items for all users, a block at a time: torch's products of some users' states and some of the vectors.

One block is in memory, however many users and items there are. All products are in float32: TF32, bfloat16 and float16
never decide a rank.

Shapes: B users of a block, R rows of scores, S rows of a tile, D width.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tcf.ranking.catalogue import ScoreRows, blocks
from tcf.ranking.products.score_block import ScoreBlock
from tcf.ranking.scorers import InnerProduct

__all__ = ["BlockShape", "Products", "block_shape", "full_float32"]

_SCORES = 2**24  # of a block: 64 MB
_USERS = 512
_USERS_OF_ALL_ROWS = 256  # with more users the scores of a small catalogue leave the processor's cache
_FEWEST_USERS = 128  # a product for fewer users waits for the vectors to come from memory
_ROWS_A_TILE = 2048  # its scores stay in the cache; larger products are no faster
_USERS_ON_CUDA = 4096
_SCORES_ON_CUDA = 2**26
_MEMORY_FOR_VECTORS = 0.5  # share of a GPU's free memory


@dataclass(frozen=True)
class BlockShape:
    """How many users and rows a block has at most, and how many of its rows are multiplied at once, a tile."""

    users: int
    rows: int
    tile: int

    def __post_init__(self) -> None:
        """Check that a tile has something in it.

        Raises:
            ValueError: it has not.
        """
        if min(self.users, self.rows, self.tile) < 1:
            raise ValueError(f"block: expected at least one user, row and row of a tile, found {self}")


def block_shape(n_users: int, n_rows: int, device: torch.device) -> BlockShape:
    """Return the shape of the blocks for so many users and rows; its scores take at most 64 MB, on a GPU 256 MB.

    A block has all rows if that leaves enough users.
    """
    on_cuda = device.type == "cuda"
    scores, most_users = (_SCORES_ON_CUDA, _USERS_ON_CUDA) if on_cuda else (_SCORES, _USERS)
    users = max(1, min(n_users, most_users))
    if n_rows <= scores // min(users, _FEWEST_USERS):
        users = min(users, scores // n_rows, users if on_cuda else _USERS_OF_ALL_ROWS)
    rows = min(n_rows, scores // users)
    return BlockShape(users, rows, rows if on_cuda else min(rows, _ROWS_A_TILE))


@contextmanager
def full_float32() -> Iterator[None]:
    """Multiply float32 matrices in float32, whatever the process has allowed for other products."""
    if hasattr(torch.backends.mkldnn, "matmul"):
        backends = (torch.backends.cuda.matmul, torch.backends.mkldnn.matmul)
        before = [backend.fp32_precision for backend in backends]
        try:
            for backend in backends:
                backend.fp32_precision = "ieee"
            yield
        finally:
            for backend, precision in zip(backends, before, strict=True):
                backend.fp32_precision = precision
    else:  # torch before 2.9
        allowed = torch.get_float32_matmul_precision()
        try:
            torch.set_float32_matmul_precision("highest")
            yield
        finally:
            torch.set_float32_matmul_precision(allowed)


@dataclass(frozen=True)
class Products:
    """The products to make.

    Attributes:
        product: states and vectors.
        device: where to multiply.
        shape: shape of a block.
        vectors_RD: the vectors, on the device if they fit there.
        row_of_N: the row of each item, on the device.
        memory: for the scores of a block.
    """

    product: InnerProduct
    device: torch.device
    shape: BlockShape
    vectors_RD: Tensor
    row_of_N: Tensor
    memory: Tensor

    @staticmethod
    def of(product: InnerProduct, device: torch.device, shape: BlockShape | None = None) -> "Products":
        """Move the vectors to the device if they fit, and choose the shape of blocks unless one is given."""
        n_rows = product.rows.n_rows
        shape = shape or block_shape(product.n_users, n_rows, device)
        shape = BlockShape(shape.users, min(shape.rows, n_rows), min(shape.tile, shape.rows, n_rows))
        vectors_RD = torch.from_numpy(np.ascontiguousarray(product.catalogue.vectors_RD))
        if device.type == "cuda" and vectors_RD.nbytes < _MEMORY_FOR_VECTORS * torch.cuda.mem_get_info(device)[0]:
            vectors_RD = vectors_RD.to(device)
        memory = torch.empty(shape.users * shape.rows, dtype=torch.float32, device=device)
        row_of_N = torch.from_numpy(product.rows.row_of_item).to(device)
        return Products(product, device, shape, vectors_RD, row_of_N, memory)

    @property
    def rows(self) -> ScoreRows:
        """Which items share a row."""
        return self.product.rows

    @property
    def are_whole(self) -> bool:
        """Whether a block has the scores of the whole catalogue."""
        return self.shape.rows == self.rows.n_rows

    def multiply(self, states_BD: Tensor) -> Iterator[ScoreBlock]:
        """Iterate over the scores of all rows; each time they have the same bits."""
        for rows in blocks(self.rows.n_rows, self.shape.rows):
            block = ScoreBlock(rows, len(states_BD), self.shape.tile, self.memory)
            for tile, scores_BS in block.tiles():
                torch.mm(states_BD, self.vectors_RD[tile].to(self.device).T, out=scores_BS)
            yield block
