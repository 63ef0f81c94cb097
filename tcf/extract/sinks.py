"""What becomes of the states of a micro-batch: pooled to one vector a text, or kept for every token.

States arrive by micro-batch, texts of equal length together; a shard leaves in its own order. Numbers are rounded to
the storage type once, on the device, and copied to pinned memory without waiting where there is CUDA.

Legend: B texts, T tokens, D width.
"""

from dataclasses import dataclass, field
from typing import Any, Protocol, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tcf.data.ragged import offsets_from, spans
from tcf.models.folder import Pooling
from tcf.models.pooling import pool

__all__ = ["Sink", "TokenSink", "VectorSink"]

Rows = npt.NDArray[np.int64]


class Sink(Protocol):
    """Takes the states of one layer, a micro-batch at a time."""

    def put(self, states_BTD: Tensor) -> None:
        """Take the states of the next micro-batch."""

    def skip(self, texts: int) -> None:
        """Take the next micro-batch, of texts without tokens."""

    def all_finite(self) -> bool:
        """Whether every stored number is finite; waits for the device."""


@dataclass
class _Buffer:
    """Rows on the host, filled from the device one after the other.

    Attributes:
        rows: (n, D) in the storage type.
        filled: rows that have their numbers, or will have when the device is done.
        finite: one flag on the device a piece.
    """

    rows: Tensor
    filled: int = 0
    finite: list[Tensor] = field(default_factory=list)

    @classmethod
    def of(cls, n: int, width: int, storage: torch.dtype, device: torch.device) -> Self:
        return cls(torch.empty((n, width), dtype=storage, pin_memory=device.type == "cuda"))

    def append(self, piece: Tensor) -> None:
        stored = piece.to(self.rows.dtype)
        self.finite.append(torch.isfinite(stored).all())
        self.rows[self.filled : self.filled + len(stored)].copy_(stored, non_blocking=True)
        self.filled += len(stored)

    def append_zeros(self, n: int) -> None:
        self.rows[self.filled : self.filled + n] = 0
        self.filled += n

    def all_finite(self) -> bool:
        return not self.finite or bool(torch.stack(self.finite).all())

    def ordered(self, places: Rows) -> npt.NDArray[Any]:
        """The rows at these places; bfloat16 as its bits in uint16."""
        rows = self.rows.view(torch.uint16) if self.rows.dtype == torch.bfloat16 else self.rows
        return np.asarray(rows.numpy()[places])


class VectorSink:
    """One vector a text.

    Args:
        n: texts of the shard.
        width: numbers a vector.
        storage: type to store.
        pooling: how a text's states become a vector.
        device: where the states are.
    """

    def __init__(self, n: int, width: int, storage: torch.dtype, pooling: Pooling, device: torch.device) -> None:
        self._pooling = pooling
        self._buffer = _Buffer.of(n, width, storage, device)

    def put(self, states_BTD: Tensor) -> None:
        """Pool the states of the next micro-batch."""
        self._buffer.append(pool(states_BTD, self._pooling))

    def skip(self, texts: int) -> None:
        """Texts without tokens have the zero vector."""
        self._buffer.append_zeros(texts)

    def all_finite(self) -> bool:
        """Whether every stored number is finite; waits for the device."""
        return self._buffer.all_finite()

    def vectors(self, order: Rows) -> npt.NDArray[Any]:
        """The vectors in the shard's order, (n, D).

        Args:
            order: (n,) the texts in the order in which they came.
        """
        return self._buffer.ordered(np.argsort(order))


class TokenSink:
    """The states of every token.

    Args:
        lengths: tokens of each text of the shard, (n,).
        width: numbers a token.
        storage: type to store.
        device: where the states are.
    """

    def __init__(self, lengths: Rows, width: int, storage: torch.dtype, device: torch.device) -> None:
        self._lengths = lengths
        self._buffer = _Buffer.of(int(lengths.sum()), width, storage, device)

    def put(self, states_BTD: Tensor) -> None:
        """Keep the states of the next micro-batch."""
        self._buffer.append(states_BTD.flatten(0, 1))

    def skip(self, texts: int) -> None:
        """Texts without tokens have no states."""

    def all_finite(self) -> bool:
        """Whether every stored number is finite; waits for the device."""
        return self._buffer.all_finite()

    def states(self, order: Rows) -> tuple[npt.NDArray[Any], Rows]:
        """The states in the shard's order, (nnz, D), and the offsets of its texts, (n + 1,).

        Args:
            order: (n,) the texts in the order in which they came.
        """
        starts = np.empty(len(order), np.int64)
        starts[order] = offsets_from(self._lengths[order])[:-1]
        return self._buffer.ordered(spans(starts, self._lengths)), offsets_from(self._lengths)
