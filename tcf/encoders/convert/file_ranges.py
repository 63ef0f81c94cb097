"""Tensors in files: the places of their numbers, so that any part of a tensor can be read on its own.

A tensor is a sequence of ranges: runs of numbers in files that, concatenated, are the tensor in row-major order.
Slicing and concatenating such tensors copies nothing. Files are read and not mapped, so their pages take no memory
afterwards.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from tcf.common.errors import ModelError, os_error_words, shape_words

__all__ = [
    "ConcatenatedTensor",
    "FileRange",
    "TensorInFiles",
    "are_equal",
    "is_constant",
    "joined",
    "largest_absolute",
    "largest_difference",
]

_CHUNK = 2**22  # numbers that are compared at once


@dataclass(frozen=True)
class FileRange:
    """A run of numbers in a file.

    Attributes:
        file: the file.
        start: offset of the first number, in bytes.
        count: number of numbers.
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
        ranges: its numbers in row-major order.
    """

    dtype: torch.dtype
    shape: tuple[int, ...]
    ranges: tuple[FileRange, ...]

    @property
    def count(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that contain it, each once."""
        return tuple(dict.fromkeys(file_range.file for file_range in self.ranges))

    def cut(self, start: int, shape: tuple[int, ...]) -> "TensorInFiles":
        """Return a tensor of another shape made of consecutive elements, from element `start` in row-major order.

        Raises:
            ValueError: there are too few elements.
        """
        if start < 0 or start + math.prod(shape) > self.count or min(shape, default=0) < 0:
            raise ValueError(f"expected {shape_words(shape)} from element {start} within {self.count} elements")
        return TensorInFiles(self.dtype, shape, tuple(_cut(self.ranges, start, math.prod(shape), self.dtype.itemsize)))

    def rows(self, start: int, stop: int) -> "TensorInFiles":
        """Return a range of its rows (for a vector, of its elements)."""
        of_each = self.shape[1:]
        return self.cut(start * math.prod(of_each), (stop - start, *of_each))

    def read(self) -> Tensor:
        """Read the tensor.

        Raises:
            ModelError: a file cannot be read or is too short.
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
    """A tensor that is the concatenation of others.

    Attributes:
        parts: the tensors.
        axis: axis of the concatenation: 0 or 1.
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
        """Yield the tensor in blocks of rows.

        Args:
            size: maximum number of elements per block, unless a single row has more.

        Raises:
            ModelError: a file cannot be read or is too short.
        """
        beside = [joined(self.parts)] if self.axis == 0 else self.parts
        n_rows = self.shape[0]
        step = max(1, size // max(1, math.prod(self.shape[1:])))
        for start in range(0, n_rows, step):
            rows = [part.rows(start, min(start + step, n_rows)).read() for part in beside]
            yield rows[0] if len(rows) == 1 else torch.cat(rows, self.axis)


def joined(parts: Sequence[TensorInFiles]) -> TensorInFiles:
    """Concatenate tensors along their rows; the other axes must be equal."""
    shape = (sum(part.shape[0] for part in parts), *parts[0].shape[1:])
    return TensorInFiles(parts[0].dtype, shape, tuple(file_range for part in parts for file_range in part.ranges))


def are_equal(first: TensorInFiles, second: TensorInFiles) -> bool:
    """Whether two tensors have the same shape and elements; a few million elements are in memory at once."""
    if first.shape != second.shape or first.dtype != second.dtype:
        return False
    return all(torch.equal(one, other) for one, other in _side_by_side(first, second))


def largest_difference(first: TensorInFiles, second: TensorInFiles) -> float:
    """Return the largest absolute difference between the elements of two tensors of equal shape; NaN if one is NaN."""
    pairs = _side_by_side(first, second)
    return _largest((one.double() - other.double()).abs().max() for one, other in pairs)


def largest_absolute(tensor: TensorInFiles) -> float:
    """Return the largest absolute value of a tensor; NaN if an element is NaN."""
    return _largest(part.double().abs().max() for part in _parts(tensor))


def _largest(values: Iterable[Tensor]) -> float:
    """Return the largest of several numbers, or NaN, as torch does, and not the order of the comparisons."""
    return float(torch.stack([torch.zeros((), dtype=torch.double), *values]).max())


def is_constant(tensor: TensorInFiles) -> bool:
    """Whether all elements of a tensor are equal."""
    if not tensor.count:
        return True
    first = tensor.cut(0, (1,)).read()
    return all(bool((part == first).all()) for part in _parts(tensor))


def _parts(tensor: TensorInFiles) -> Iterator[Tensor]:
    for start in range(0, tensor.count, _CHUNK):
        yield tensor.cut(start, (min(_CHUNK, tensor.count - start),)).read()


def _side_by_side(first: TensorInFiles, second: TensorInFiles) -> Iterator[tuple[Tensor, Tensor]]:
    return zip(_parts(first), _parts(second), strict=True)


def _cut(ranges: Sequence[FileRange], start: int, count: int, itemsize: int) -> Iterator[FileRange]:
    """Yield the ranges of `count` numbers from number `start`."""
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
        raise ModelError(
            f"{file_range.file}: cannot be read ({os_error_words(error)}); fix it or download it again"
        ) from None
    if done < len(view):
        raise ModelError(
            f"{file_range.file}: expected {len(view)} bytes from byte {file_range.start}, found {done}; "
            "download it again"
        )
