"""Strings encoded as whole numbers, block by block: equal strings get equal codes, in order of first appearance.

Codes are exact: strings are compared, not only their hashes. As long as all strings have one length, as ids often do,
they go into a hash table (`id_hash_table`); from the first string of another length on, Arrow encodes them. Memory
holds the distinct strings, 4 bytes for each string and, with Arrow, the strings waiting to be encoded: twice the bytes
of the distinct ones, or 8 MiB.
"""

from dataclasses import dataclass
from types import TracebackType
from typing import Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tcf.common.threads import BackgroundWorker
from tcf.data.events.id_hash_table import IdHashTable, words_of

__all__ = ["Encoded", "IdEncoder"]

_PENDING_BYTES = 8 << 20
_PENDING_SHARE = 2  # pending bytes per byte of the distinct strings, which are hashed again each time
_FEW_RUNS = 0.8  # runs per string; with more, repeating the codes costs what it saves


@dataclass(frozen=True)
class Encoded:
    """Strings as codes.

    Attributes:
        values: the distinct strings, in order of first appearance.
        codes: (n,) int32 rows of `values`, one for each string that was added.
    """

    values: "pa.LargeStringArray"
    codes: npt.NDArray[np.int32]


class IdEncoder:
    """A context manager that encodes strings on a background thread as they arrive.

    Args:
        pending_bytes: least number of bytes to collect before encoding.

    Example:
        >>> with IdEncoder() as encoder:
        ...     encoder.add(pa.array(["b", "a"], pa.large_string()))
        ...     encoder.add(pa.array(["c", "b"], pa.large_string()))
        ...     encoded = encoder.finish()
        >>> encoded.values.to_pylist(), encoded.codes.tolist()
        (['b', 'a', 'c'], [0, 1, 2, 0])
    """

    def __init__(self, pending_bytes: int = _PENDING_BYTES) -> None:
        self._least = pending_bytes
        self._table: IdHashTable | None = None
        self._values: pa.LargeStringArray = pa.array([], pa.large_string())
        self._is_mixed = False
        self._pending: list[pa.LargeStringArray] = []
        self._size = 0
        self._codes: list[npt.NDArray[np.int32]] = []
        self._worker = BackgroundWorker()

    def __enter__(self) -> Self:
        self._worker.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the thread."""
        self._worker.__exit__(kind, error, trace)

    def add(self, strings: "pa.LargeStringArray") -> None:
        """Add more strings, without nulls."""
        self._pending.append(strings)
        self._size += strings.nbytes
        # Arrow hashes the distinct strings again each time, so many new ones must have accumulated.
        if self._size >= max(self._least, _PENDING_SHARE * self._values.nbytes):
            self.flush()

    def finish(self) -> Encoded:
        """Return the codes of all added strings; nothing can be added afterwards."""
        self.flush()
        self._worker.wait()
        codes, self._codes = self._codes, []
        values = self._values if self._table is None else self._table.values()
        return Encoded(values, np.concatenate([np.zeros(0, np.int32), *codes]))

    def flush(self) -> None:
        """Start encoding the pending strings on the thread."""
        pending, self._pending, self._size = self._pending, [], 0
        if pending:
            self._worker.do(lambda: self._encode(pending))

    def _encode(self, pending: "list[pa.LargeStringArray]") -> None:
        done = 0
        while done < len(pending) and not self._is_mixed:
            done += self._encode_by_table(pending[done])
        if pending[done:]:
            self._encode_by_arrow(pending[done:])

    def _encode_by_table(self, strings: "pa.LargeStringArray") -> bool:
        """Encode strings of the table's length; if another length occurs, abandon the table and return False."""
        if len(strings) == 0:
            return True
        found = words_of(strings)
        if found is None or (self._table is not None and self._table.length != found[0]):
            self._is_mixed = True
            if self._table is not None:
                self._values, self._table = self._table.values(), None
            return False
        length, words = found
        if self._table is None:
            self._table = IdHashTable(length)
        self._codes.append(self._table.encode(words))
        return True

    def _encode_by_arrow(self, pending: "list[pa.LargeStringArray]") -> None:
        """Encode strings by Arrow; the known values come first, so they keep their codes and new ones follow."""
        runs = [_without_runs(strings) for strings in pending]
        encoded = pc.dictionary_encode(pa.chunked_array([self._values, *(strings for strings, _ in runs)]))
        if len(encoded) == 0:
            return
        at = len(self._values)
        codes = np.concatenate([np.asarray(chunk.indices) for chunk in encoded.chunks])
        for strings, lengths in runs:
            own = codes[at : at + len(strings)]
            self._codes.append(own if lengths is None else np.repeat(own, lengths))
            at += len(strings)
        self._values = encoded.chunk(0).dictionary


def _without_runs(
    strings: "pa.LargeStringArray",
) -> "tuple[pa.LargeStringArray, npt.NDArray[np.int32] | None]":
    """Collapse equal neighbours; return the strings and how many each stands for (None: one each).

    Logs are often sorted by user, at least within a day, and comparing neighbours is far cheaper than hashing.
    """
    runs = pc.run_end_encode(strings, run_end_type=pa.int32())
    if len(runs.values) > _FEW_RUNS * len(strings):
        return strings, None
    return runs.values, np.diff(np.asarray(runs.run_ends), prepend=np.int32(0))
