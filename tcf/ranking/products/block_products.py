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

_SCORES_ON_CPU = 2**22  # 16 MB, which a processor's cache holds in part; larger blocks are slower
_USERS_ON_CPU = 512  # fewer users leave the product waiting for the vectors
_SCORES_ON_CUDA = 2**26
_USERS_ON_CUDA = 4096
_MEMORY_FOR_VECTORS = 0.5  # share of a GPU's free memory


@dataclass(frozen=True)
class BlockShape:
    """How many users and how many rows a block has at most."""

    users: int
    rows: int

    def __post_init__(self) -> None:
        """Check that a block has something in it.

        Raises:
            ValueError: it has not.
        """
        if self.users < 1 or self.rows < 1:
            raise ValueError(f"block: expected at least one user and one row, found {self.users} and {self.rows}")


def block_shape(n_users: int, n_rows: int, device: torch.device) -> BlockShape:
    """Return the shape of the blocks for so many users and rows; its scores take at most 16 MB, on a GPU 256 MB."""
    on_cpu = device.type == "cpu"
    scores, most_users = (_SCORES_ON_CPU, _USERS_ON_CPU) if on_cpu else (_SCORES_ON_CUDA, _USERS_ON_CUDA)
    users = max(1, min(n_users, most_users))
    rows = min(n_rows, scores // users)
    return BlockShape(min(n_users, scores // rows) if rows == n_rows else users, rows)


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
    """Scores of some rows for the users of a block.

    Attributes:
        rows: which rows.
        scores_BS: their scores; -inf where no item of a row is a candidate of the user. The next block overwrites them.
    """

    rows: slice
    scores_BS: Tensor


@dataclass(frozen=True)
class Products:
    """The products to make.

    Attributes:
        product: states and vectors.
        device: where to multiply.
        shape: shape of a block.
        vectors_RD: the vectors, on the device if they fit there.
        buffer: memory for the scores of a block.
    """

    product: InnerProduct
    device: torch.device
    shape: BlockShape
    vectors_RD: Tensor
    buffer: Tensor

    @staticmethod
    def of(product: InnerProduct, device: torch.device, shape: BlockShape | None = None) -> "Products":
        """Move the vectors to the device if they fit, and choose the shape of blocks unless one is given."""
        n_rows = product.rows.n_rows
        shape = shape or block_shape(product.n_users, n_rows, device)
        shape = BlockShape(shape.users, min(shape.rows, n_rows))
        vectors_RD = torch.from_numpy(np.ascontiguousarray(product.catalogue.vectors_RD))
        if device.type == "cuda" and vectors_RD.nbytes < _MEMORY_FOR_VECTORS * torch.cuda.mem_get_info(device)[0]:
            vectors_RD = vectors_RD.to(device)
        buffer = torch.empty(shape.users * shape.rows, dtype=torch.float32, device=device)
        return Products(product, device, shape, vectors_RD, buffer)

    @property
    def rows(self) -> ScoreRows:
        """Which items share a row."""
        return self.product.rows

    @property
    def are_whole(self) -> bool:
        """Whether a block has the scores of the whole catalogue."""
        return self.shape.rows == self.rows.n_rows

    def row_blocks(self) -> Iterator[slice]:
        """Iterate over the rows of the blocks."""
        return blocks(self.rows.n_rows, self.shape.rows)

    def user_blocks(self, users: npt.NDArray[np.int64], excluded: Histories) -> Iterator["UserBlock"]:
        """Iterate over blocks of these users, given the excluded items of all users."""
        for part in blocks(len(users), self.shape.users):
            chosen = users[part]
            states_BD = torch.from_numpy(self.product.states_UD[chosen]).to(self.device)
            gone = excluded.take(chosen)
            yield UserBlock(self, chosen, states_BD, gone, ExcludedRows.of(gone, self.rows, self.device))

    def scores(self, states_BD: Tensor, rows: slice) -> Tensor:
        """Multiply; the result is in the buffer, (B, S)."""
        n_users, n_rows = len(states_BD), rows.stop - rows.start
        scores_BS = self.buffer[: n_users * n_rows].view(n_users, n_rows)
        return torch.mm(states_BD, self.vectors_RD[rows].to(self.device).T, out=scores_BS)


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
        """Iterate over the scores of all rows; each time they have the same bits."""
        for rows in self.products.row_blocks():
            scores_BS = self.products.scores(self.states_BD, rows)
            self.excluded_rows.mask(scores_BS, rows)
            yield ScoreBlock(rows, scores_BS)
