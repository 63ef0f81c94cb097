"""The rows of the items' vectors in one cache, or in several whose vectors are concatenated.

Shapes: N items, R distinct items (items with the same row in every cache are one), U requested items, V width of a
cache's vector.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tcf.common.errors import CacheError
from tcf.common.memory import installed_memory
from tcf.config.extract import REPAIR
from tcf.data.cache.caches import VectorCache
from tcf.data.dataset import Dataset

__all__ = ["ItemSources", "VectorSource", "parts_of"]

RowIndices = npt.NDArray[np.int64]
_NUMBERS_AT_ONCE = 2**24
_SHARE_OF_MEMORY = 0.5


@dataclass(frozen=True)
class VectorSource:
    """The rows of one cache.

    Attributes:
        cache: the cache.
        rows_R: the cache row of each distinct item.
        dataset: the dataset of the items.
        items_R: for each distinct item, the index of one item that it represents.
    """

    cache: VectorCache
    rows_R: RowIndices
    dataset: Dataset
    items_R: RowIndices

    @cached_property
    def outgrows_memory(self) -> bool:
        """Whether the rows take more than half of the installed memory, so that the page cache cannot keep them all."""
        size = len(self.rows_R) * self.cache.width * self.cache.dtype.itemsize
        return size > _SHARE_OF_MEMORY * installed_memory()

    def read(self, places_U: RowIndices, device: torch.device) -> Tensor:
        """The stored vectors of the given distinct items, (U, V), in the stored type."""
        stored_UV = torch.from_numpy(self.cache.gather(self.rows_R[places_U], request=self.outgrows_memory))
        if device.type != "cuda":
            return stored_UV
        return stored_UV.pin_memory().to(device, non_blocking=True)

    def chunks(self, places: RowIndices, device: torch.device) -> Iterator[tuple[RowIndices, Tensor]]:
        """Read distinct items in parts of bounded size.

        Yields:
            Positions among the distinct items, and their stored vectors, which are finite.

        Raises:
            CacheError: a vector holds a number that is not finite.
        """
        for part in parts_of(places, self.cache.width):
            stored_UV = self.read(part, device)
            bad = torch.nonzero(~stored_UV.isfinite().all(dim=1)).flatten()
            if len(bad):
                raise self._not_finite(int(part[int(bad[0])]))
            yield part, stored_UV

    def _not_finite(self, place: int) -> CacheError:
        path, name = self.cache.path, self.dataset.item_ids[int(self.items_R[place])].as_py()
        return CacheError(
            f"{path}: expected finite numbers, found infinite or undefined ones in the vector of item {name}; {REPAIR}"
        )


@dataclass(frozen=True)
class ItemSources:
    """Every item's row in each cache.

    Attributes:
        sources: one per cache, in the order of the caches.
        rows_N: the position of each item among the distinct items.
    """

    sources: tuple[VectorSource, ...]
    rows_N: RowIndices

    @staticmethod
    def find(caches: Sequence[VectorCache], dataset: Dataset) -> "ItemSources":
        """Look up the items in one or more caches.

        Args:
            caches: each holds a vector for every item.
            dataset: the dataset of the items.

        Raises:
            CacheError: items have no vector yet, or a shard is damaged.
        """
        of_caches = [cache.rows_for(dataset) for cache in caches]
        for cache, of_cache in zip(caches, of_caches, strict=True):
            cache.verify_rows(of_cache)
        _, items_R, rows_N = _distinct(of_caches[0])
        for cache, of_cache in zip(caches[1:], of_caches[1:], strict=True):
            _, items_R, rows_N = _distinct(rows_N * cache.n_rows + of_cache)
        sources = (VectorSource(c, rows[items_R], dataset, items_R) for c, rows in zip(caches, of_caches, strict=True))
        return ItemSources(tuple(sources), rows_N)

    @property
    def n_distinct(self) -> int:
        """R, the number of distinct items."""
        return len(self.sources[0].rows_R)


def parts_of(places: RowIndices, width: int) -> Iterator[RowIndices]:
    """Split positions into parts whose vectors of this width take little memory."""
    rows = min(16384, max(256, _NUMBERS_AT_ONCE // width))
    for start in range(0, len(places), rows):
        yield places[start : start + rows]


def _distinct(rows: RowIndices) -> tuple[RowIndices, RowIndices, RowIndices]:
    """The distinct rows in ascending order, the first index of each, and the position of each entry among them."""
    found, first, inverse = np.unique(rows, return_index=True, return_inverse=True)
    return found, first, inverse
