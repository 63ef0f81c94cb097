"""Tensors that lie in files: where their numbers are, so that any part of them can be read and nothing more.

A tensor is a row of stretches: runs of numbers in files which, one after the other, give it in row order. Cutting and
joining such tensors moves no number. Files are read, not mapped: what has been read takes no memory afterwards.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from tcf.common.errors import ModelError

__all__ = ["Pieces", "StoredTensor", "Stretch", "are_equal", "joined", "largest_difference"]

_CHUNK = 2**22  # numbers that are compared at once


@dataclass(frozen=True)
class Stretch:
    """A run of numbers in a file.

    Attributes:
        file: the file.
        start: bytes before it.
        count: how many numbers.
    """

    file: Path
    start: int
    count: int


@dataclass(frozen=True)
class StoredTensor:
    """A tensor in files.

    Attributes:
        dtype: type of its numbers.
        shape: its shape.
        stretches: its numbers in row order.
    """

    dtype: torch.dtype
    shape: tuple[int, ...]
    stretches: tuple[Stretch, ...]

    @property
    def count(self) -> int:
        """How many numbers it has."""
        return math.prod(self.shape)

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that it lies in, each once."""
        return tuple(dict.fromkeys(stretch.file for stretch in self.stretches))

    def cut(self, start: int, shape: tuple[int, ...]) -> "StoredTensor":
        """The tensor of a shape that begins at a number of this one, in row order.

        Raises:
            ValueError: it would reach beyond this one.
        """
        if start < 0 or start + math.prod(shape) > self.count or min(shape, default=0) < 0:
            raise ValueError(f"{shape} from {start} on is no part of {self.count} numbers")
        return StoredTensor(
            self.dtype, shape, tuple(_cut(self.stretches, start, math.prod(shape), self.dtype.itemsize))
        )

    def rows(self, start: int, stop: int) -> "StoredTensor":
        """Some of its rows (of a vector: of its numbers)."""
        of_each = self.shape[1:]
        return self.cut(start * math.prod(of_each), (stop - start, *of_each))

    def read(self) -> Tensor:
        """Its numbers.

        Raises:
            ModelError: a file cannot be read or ends early.
        """
        found = torch.empty(self.count, dtype=self.dtype)
        view = memoryview(found.view(torch.uint8).numpy().data)
        done = 0
        for stretch in self.stretches:
            size = stretch.count * self.dtype.itemsize
            _read_into(stretch, view[done : done + size])
            done += size
        return found.view(self.shape)


@dataclass(frozen=True)
class Pieces:
    """A tensor made of others, side by side.

    Attributes:
        parts: the others.
        axis: along which they stand side by side: 0 or 1.
    """

    parts: tuple[StoredTensor, ...]
    axis: int = 0

    @property
    def dtype(self) -> torch.dtype:
        """Type of its numbers."""
        return self.parts[0].dtype

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape."""
        shape = list(self.parts[0].shape)
        shape[self.axis] = sum(part.shape[self.axis] for part in self.parts)
        return tuple(shape)

    @property
    def nbytes(self) -> int:
        """Its size in bytes."""
        return math.prod(self.shape) * self.dtype.itemsize

    def blocks(self, size: int) -> Iterator[Tensor]:
        """Its numbers, in row order, a few rows at a time.

        Args:
            size: how many numbers at once at most, unless a row has more.

        Raises:
            ModelError: a file cannot be read or ends early.
        """
        beside = [joined(self.parts)] if self.axis == 0 else self.parts
        n_rows = self.shape[0]
        step = max(1, size // max(1, math.prod(self.shape[1:])))
        for start in range(0, n_rows, step):
            rows = [part.rows(start, min(start + step, n_rows)).read() for part in beside]
            yield rows[0] if len(rows) == 1 else torch.cat(rows, self.axis)


def joined(parts: Sequence[StoredTensor]) -> StoredTensor:
    """Tensors of the same shape, but for the number of their rows, one below the other."""
    shape = (sum(part.shape[0] for part in parts), *parts[0].shape[1:])
    return StoredTensor(parts[0].dtype, shape, tuple(stretch for part in parts for stretch in part.stretches))


def are_equal(first: StoredTensor, second: StoredTensor) -> bool:
    """Whether two tensors hold the same numbers in the same shape; a few million are in memory at once."""
    if first.shape != second.shape or first.dtype != second.dtype:
        return False
    return all(torch.equal(one, other) for one, other in _side_by_side(first, second))


def largest_difference(first: StoredTensor, second: StoredTensor) -> float:
    """How far two tensors of one shape lie apart at most, as absolute difference of two numbers."""
    pairs = _side_by_side(first, second)
    return max((float((one.double() - other.double()).abs().max()) for one, other in pairs), default=0.0)


def _side_by_side(first: StoredTensor, second: StoredTensor) -> Iterator[tuple[Tensor, Tensor]]:
    for start in range(0, first.count, _CHUNK):
        shape = (min(_CHUNK, first.count - start),)
        yield first.cut(start, shape).read(), second.cut(start, shape).read()


def _cut(stretches: Sequence[Stretch], start: int, count: int, itemsize: int) -> Iterator[Stretch]:
    """The stretches of `count` numbers from the number `start` on."""
    before = 0
    for stretch in stretches:
        low, high = max(start, before), min(start + count, before + stretch.count)
        if low < high:
            yield Stretch(stretch.file, stretch.start + (low - before) * itemsize, high - low)
        before += stretch.count


def _read_into(stretch: Stretch, view: memoryview) -> None:
    try:
        with stretch.file.open("rb", buffering=0) as stream:
            stream.seek(stretch.start)
            done = 0
            while done < len(view) and (n := stream.readinto(view[done:])):
                done += n
    except OSError as error:
        raise ModelError(f"{stretch.file}: cannot be read ({error.strerror or error}); mend or fetch it") from None
    if done < len(view):
        raise ModelError(
            f"{stretch.file}: expected {len(view)} bytes from byte {stretch.start} on, found {done}; fetch it anew"
        )
