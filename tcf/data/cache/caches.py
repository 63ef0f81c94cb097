"""The vector cache: all vectors of one encoder, found by what was read, whichever dataset asked first."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tcf.common.manifest import Manifest
from tcf.data.cache.cache_base import CacheBase, Rows
from tcf.data.cache.cache_files import VECTORS, Vectors, map_part
from tcf.data.dataset import Dataset
from tcf.data.readahead import request_rows

__all__ = ["VectorCache"]


@dataclass(frozen=True)
class VectorCache(CacheBase[Vectors]):
    """A cache of vectors; each shard is a memory map, (rows, width)."""

    kind = VECTORS

    @staticmethod
    def _map(folder: Path, shard: Manifest, cache: Manifest) -> Vectors:
        shape = (int(shard.facts["rows"]), int(cache.facts["width"]))
        return map_part(folder / "vectors.npy", shape, np.dtype(str(cache.config["storage"])))

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type that vectors are stored in."""
        return np.dtype(self.storage)

    def row_bytes(self, rows: Rows) -> Rows:
        """Bytes that each of these rows takes, (n,)."""
        return np.full(len(rows), self.width * self.dtype.itemsize, np.int64)

    def arrays(self, rows: Rows) -> Mapping[str, npt.NDArray[Any]]:
        """The content of a shard made of these rows, by file name, its keys left out."""
        return {"vectors.npy": self.gather(rows)}

    def gather(self, rows: Rows, *, request: bool = False) -> Vectors:
        """Copy rows out of the memory maps, (n, width), in the order asked for; other threads run meanwhile.

        Args:
            rows: rows of the cache.
            request: whether to ask the system for all of them first; faster where they are not in memory.

        Raises:
            IndexError: a row is not in the cache.
        """
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
            # Rows were checked; "clip" lets NumPy write in place.
            np.take(shard, within, axis=0, out=out[places[0] : places[-1] + 1], mode="clip")
        return out

    def vectors_for(self, dataset: Dataset) -> Vectors:
        """Every item's vector, in item order, (n_items, width), in the stored type.

        Raises:
            CacheError: some items' texts have no vector yet; says how many, and what to run.
        """
        return self.gather(self.rows_for(dataset))

    def _counts(self) -> dict[str, int]:
        return {"vectors": self.n_rows, "bytes": self.n_rows * self.width * self.dtype.itemsize}
