"""The two kinds of vector cache: one vector for each text, or the states of all its tokens.

A cache holds the output of one encoder for all texts, found by token sequence, whichever dataset a text came from.
Token states are the output of one block of a language model for every token; they allow tuning the layers above that
block without recomputing the layers below.

Shapes: n token sequences, nnz tokens of all of them, width numbers for each vector or token.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tcf.common.errors import CacheError
from tcf.common.integrity.checksums import Verify
from tcf.common.integrity.verified_files import verified_source
from tcf.common.manifest import Manifest
from tcf.common.ragged import offsets_from, spans
from tcf.data.cache.cache_base import CacheBase, RowIndices, opened
from tcf.data.cache.cache_files import TOKEN_STATES, VECTORS, Vectors, kind_of, map_part, remedy
from tcf.data.cache.writer import publish_shard, shard_path
from tcf.data.data_frames import data_frame
from tcf.data.dataset import Dataset
from tcf.data.histories import index_array
from tcf.data.keys import Keys
from tcf.data.npy_files import load_array, request_rows

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["TokenShard", "TokenStates", "VectorCache", "open_cache", "stored_dtype", "write_token_shard"]

States = npt.NDArray[Any]


@dataclass(frozen=True, repr=False, eq=False)
class VectorCache(CacheBase[Vectors]):
    """A cache of vectors; each shard is a memory map, (rows, width)."""

    kind = VECTORS

    @staticmethod
    def _map(folder: Path, shard: Manifest, cache: Manifest) -> Vectors:
        shape = (int(shard.facts["rows"]), int(cache.facts["width"]))
        return map_part(folder / "vectors.npy", shape, np.dtype(str(cache.config["storage"])))

    @property
    def dtype(self) -> np.dtype[Any]:
        """Storage type of the vectors."""
        return np.dtype(self.storage)

    def row_bytes(self, rows: RowIndices) -> RowIndices:
        """Return the size of each row in bytes, (n,)."""
        return np.full(len(index_array(rows, "rows")), self.width * self.dtype.itemsize, np.int64)

    def arrays(self, rows: RowIndices) -> Mapping[str, npt.NDArray[Any]]:
        """Return the content of a shard made of these rows, by file name, without its keys."""
        return {"vectors.npy": self.gather(rows)}

    def gather(self, rows: RowIndices, *, request: bool = False) -> Vectors:
        """Copy rows out of the memory maps, (n, width), in the given order; other threads run meanwhile.

        Args:
            rows: rows of the cache.
            request: whether to request all of them from the system first; faster if they are not in memory.

        Raises:
            ConfigError: `rows` is not an array of whole numbers.
            IndexError: a row is not in the cache.
        """
        rows = index_array(rows, "rows")
        out = np.empty((len(rows), self.width), self.dtype)
        if (rows[1:] < rows[:-1]).any():
            order = np.argsort(rows, kind="stable")
            out[order] = self.gather(rows[order], request=request)
            return out
        parts = list(self.by_shard(rows))
        if request:
            for shard, within, _ in parts:
                request_rows(shard, within)
        for shard, within, places in parts:
            # The rows have been checked; "clip" lets NumPy write in place.
            np.take(shard, within, axis=0, out=out[places[0] : places[-1] + 1], mode="clip")
        return out

    def vectors_for(self, dataset: Dataset | str | os.PathLike[str]) -> Vectors:
        """Return every item's vector, in item order, (n_items, width), in the storage type.

        Args:
            dataset: the dataset, or its directory.

        Raises:
            ConfigError: it is neither.
            CacheError: the texts of some items have no vector yet; states how many, and the command to run.
        """
        return self.gather(self.rows_for(dataset))

    def to_pandas(self, dataset: Dataset | str | os.PathLike[str] | None = None) -> "pd.DataFrame":
        """The vectors of a dataset's items as a pandas frame: a row for each item, named by its id, a column a number.

        Args:
            dataset: the dataset, or its directory; None for the only one that the cache knows.

        Raises:
            CacheError: items have no vector yet, or the cache does not know exactly one dataset.
            ConfigError: pandas is not installed.
        """
        found = opened(self.only_dataset() if dataset is None else dataset)
        frame = data_frame(pa.table({"item_id": found.item_ids})).set_index("item_id")
        # pandas cannot print all float16 numbers; the conversion is exact.
        return type(frame)(self.vectors_for(found).astype(np.float32), index=frame.index)

    def _counts(self) -> dict[str, int]:
        return {"vectors": self.n_rows, "bytes": self.n_rows * self.width * self.dtype.itemsize}


@dataclass(frozen=True)
class TokenShard:
    """The memory-mapped content of a shard.

    Attributes:
        offsets: (rows + 1,) row i has states[offsets[i]:offsets[i + 1]].
        states: (nnz, width) in the storage type.
    """

    offsets: npt.NDArray[np.int64]
    states: States


def stored_dtype(storage: str) -> np.dtype[Any]:
    """Return the NumPy type for a storage type; bfloat16, which NumPy lacks, is stored as its bits in uint16."""
    return np.dtype("uint16" if storage == "bfloat16" else storage)


def write_token_shard(
    path: Path, keys: Keys, states: States, offsets: npt.NDArray[np.int64], metadata: Mapping[str, Any] | None = None
) -> None:
    """Publish a shard; if another worker has published the same one, this one is discarded.

    Args:
        path: the cache directory.
        keys: (rows, 2) the token sequence of each row.
        states: (nnz, width) in the storage type of the cache; bfloat16 as its bits in uint16.
        offsets: (rows + 1,) row i has states[offsets[i]:offsets[i + 1]].
        metadata: how the states were computed, for the shard's manifest.
    """
    arrays = {"offsets.npy": offsets.astype(np.int64), "states.npy": states}
    publish_shard(shard_path(path, keys), TOKEN_STATES, keys, arrays, metadata or {})


@dataclass(frozen=True, repr=False, eq=False)
class TokenStates(CacheBase[TokenShard]):
    """A cache of token states, read through memory maps."""

    kind = TOKEN_STATES

    @staticmethod
    def _map(folder: Path, shard: Manifest, cache: Manifest) -> TokenShard:
        rows, tokens = int(shard.facts["rows"]), int(shard.facts["tokens"])
        source = verified_source(folder, "offsets.npy", shard, TOKEN_STATES.shard, remedy=remedy(folder))
        offsets = load_array(folder / "offsets.npy", CacheError, remedy(folder), source)
        whole = offsets.dtype == np.int64 and offsets.shape == (rows + 1,) and offsets[0] == 0
        if not whole or offsets[-1] != tokens or (np.diff(offsets) < 0).any():
            raise CacheError(
                f"{folder / 'offsets.npy'}: expected {rows + 1} int64 rising from 0 to {tokens}, found other numbers; "
                f"{remedy(folder)}"
            )
        dtype = stored_dtype(str(cache.config["storage"]))
        return TokenShard(offsets, map_part(folder / "states.npy", (tokens, int(cache.facts["width"])), dtype))

    @property
    def dtype(self) -> np.dtype[Any]:
        """NumPy type of the stored numbers; for bfloat16 uint16, their bits."""
        return stored_dtype(self.storage)

    @property
    def n_tokens(self) -> int:
        """Number of tokens of all rows."""
        return sum(len(shard.states) for shard in self.shards)

    def lengths(self, rows: RowIndices) -> RowIndices:
        """Return the number of tokens of each row, (n,)."""
        rows = index_array(rows, "rows")
        out = np.empty(len(rows), np.int64)
        for shard, within, places in self.by_shard(rows):
            out[places] = shard.offsets[within + 1] - shard.offsets[within]
        return out

    def row_bytes(self, rows: RowIndices) -> RowIndices:
        """Return the size of each row in bytes, (n,)."""
        return self.lengths(rows) * self.width * self.dtype.itemsize

    def arrays(self, rows: RowIndices) -> Mapping[str, npt.NDArray[Any]]:
        """Return the content of a shard made of these rows, by file name, without its keys."""
        states, offsets = self.gather(rows)
        return {"offsets.npy": offsets, "states.npy": states}

    def gather(self, rows: RowIndices) -> tuple[States, npt.NDArray[np.int64]]:
        """Copy the states of rows out of the memory maps, in the given order.

        Returns:
            (nnz, width) states in the storage type, and (n + 1,) offsets: row i has states[offsets[i]:offsets[i + 1]].

        Raises:
            ConfigError: `rows` is not an array of whole numbers.
            IndexError: a row is not in the cache.
        """
        offsets = offsets_from(self.lengths(rows))
        states = np.empty((int(offsets[-1]), self.width), self.dtype)
        for shard, within, places in self.by_shard(rows):
            lengths = offsets[places + 1] - offsets[places]
            states[spans(offsets[places], lengths)] = shard.states[spans(shard.offsets[within], lengths)]
        return states, offsets

    def _counts(self) -> dict[str, int]:
        size = self.n_tokens * self.width * self.dtype.itemsize
        return {"sequences": self.n_rows, "tokens": self.n_tokens, "bytes": size}


def open_cache(path: str | Path, *, verify: Verify = "once") -> VectorCache | TokenStates:
    """Open a cache of vectors or of token states.

    Args:
        path: the directory.
        verify: whether large files that this machine has verified are verified again.

    Raises:
        CacheError: there is no cache, or it is damaged.
    """
    if kind_of(Path(path)) is TOKEN_STATES:
        return TokenStates.open(path, verify=verify)
    return VectorCache.open(path, verify=verify)
