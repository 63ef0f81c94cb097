"""Numbers of Arrow as arrays of NumPy and back, without a copy.

`to_numpy` and `pa.array` do the same, but import pandas first, where it is installed, which takes a third of a second.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

__all__ = ["as_arrow", "as_numpy"]


def as_numpy(column: "pa.Array") -> npt.NDArray[Any]:
    """Return numbers without nulls, (n,), as an array that shares their memory."""
    kind = np.dtype(column.type.to_pandas_dtype())
    return np.frombuffer(column.buffers()[1], kind, len(column), column.offset * kind.itemsize)


def as_arrow(numbers: npt.NDArray[Any]) -> "pa.Array":
    """Return numbers, (n,), as an array that shares their memory."""
    whole = np.ascontiguousarray(numbers)
    return pa.Array.from_buffers(pa.from_numpy_dtype(whole.dtype), len(whole), [None, pa.py_buffer(whole)])
