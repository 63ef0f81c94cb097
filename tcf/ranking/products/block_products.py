"""Scores of all items for all users, a block at a time: torch's products of some users' states and some of the vectors.

One block is in memory, however many users and items there are. All products are in float32: TF32, bfloat16 and float16
never decide a rank.

Shapes: U users in all, B users of a block, R rows of scores, S rows of a block, D width.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tcf.data.histories import Histories
from tcf.ranking.catalogue import ScoreRows, blocks
from tcf.ranking.products.excluded_rows import ExcludedRows
from tcf.ranking.scorers import InnerProduct

__all__ = ["BlockShape", "Products", "ScoreBlock", "UserBlock", "block_shape", "full_float32"]

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
class Products:
    """The products to make.

    Attributes:
        product: states and vectors.
        device: where to multiply.
        shape: shape of a block.
        vectors_RD: the vectors, on the device if they fit there.
        memory: for the scores of a block.
    """

    product: InnerProduct
    device: torch.device
    shape: BlockShape
    vectors_RD: Tensor
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
        return Products(product, device, shape, vectors_RD, memory)

    @property
    def rows(self) -> ScoreRows:
        """Which items share a row."""
        return self.product.rows

    @property
    def are_whole(self) -> bool:
        """Whether a block has the scores of the whole catalogue."""
        return self.shape.rows == self.rows.n_rows

    def user_blocks(self, users: npt.NDArray[np.int64], excluded: Histories) -> Iterator["UserBlock"]:
        """Iterate over blocks of these users, given the excluded items of all users."""
        for part in blocks(len(users), self.shape.users):
            chosen = users[part]
            states_BD = torch.from_numpy(self.product.states_UD[chosen]).to(self.device)
            gone = excluded.take(chosen)
            yield UserBlock(self, chosen, states_BD, gone, ExcludedRows.of(gone, self.rows, self.device))

    def multiply(self, states_BD: Tensor) -> Iterator[ScoreBlock]:
        """Iterate over the scores of all rows; each time they have the same bits."""
        for rows in blocks(self.rows.n_rows, self.shape.rows):
            block = ScoreBlock(rows, len(states_BD), self.shape.tile, self.memory)
            for tile, scores_BS in block.tiles():
                torch.mm(states_BD, self.vectors_RD[tile].to(self.device).T, out=scores_BS)
            yield block


@dataclass(frozen=True)
class UserBlock:
    """Some users, and the scores of all rows for them.

    Attributes:
        products: all products.
        users: (B,) which users.
        states_BD: their states, on the device.
        excluded: their items that are no candidates.
        excluded_rows: the rows of these.
    """

    products: Products
    users: npt.NDArray[np.int64]
    states_BD: Tensor
    excluded: Histories
    excluded_rows: ExcludedRows

    def __len__(self) -> int:
        """Number of users, B."""
        return len(self.users)

    def sweep(self) -> Iterator[ScoreBlock]:
        """Iterate over the scores of all rows, -inf where no item of a row is a candidate."""
        masked = self.excluded_rows.masked
        for scores in self.products.multiply(self.states_BD):
            here = masked.among(scores.rows)
            scores.memory[scores.places(masked.users[here], masked.rows[here])] = -torch.inf
            yield scores
