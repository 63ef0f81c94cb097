"""Tensors that lie in files: where their numbers are, so that any part of them can be read and nothing more.

A tensor is a row of ranges: runs of numbers in files which, one after the other, give it in row order. Cutting and
joining such tensors moves no number. Files are read, not mapped: what has been read takes no memory afterwards.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from tcf.common.errors import ModelError

__all__ = ["ConcatenatedTensor", "FileRange", "TensorInFiles", "are_equal", "joined", "largest_difference"]

_CHUNK = 2**22  # numbers that are compared at once


@dataclass(frozen=True)
class FileRange:
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
class TensorInFiles:
    """A tensor in files.

    Attributes:
        dtype: type of its numbers.
        shape: its shape.
        ranges: its numbers in row order.
    """

    dtype: torch.dtype
    shape: tuple[int, ...]
    ranges: tuple[FileRange, ...]

    @property
    def count(self) -> int:
        """How many numbers it has."""
        return math.prod(self.shape)

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that it lies in, each once."""
        return tuple(dict.fromkeys(file_range.file for file_range in self.ranges))

    def cut(self, start: int, shape: tuple[int, ...]) -> "TensorInFiles":
        """The tensor of a shape that begins at a number of this one, in row order.

        Raises:
            ValueError: it would reach beyond this one.
        """
        if start < 0 or start + math.prod(shape) > self.count or min(shape, default=0) < 0:
            raise ValueError(f"{shape} from {start} on is no part of {self.count} numbers")
        return TensorInFiles(self.dtype, shape, tuple(_cut(self.ranges, start, math.prod(shape), self.dtype.itemsize)))

    def rows(self, start: int, stop: int) -> "TensorInFiles":
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
        for file_range in self.ranges:
            size = file_range.count * self.dtype.itemsize
            _read_into(file_range, view[done : done + size])
            done += size
        return found.view(self.shape)


@dataclass(frozen=True)
class ConcatenatedTensor:
    """A tensor made of others, side by side.

    Attributes:
        parts: the others.
        axis: along which they stand side by side: 0 or 1.
    """

    parts: tuple[TensorInFiles, ...]
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


def joined(parts: Sequence[TensorInFiles]) -> TensorInFiles:
    """Tensors of the same shape, but for the number of their rows, one below the other."""
    shape = (sum(part.shape[0] for part in parts), *parts[0].shape[1:])
    return TensorInFiles(parts[0].dtype, shape, tuple(file_range for part in parts for file_range in part.ranges))


def are_equal(first: TensorInFiles, second: TensorInFiles) -> bool:
    """Whether two tensors hold the same numbers in the same shape; a few million are in memory at once."""
    if first.shape != second.shape or first.dtype != second.dtype:
        return False
    return all(torch.equal(one, other) for one, other in _side_by_side(first, second))


def largest_difference(first: TensorInFiles, second: TensorInFiles) -> float:
    """How far two tensors of one shape lie apart at most, as absolute difference of two numbers."""
    pairs = _side_by_side(first, second)
    return max((float((one.double() - other.double()).abs().max()) for one, other in pairs), default=0.0)


def _side_by_side(first: TensorInFiles, second: TensorInFiles) -> Iterator[tuple[Tensor, Tensor]]:
    for start in range(0, first.count, _CHUNK):
        shape = (min(_CHUNK, first.count - start),)
        yield first.cut(start, shape).read(), second.cut(start, shape).read()


def _cut(ranges: Sequence[FileRange], start: int, count: int, itemsize: int) -> Iterator[FileRange]:
    """The ranges of `count` numbers from the number `start` on."""
    before = 0
    for file_range in ranges:
        low, high = max(start, before), min(start + count, before + file_range.count)
        if low < high:
            yield FileRange(file_range.file, file_range.start + (low - before) * itemsize, high - low)
        before += file_range.count


def _read_into(file_range: FileRange, view: memoryview) -> None:
    try:
        with file_range.file.open("rb", buffering=0) as stream:
            stream.seek(file_range.start)
            done = 0
            while done < len(view) and (n := stream.readinto(view[done:])):
                done += n
    except OSError as error:
        raise ModelError(f"{file_range.file}: cannot be read ({error.strerror or error}); mend or fetch it") from None
    if done < len(view):
        raise ModelError(
            f"{file_range.file}: expected {len(view)} bytes from byte {file_range.start} on, found {done}; "
            "fetch it anew"
        )
