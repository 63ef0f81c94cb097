"""Sinks collect the states of micro-batches: pooled to one vector per text, or kept for every token.

States arrive for texts of equal length together, in any order and from any thread; a shard is returned in its own
order. Numbers are rounded to the storage type once, on the device, and with CUDA copied asynchronously to
pinned memory.

Shapes: B texts, T tokens, D width.
"""

from dataclasses import dataclass, field
from typing import Any, Protocol, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tcf.common.ragged import offsets_from, spans
from tcf.encoders.pooling import VectorHead
from tcf.extract.micro_batches import Indices, TextGroup

__all__ = ["Sink", "TokenSink", "VectorSink"]


class Sink(Protocol):
    """Takes the states of one layer, those of texts of equal length at a time."""

    @property
    def rows(self) -> Tensor:
        """The numbers stored so far, in the order of the micro-batches, on the host."""

    def put(self, group: TextGroup, states_BTD: Tensor) -> None:
        """Store the states of texts; (B, 0, D) for texts without tokens."""

    def mark_restored(self) -> None:
        """Note that `rows` were filled from an earlier attempt, so that these numbers are checked too."""

    def unstorable(self, order: Indices) -> Indices:
        """Texts with a number that could not be stored, as sorted rows of the shard; synchronises with the device.

        Args:
            order: (n,) the texts in the order of the micro-batches.
        """


@dataclass
class _Buffer:
    """Rows on the host, filled from the device.

    Attributes:
        rows: (n, D) in the storage type.
        finite: for each piece, a flag on its device.
    """

    rows: Tensor
    finite: list[Tensor] = field(default_factory=list)

    @classmethod
    def of(cls, n: int, width: int, storage: torch.dtype, device: torch.device) -> Self:
        return cls(torch.empty((n, width), dtype=storage, pin_memory=device.type == "cuda"))

    def fill(self, where: slice, piece: Tensor) -> None:
        stored = piece.to(self.rows.dtype)
        self.finite.append(torch.isfinite(stored).all())
        self.rows[where].copy_(stored, non_blocking=True)

    def mark_restored(self) -> None:
        self.finite.append(torch.isfinite(self.rows).all())

    def bad(self) -> Indices:
        """Rows with a number that is not finite; rows are checked one by one only if there are any."""
        if all(bool(torch.stack(flags).all()) for flags in _by_device(self.finite)):
            return np.zeros(0, np.int64)
        return torch.isfinite(self.rows).all(dim=1).logical_not().nonzero()[:, 0].numpy()

    def ordered(self, places: Indices) -> npt.NDArray[Any]:
        """The rows at these places; bfloat16 as its bits in uint16."""
        rows = self.rows.view(torch.uint16) if self.rows.dtype == torch.bfloat16 else self.rows
        return np.asarray(rows.numpy()[places])


def _by_device(flags: list[Tensor]) -> list[list[Tensor]]:
    return [[flag for flag in flags if flag.device == device] for device in {flag.device for flag in flags}]


class VectorSink:
    """Stores one vector per text.

    Args:
        n: number of texts of the shard.
        width: width of a vector.
        storage: storage type.
        head: how a text's states become a vector.
        device: where the states are.
    """

    def __init__(self, n: int, width: int, storage: torch.dtype, head: VectorHead, device: torch.device) -> None:
        self._head = head
        self._heads: dict[torch.device, VectorHead] = {}  # with its weights there; a pipeline has several devices
        self._buffer = _Buffer.of(n, width, storage, device)

    @property
    def rows(self) -> Tensor:
        """The vectors in the order of the micro-batches, (n, D), in the storage type."""
        return self._buffer.rows

    def put(self, group: TextGroup, states_BTD: Tensor) -> None:
        """Pool the states of texts; texts without tokens get the zero vector."""
        if group.length:
            self._buffer.fill(group.texts, self._head_on(states_BTD.device).vectors(states_BTD))
        else:
            self._buffer.rows[group.texts] = 0

    def _head_on(self, device: torch.device) -> VectorHead:
        if device not in self._heads:
            self._heads[device] = self._head.on(device)
        return self._heads[device]

    def mark_restored(self) -> None:
        """Check the numbers restored from an earlier attempt."""
        self._buffer.mark_restored()

    def unstorable(self, order: Indices) -> Indices:
        """Texts with a number that could not be stored, as sorted rows of the shard; synchronises with the device."""
        return np.sort(order[self._buffer.bad()])

    def vectors(self, order: Indices) -> npt.NDArray[Any]:
        """The vectors in the shard's order, (n, D).

        Args:
            order: (n,) the texts in the order of the micro-batches.
        """
        return self._buffer.ordered(np.argsort(order))


class TokenSink:
    """Stores the states of every token.

    Args:
        lengths: tokens of each text of the shard, (n,).
        width: width of a token state.
        storage: storage type.
        device: where the states are.
    """

    def __init__(self, lengths: Indices, width: int, storage: torch.dtype, device: torch.device) -> None:
        self._lengths = lengths
        self._buffer = _Buffer.of(int(lengths.sum()), width, storage, device)

    @property
    def rows(self) -> Tensor:
        """The states in the order of the micro-batches, (nnz, D), in the storage type."""
        return self._buffer.rows

    def put(self, group: TextGroup, states_BTD: Tensor) -> None:
        """Store the states of texts."""
        if group.length:
            self._buffer.fill(group.tokens, states_BTD.flatten(0, 1))

    def mark_restored(self) -> None:
        """Check the numbers restored from an earlier attempt."""
        self._buffer.mark_restored()

    def unstorable(self, order: Indices) -> Indices:
        """Texts with a number that could not be stored, as sorted rows of the shard; synchronises with the device."""
        ends = np.cumsum(self._lengths[order])
        return np.unique(order[np.searchsorted(ends, self._buffer.bad(), side="right")])

    def states(self, order: Indices) -> tuple[npt.NDArray[Any], Indices]:
        """The states in the shard's order, (nnz, D), and the offsets of its texts, (n + 1,).

        Args:
            order: (n,) the texts in the order of the micro-batches.
        """
        starts = np.empty(len(order), np.int64)
        starts[order] = offsets_from(self._lengths[order])[:-1]
        return self._buffer.ordered(spans(starts, self._lengths)), offsets_from(self._lengths)
