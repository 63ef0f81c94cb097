"""NumPy files: read whole or memory-mapped, written row by row, and read ahead if a map exceeds memory. No pickles.

A row of a map that is not in memory is read when it is accessed: one disk request after another, each for far more than
the row. If the rows are announced in advance, all of them, and nothing else, are requested at once.
"""

import ctypes
import io
import math
import mmap
import os
import tokenize
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tcf.common.errors import TcfError, os_error_words
from tcf.data.numpy_internals import is_about_pickles

__all__ = ["ArrayFile", "load_array", "map_array", "request_rows", "shape_words"]

# The errors that NumPy raises for damaged headers and truncated files.
_UNREADABLE = (
    OSError,
    ValueError,
    EOFError,
    SyntaxError,
    TypeError,
    LookupError,
    RecursionError,
    MemoryError,
    tokenize.TokenError,
)
_READERS = {1: np.lib.format.read_array_header_1_0, 2: np.lib.format.read_array_header_2_0}
_PAGE = mmap.PAGESIZE
_MAGIC = b"\x93NUMPY"
_NO_ARRAY = "not a complete .npy file of numbers"


def load_array(
    file: Path, kind: type[TcfError], remedy: str, source: io.BytesIO | Path | None = None
) -> npt.NDArray[Any]:
    """Read a `.npy` file into memory.

    Args:
        file: the file.
        kind: the error to raise if it is missing or damaged.
        remedy: what to do then, for the message.
        source: its bytes, if they have been read already.
    """
    _check_begin(file, kind, remedy)
    try:
        array: npt.NDArray[Any] = np.load(source or file, allow_pickle=False)
    except _UNREADABLE as error:
        raise kind(f"{file}: expected a readable .npy file, found none ({_reason(error)}); {remedy}") from None
    return array


def map_array(file: Path, kind: type[TcfError], remedy: str) -> npt.NDArray[Any]:
    """Memory-map a `.npy` file in C order, read-only; the map keeps no file descriptor, so any number can be open.

    Args:
        file: the file.
        kind: the error to raise if it is missing or damaged.
        remedy: what to do then, for the message.
    """
    _check_begin(file, kind, remedy)
    try:
        header = np.load(file, mmap_mode="r", allow_pickle=False)
        with pa.memory_map(str(file)) as source:
            buffer = source.read_buffer()
    except _UNREADABLE as error:
        raise kind(f"{file}: expected a readable .npy file, found none ({_reason(error)}); {remedy}") from None
    return np.frombuffer(buffer, dtype=header.dtype, count=header.size, offset=header.offset).reshape(header.shape)


def _check_begin(file: Path, kind: type[TcfError], remedy: str) -> None:
    """Refuse what `numpy.load` opens as something else, such as an archive, or would need any amount of memory for.

    Args:
        file: the file.
        kind: the error to raise.
        remedy: what to do then, for the message.
    """
    try:
        with file.open("rb") as stream:
            if stream.read(len(_MAGIC)) != _MAGIC:
                raise ValueError(_NO_ARRAY)
            stream.seek(0)
            read = _READERS.get(np.lib.format.read_magic(stream)[0])
            if read is None:
                return  # of a version that only numpy itself knows
            shape, _, dtype = read(stream)
            expected, found = math.prod(shape) * dtype.itemsize, os.fstat(stream.fileno()).st_size - stream.tell()
            if expected > found:
                raise ValueError(f"its header states {expected} bytes of numbers, {found} are there")
    except _UNREADABLE as error:
        raise kind(f"{file}: expected a readable .npy file, found none ({_reason(error)}); {remedy}") from None


def _reason(error: BaseException) -> str:
    """Return what is wrong, without NumPy's advice to unpickle any file that is not in its own format."""
    if isinstance(error, OSError):
        return os_error_words(error)
    return _NO_ARRAY if is_about_pickles(error) else " ".join(str(error).split())


def shape_words(shape: tuple[int, ...]) -> str:
    """Return the shape of an array for messages.

    Example:
        >>> shape_words((8192, 2))
        '8192 x 2'
    """
    return " x ".join(map(str, shape)) or "single"


class ArrayFile:
    """Writes an array a few rows at a time, also as a context manager; the file equals the one from `np.save`.

    Args:
        file: the file; replaced if it exists. It contains the shape once it is closed.
        row: shape of a row.
        dtype: type of the numbers.
        padding: spaces to add to the header, a multiple of 64; the file then differs from `np.save` in these alone.
    """

    def __init__(self, file: Path, row: tuple[int, ...], dtype: npt.DTypeLike, *, padding: int = 0) -> None:
        self._row, self._dtype, self._padding = row, np.dtype(dtype), padding
        self._stream = file.open("wb")
        self._rows = 0
        self._write_header()

    def __enter__(self) -> Self:
        return self

    def append(self, rows: npt.NDArray[Any]) -> None:
        """Append rows, (n, *row).

        Raises:
            ValueError: they have another shape or type.
        """
        if rows.shape[1:] != self._row or rows.dtype != self._dtype:
            raise ValueError(f"expected rows of {self._row} {self._dtype}, found {rows.shape[1:]} {rows.dtype}")
        self._stream.write(np.ascontiguousarray(rows).data)
        self._rows += len(rows)

    def close(self) -> None:
        """Write the shape and close the file; further calls do nothing."""
        if self._stream.closed:
            return
        with self._stream:
            # NumPy pads every header so that the first dimension can grow: the new header is as long as the old one.
            self._stream.seek(0)
            self._write_header()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file."""
        self.close()

    def _write_header(self) -> None:
        shape = (self._rows, *self._row)
        descr = np.lib.format.dtype_to_descr(self._dtype)
        header = {"descr": descr, "fortran_order": False, "shape": shape}
        written = io.BytesIO()
        np.lib.format.write_array_header_1_0(written, header)
        start, length, words = written.getvalue()[:8], written.getvalue()[8:10], written.getvalue()[10:-1]
        longer = int.from_bytes(length, "little") + self._padding
        self._stream.write(start + longer.to_bytes(2, "little") + words + b" " * self._padding + b"\n")


def request_rows(table: npt.NDArray[Any], rows: npt.NDArray[np.int64]) -> int:
    """Ask the operating system to load rows of a memory map, and return without waiting for them.

    Args:
        table: the map, in C order.
        rows: the rows, rising.

    Returns:
        The number of requested file ranges; neighbouring rows are one range. 0 if the system has no such requests.
    """
    if not len(rows) or not hasattr(mmap, "MADV_WILLNEED"):
        return 0
    first = table.ctypes.data + rows * table.strides[0]
    starts, ends = first // _PAGE * _PAGE, first + table.strides[0]
    begins = np.concatenate([[True], starts[1:] > ends[:-1]])
    lasts = np.concatenate([begins[1:], [True]])
    madvise = _madvise()
    for start, end in zip(starts[begins].tolist(), ends[lasts].tolist(), strict=True):
        # The result does not matter: rows that were not loaded in advance are read when they are accessed.
        madvise(start, end - start, mmap.MADV_WILLNEED)
    return int(begins.sum())


def _madvise() -> Callable[[int, int, int], int]:
    function = ctypes.CDLL(None).madvise
    function.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    found: Callable[[int, int, int], int] = function
    return found
