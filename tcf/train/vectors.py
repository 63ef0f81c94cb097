"""The cached vectors of a dataset's items, at hand for training: on the device, or left in the cache's memory maps.

Shapes: N items, R cache rows that they use (items of equal text share one), U items asked for, V width of a vector.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tcf.data.cache import VectorCache
from tcf.data.dataset import Dataset
from tcf.errors import CacheError

__all__ = ["ItemVectors", "load_item_vectors"]

_SHARE_OF_MEMORY = 0.25
_CHUNK_ROWS = 16384


@dataclass(frozen=True)
class ItemVectors:
    """Every item's cached vector, in the stored type.

    Attributes:
        cache: where the vectors are.
        cache_rows_R: the distinct rows of the cache that the items use.
        rows_N: place of each item's vector in `cache_rows_R`.
        table_RV: the vectors on the device; None where they stay in the cache.
        device: where vectors are wanted.
    """

    cache: VectorCache
    cache_rows_R: npt.NDArray[np.int64]
    rows_N: Tensor
    table_RV: Tensor | None
    device: torch.device

    @property
    def width(self) -> int:
        """V, numbers a vector."""
        return self.cache.width

    def of(self, items_U: Tensor) -> Tensor:
        """The vectors of these items, (U, V)."""
        rows_U = self.rows_N[items_U]
        if self.table_RV is not None:
            return self.table_RV[rows_U]
        return self._read(self.cache_rows_R[rows_U.cpu().numpy()])

    def chunks(self) -> Iterator[Tensor]:
        """All R vectors in order, some thousands at a time, (at most 16384, V)."""
        for start in range(0, len(self.cache_rows_R), _CHUNK_ROWS):
            part = slice(start, start + _CHUNK_ROWS)
            yield self._read(self.cache_rows_R[part]) if self.table_RV is None else self.table_RV[part]

    def _read(self, cache_rows: npt.NDArray[np.int64]) -> Tensor:
        return torch.from_numpy(self.cache.gather(cache_rows)).to(self.device)


def load_item_vectors(
    cache: VectorCache, dataset: Dataset, device: torch.device, *, resident: bool | None = None
) -> ItemVectors:
    """Find the items' vectors in a cache and put them on the device where they fit.

    Args:
        cache: holds a vector for each item.
        dataset: whose items they are.
        device: where the model computes.
        resident: whether to put them on the device; None: if they take at most a quarter of its memory
            (on a GPU: of what is free).

    Raises:
        CacheError: items have no vector yet, or a vector holds a number that is not finite.
    """
    cache_rows_R, rows_N = np.unique(cache.rows_for(dataset), return_inverse=True)
    size = len(cache_rows_R) * cache.width * cache.dtype.itemsize
    if resident is None:
        resident = size <= _SHARE_OF_MEMORY * _memory(device)
    table_RV = torch.from_numpy(cache.gather(cache_rows_R)).to(device) if resident else None
    vectors = ItemVectors(cache, cache_rows_R, torch.from_numpy(rows_N).to(device), table_RV, device)
    _check_finite(vectors, dataset)
    return vectors


def _check_finite(vectors: ItemVectors, dataset: Dataset) -> None:
    start = 0
    for chunk in vectors.chunks():
        bad = torch.nonzero(~chunk.isfinite().all(dim=1)).flatten()
        if len(bad):
            item = int(torch.nonzero(vectors.rows_N == start + int(bad[0]))[0])
            path, name = vectors.cache.path, dataset.item_ids[item].as_py()
            raise CacheError(
                f"{path}: expected finite numbers, found others in the vector of item {name}; "
                f"run `tcf cache verify {path}`, remove the shard that it names and extract again"
            )
        start += len(chunk)


def _memory(device: torch.device) -> int:
    """Bytes to share: what is free on a GPU, all that is installed beside a CPU."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
