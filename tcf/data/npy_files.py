"""NumPy files: read whole or mapped, grown by rows, and read ahead where a map is larger than memory. Never a pickle.

A row of a map that is not in memory is read when it is touched: one request to the disk after another, each for far
more than the row. Named beforehand, all rows are requested at once, and nothing else is.
"""

import ctypes
import mmap
import tokenize
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tcf.common.errors import TcfError
from tcf.data.numpy_internals import is_about_pickles

__all__ = ["ArrayFile", "load_array", "map_array", "request_rows"]

# What NumPy raises on damaged headers and short files.
_UNREADABLE = (OSError, ValueError, EOFError, SyntaxError, TypeError, tokenize.TokenError)
_PAGE = mmap.PAGESIZE


def load_array(file: Path, kind: type[TcfError], remedy: str) -> npt.NDArray[Any]:
    """Read a `.npy` file into memory.

    Args:
        file: the file.
        kind: what to raise where it is missing or damaged.
        remedy: what to do then.
    """
    try:
        array: npt.NDArray[Any] = np.load(file, allow_pickle=False)
    except _UNREADABLE as error:
        raise kind(f"{file}: unreadable ({_reason(error)}); {remedy}") from None
    return array


def map_array(file: Path, kind: type[TcfError], remedy: str) -> npt.NDArray[Any]:
    """Map a `.npy` file, read-only, in C order; the map keeps no file descriptor, so any number can be open.

    Args:
        file: the file.
        kind: what to raise where it is missing or damaged.
        remedy: what to do then.
    """
    try:
        header = np.load(file, mmap_mode="r", allow_pickle=False)
        with pa.memory_map(str(file)) as source:
            buffer = source.read_buffer()
    except _UNREADABLE as error:
        raise kind(f"{file}: unreadable ({_reason(error)}); {remedy}") from None
    return np.frombuffer(buffer, dtype=header.dtype, count=header.size, offset=header.offset).reshape(header.shape)


def _reason(error: BaseException) -> str:
    """What is wrong, without NumPy's advice to unpickle whatever is no file of its own."""
    return "not a whole .npy file of numbers" if is_about_pickles(error) else " ".join(str(error).split())


class ArrayFile:
    """Writes an array a few rows at a time, also as a context manager; the file is the one that `np.save` would write.

    Args:
        file: where; replaced if it is there. The shape is in it once it is closed.
        row: shape of a row.
        dtype: type of the numbers.
    """

    def __init__(self, file: Path, row: tuple[int, ...], dtype: npt.DTypeLike) -> None:
        self._row, self._dtype = row, np.dtype(dtype)
        self._stream = file.open("wb")
        self._rows = 0
        self._write_header()

    def __enter__(self) -> Self:
        return self

    def append(self, rows: npt.NDArray[Any]) -> None:
        """Write rows, (n, *row), after those that are there.

        Raises:
            ValueError: they have another shape or type.
        """
        if rows.shape[1:] != self._row or rows.dtype != self._dtype:
            raise ValueError(f"expected rows of {self._row} {self._dtype}, found {rows.shape[1:]} {rows.dtype}")
        self._stream.write(np.ascontiguousarray(rows).data)
        self._rows += len(rows)

    def close(self) -> None:
        """Write the shape and close the file; once is enough."""
        if self._stream.closed:
            return
        with self._stream:
            # NumPy leaves room in every header for the first dimension to grow, so the new one is as long as the old.
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
        np.lib.format.write_array_header_1_0(self._stream, header)


def request_rows(table: npt.NDArray[Any], rows: npt.NDArray[np.int64]) -> int:
    """Ask the system to bring rows of a memory map into memory, and return without waiting for them.

    Args:
        table: the map, in C order.
        rows: which rows, rising.

    Returns:
        How many ranges of the file were asked for: neighbours are one. 0 where the system takes no such requests.
    """
    if not len(rows) or not hasattr(mmap, "MADV_WILLNEED"):
        return 0
    first = table.ctypes.data + rows * table.strides[0]
    starts, ends = first // _PAGE * _PAGE, first + table.strides[0]
    begins = np.concatenate([[True], starts[1:] > ends[:-1]])
    lasts = np.concatenate([begins[1:], [True]])
    madvise = _madvise()
    for start, end in zip(starts[begins].tolist(), ends[lasts].tolist(), strict=True):
        # Its result does not matter: without it rows are read when they are touched.
        madvise(start, end - start, mmap.MADV_WILLNEED)
    return int(begins.sum())


def _madvise() -> Callable[[int, int, int], int]:
    function = ctypes.CDLL(None).madvise
    function.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    found: Callable[[int, int, int], int] = function
    return found
