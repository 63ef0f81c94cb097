"""The catalogue to rank: item vectors, with items of equal vectors merged into one row.

Distinct items may have equal vectors, for instance two products with the same title. A matrix product may give equal
rows scores that differ in the last bit, depending on their position. So each unique vector is scored once, and all
items that share it get the same score: they tie exactly.

Shapes: N items, R rows (unique vectors), D width.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tcf.common.errors import RunError, shape_words
from tcf.common.random_streams import RandomStream, generator

__all__ = ["Catalogue", "ScoreRows", "blocks"]

_BLOCK = 8192


@dataclass(frozen=True)
class ScoreRows:
    """Which items share a row of scores; rows shared by several items come first.

    Attributes:
        row_of_item: (N,) int64.
        offsets: (R + 1,) int64; row r has the items items[offsets[r]:offsets[r + 1]].
        items: (N,) int64 item indices by row, ascending within a row.
        n_shared: rows 0..n_shared - 1 have several items each, the others one.
    """

    row_of_item: npt.NDArray[np.int64]
    offsets: npt.NDArray[np.int64]
    items: npt.NDArray[np.int64]
    n_shared: int

    @classmethod
    def one_each(cls, n_items: int) -> "ScoreRows":
        """Give every item its own row, with the index of the item."""
        return cls.of(np.arange(n_items))

    @classmethod
    def of(cls, first_N: npt.NDArray[np.int64]) -> "ScoreRows":
        """Group equal items.

        Args:
            first_N: (N,) for each item, the lowest index of an equal item, possibly its own.
        """
        _, group_N, sizes = np.unique(first_N, return_inverse=True, return_counts=True)
        order = np.argsort(sizes == 1, kind="stable")
        row_of_group = np.empty(len(order), np.int64)
        row_of_group[order] = np.arange(len(order))
        row_of_item = row_of_group[group_N]
        offsets = np.concatenate([[0], np.cumsum(sizes[order])]).astype(np.int64)
        return cls(row_of_item, offsets, np.argsort(row_of_item, kind="stable"), int((sizes > 1).sum()))

    @property
    def n_items(self) -> int:
        """Size of the catalogue."""
        return len(self.row_of_item)

    @property
    def n_rows(self) -> int:
        """Number of rows of scores."""
        return len(self.offsets) - 1

    @property
    def sizes(self) -> npt.NDArray[np.int64]:
        """Number of items per row, (R,)."""
        return np.diff(self.offsets)


@dataclass(frozen=True)
class Catalogue:
    """Item vectors, ready to be searched and ranked.

    Attributes:
        vectors_RD: unique vectors, (R, D) float32, all finite.
        rows: which items have which vector.
    """

    vectors_RD: npt.NDArray[np.float32]
    rows: ScoreRows

    @classmethod
    def build(cls, vectors_ND: npt.NDArray[np.float32]) -> "Catalogue":
        """Check the vectors of all items and merge equal ones; 0.0 and -0.0 are equal.

        Args:
            vectors_ND: one vector per item, (N, D) float32, N and D at least 1.

        Raises:
            RunError: another type or shape, or some value is not finite.
        """
        check_matrix(vectors_ND, "item vectors")
        check_finite(vectors_ND, "item")
        rows = ScoreRows.of(_first_equal(vectors_ND))
        vectors_RD = vectors_ND[rows.items[rows.offsets[:-1]]]
        vectors_RD += np.float32(0)  # turns -0.0 into 0.0
        return cls(vectors_RD, rows)

    @property
    def n_items(self) -> int:
        """Number of items, N."""
        return self.rows.n_items

    @property
    def width(self) -> int:
        """Width of a vector, D."""
        return int(self.vectors_RD.shape[1])


def blocks(n: int, size: int) -> Iterator[slice]:
    """Return slices of at most `size` that cover 0..n - 1."""
    return (slice(start, min(start + size, n)) for start in range(0, n, size))


def check_matrix(values: npt.NDArray[np.float32], name: str) -> None:
    """Refuse anything but a float32 matrix with at least one row and one column.

    Raises:
        RunError: naming the type and shape found.
    """
    if values.ndim != 2 or values.dtype != np.float32 or 0 in values.shape:
        raise RunError(
            f"{name}: expected a float32 matrix with at least one row and one column, found {values.dtype} of shape "
            f"{shape_words(values.shape)}; convert them first"
        )


def check_finite(values: npt.NDArray[np.float32], what: str) -> npt.NDArray[np.float64]:
    """Return the Euclidean length of every row, (rows,) float64, after checking that all values are finite.

    Args:
        values: float32 matrix.
        what: what a row belongs to, for the message.

    Raises:
        RunError: a value is not finite; names the first such row and how many there are.
    """
    squares = np.empty(len(values))
    for block in blocks(len(values), _BLOCK):
        with np.errstate(invalid="ignore"):  # NaN is checked below
            np.einsum("rd,rd->r", values[block], values[block], dtype=np.float64, out=squares[block])
    bad = np.flatnonzero(~np.isfinite(squares))
    if len(bad):
        raise RunError(
            f"{what} {bad[0]}: expected finite values, found NaN or infinity, in {len(bad)} of {len(values)} vectors; "
            "train with a smaller learning rate, or check the vector cache"
        )
    return np.asarray(np.sqrt(squares))


def _first_equal(vectors_ND: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
    """Return for every row the first row equal to it: found by hash, then checked value by value."""
    for seed in itertools.count():
        _, index, inverse = np.unique(_hashes(vectors_ND, seed), return_index=True, return_inverse=True)
        first_N = index[inverse].astype(np.int64)
        if _all_equal(vectors_ND, first_N):
            break
    return first_N


def _hashes(vectors_ND: npt.NDArray[np.float32], seed: int) -> npt.NDArray[np.uint64]:
    """Hash every row to 64 bits, (N,): the sum of its values' 32-bit words times random odd factors, modulo 2^64."""
    width = vectors_ND.shape[1]
    factors_D = generator(RandomStream.HASH_OF_VECTORS, seed).integers(0, 2**64, width, dtype=np.uint64) | np.uint64(1)
    hashes = np.empty(len(vectors_ND), np.uint64)
    for block in blocks(len(vectors_ND), _BLOCK):
        bits = np.ascontiguousarray(vectors_ND[block] + np.float32(0)).view(np.uint32)
        hashes[block] = bits.astype(np.uint64) @ factors_D
    return hashes


def _all_equal(vectors_ND: npt.NDArray[np.float32], first_N: npt.NDArray[np.int64]) -> bool:
    """Whether every row equals the first row of its group."""
    later = np.flatnonzero(first_N != np.arange(len(first_N)))
    return all(
        np.array_equal(vectors_ND[later[block]], vectors_ND[first_N[later[block]]])
        for block in blocks(len(later), _BLOCK)
    )
