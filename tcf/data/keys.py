"""Keys of texts and token sequences: 128-bit hashes, so that equal content is recognised without storing it.

Among 10^8 different contents, two share a key with a probability of about 10^-23.

Shapes: n keys are (n, 2) uint64.
"""

from collections.abc import Iterator
from functools import partial
from hashlib import blake2b
from operator import methodcaller

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["Keys", "first_occurrences", "locate", "sequence_keys", "text_keys"]

Keys = npt.NDArray[np.uint64]
_BYTES = 16
# Texts hashed at once. A block takes about a millisecond; between blocks other threads may run.
_BLOCK = 2048
_hash = partial(blake2b, digest_size=_BYTES)
_digest = methodcaller("digest")


def text_keys(texts: "pa.LargeStringArray") -> Keys:
    """Return the key of every text, (n, 2): a hash of its UTF-8 bytes."""
    return _hashed(texts.cast(pa.large_binary()))


def sequence_keys(tokens: npt.NDArray[np.int32], offsets: npt.NDArray[np.int64]) -> Keys:
    """Return the key of every token sequence, (n, 2): a hash of its token ids.

    Args:
        tokens: (nnz,) token ids of all sequences.
        offsets: (n + 1,) sequence i is tokens[offsets[i]:offsets[i + 1]].
    """
    bounds = np.ascontiguousarray(offsets, dtype=np.int64) * 4
    content = np.ascontiguousarray(tokens, dtype="<i4")
    buffers = [None, pa.py_buffer(bounds), pa.py_buffer(content)]
    return _hashed(pa.LargeBinaryArray.from_buffers(pa.large_binary(), len(bounds) - 1, buffers))


def locate(wanted: Keys, among: Keys) -> npt.NDArray[np.int64]:
    """Return the first row of `among` that equals each wanted key, (n,); -1 if there is none."""
    if not len(wanted) or not len(among):
        return np.full(len(wanted), -1, np.int64)
    found = pc.index_in(_arrow(wanted), value_set=_arrow(among))
    return np.asarray(found.fill_null(-1), dtype=np.int64)


def first_occurrences(keys: Keys) -> npt.NDArray[np.int64]:
    """Return the rows where a key occurs for the first time, rising, (m,) for m distinct keys."""
    rows = locate(keys, keys)
    return np.flatnonzero(rows == np.arange(len(keys)))


def _hashed(contents: "pa.LargeBinaryArray") -> Keys:
    """Hash each value; within a block, `map` loops instead of Python code."""
    joined = b"".join(_digests(contents))
    return np.frombuffer(joined, dtype="<u8").reshape(-1, 2)


def _digests(contents: "pa.LargeBinaryArray") -> Iterator[bytes]:
    for start in range(0, len(contents), _BLOCK):
        yield b"".join(map(_digest, map(_hash, contents.slice(start, _BLOCK).to_pylist())))


def _arrow(keys: Keys) -> "pa.FixedSizeBinaryArray":
    buffer = pa.py_buffer(np.ascontiguousarray(keys))
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(_BYTES), len(keys), [None, buffer])
