"""NumPy files read back, whatever state they are in: an array, or an error that a user can mend. Never a pickle."""

import tokenize
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tcf.common.errors import TcfError

__all__ = ["load_array", "map_array"]

# What NumPy raises on damaged headers and short files.
_UNREADABLE = (OSError, ValueError, EOFError, SyntaxError, TypeError, tokenize.TokenError)


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
    """What is wrong; NumPy takes whatever does not begin as its own files do for a pickle, and advises to load it."""
    return "not a whole .npy file of numbers" if "pickle" in str(error) else " ".join(str(error).split())
