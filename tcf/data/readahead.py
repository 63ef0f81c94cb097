"""Reading rows of a memory map that is larger than memory.

A row that is not in memory is read when it is touched: one request to the disk after another, each for far more than
the row. Named beforehand, all rows are requested at once, and nothing else is.
"""

import ctypes
import functools
import mmap
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["request_rows"]

_PAGE = mmap.PAGESIZE


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


@functools.cache
def _madvise() -> Callable[[int, int, int], int]:
    function = ctypes.CDLL(None).madvise
    function.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    found: Callable[[int, int, int], int] = function
    return found
