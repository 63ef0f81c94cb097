"""The cached vectors of a dataset's items for training: on the device, or left in the caches' memory maps.

Shapes: N items, R distinct items, U requested items, W numbers of an item: of all caches, in all their F forms.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tcf.common.errors import ConfigError
from tcf.common.memory import installed_memory
from tcf.train.vectors.cache_rows import ItemSources, VectorSource, parts_of
from tcf.train.vectors.projection import Transform

__all__ = ["ItemVectors", "VectorLayout", "load_item_vectors"]

_SHARE_OF_MEMORY = 0.25
_MIB = 2**20


@dataclass(frozen=True)
class VectorLayout:
    """What the W numbers of an item are: one form after the other, and in each form one cache after the other.

    Attributes:
        forms: F, the number of forms of each vector.
        widths: the width of each cache's vector, the same in every form.
    """

    forms: int
    widths: tuple[int, ...]

    @property
    def width(self) -> int:
        """W."""
        return self.forms * sum(self.widths)

    def join(self, of_caches: Sequence[Tensor]) -> Tensor:
        """Lay out what the caches' transforms give, each (U, F width), as (U, W)."""
        if len(of_caches) == 1:
            return of_caches[0]
        if self.forms == 1:
            return torch.cat([*of_caches], dim=1)
        return torch.cat([torch.unflatten(part, 1, (self.forms, -1)) for part in of_caches], dim=2).flatten(1)


@dataclass(frozen=True)
class ItemVectors:
    """Every item's cached vector: of one cache, or of several, each transformed separately, side by side.

    Attributes:
        found: the rows in the caches.
        transforms: the transform of each cache's vectors.
        rows_N: the position of each item among the distinct items, on the device.
        table_RW: the transformed vectors on the device; None if they stay in the caches.
        device: where vectors are needed.
    """

    found: ItemSources
    transforms: tuple[Transform, ...]
    rows_N: Tensor
    table_RW: Tensor | None
    device: torch.device

    @property
    def on_device(self) -> bool:
        """Whether the vectors are on the device, so that prefetching them gains nothing."""
        return self.table_RW is not None

    @cached_property
    def layout(self) -> VectorLayout:
        """What the numbers of an item are."""
        widths = tuple(transform.width(source.cache.width) for source, transform in self._pairs)
        return VectorLayout(self.transforms[0].forms, widths)

    @property
    def width(self) -> int:
        """W, the numbers of an item."""
        return self.layout.width

    @cached_property
    def dtype(self) -> torch.dtype:
        """Type of the numbers: the stored type if they are not transformed."""
        types = [t.dtype(getattr(torch, s.cache.dtype.name)) for s, t in self._pairs]
        return types[0] if len(set(types)) == 1 else torch.float32

    @property
    def size(self) -> int:
        """Bytes that all vectors take, or would take, on the device."""
        return self.found.n_distinct * self.width * self.dtype.itemsize

    def of(self, items_U: Tensor) -> Tensor:
        """The vectors of these items, (U, W), from the device or the caches."""
        if self.table_RW is not None:
            return self.table_RW[self.rows_N[items_U]]
        return self.read_items(items_U.cpu().numpy())

    def read_items(self, items_U: npt.NDArray[np.int64]) -> Tensor:
        """The vectors of these items, (U, W), read from the caches without synchronising with the device."""
        return self.read(self.found.rows_N[items_U])

    def chunks(self) -> Iterator[Tensor]:
        """The vectors of all R distinct items in order, a bounded number at a time."""
        for part in parts_of(np.arange(self.found.n_distinct), self.width):
            yield self.read(part) if self.table_RW is None else self.table_RW[int(part[0]) : int(part[-1]) + 1]

    def read(self, places_U: npt.NDArray[np.int64]) -> Tensor:
        """The vectors of these distinct items, (U, W), read from the caches."""
        return self.layout.join([transform(source.read(places_U, self.device)) for source, transform in self._pairs])

    @property
    def _pairs(self) -> Iterator[tuple[VectorSource, Transform]]:
        return zip(self.found.sources, self.transforms, strict=True)


def load_item_vectors(
    found: ItemSources,
    device: torch.device,
    *,
    transforms: Sequence[Transform] | None = None,
    table: Literal["auto", "device", "cache"] = "auto",
) -> ItemVectors:
    """Check the vectors of all items, and copy them to the device if they should be kept there.

    Args:
        found: the rows in the caches.
        device: where the model computes.
        transforms: the transform of each cache's vectors; no transform if None.
        table: where to keep them; auto: on the device if they take at most a quarter of its memory (of a GPU's free
            memory, or of the RAM that the machine or container has).

    Raises:
        CacheError: a vector holds a number that is not finite.
        ConfigError: `table` is device, and they are larger than its memory.
    """
    chosen = (Transform(None, False),) * len(found.sources) if transforms is None else tuple(transforms)
    placed = tuple(transform.to(device) for transform in chosen)
    vectors = ItemVectors(found, placed, torch.from_numpy(found.rows_N).to(device), None, device)
    if not _fits(vectors, table):
        _check(vectors)
        return vectors
    table_RW = torch.empty(found.n_distinct, vectors.width, dtype=vectors.dtype, device=device)
    _check(vectors, table_RW)
    return ItemVectors(found, placed, vectors.rows_N, table_RW, device)


def _fits(vectors: ItemVectors, table: Literal["auto", "device", "cache"]) -> bool:
    """Whether to keep the vectors on the device."""
    size, memory = vectors.size, _memory(vectors.device)
    if table == "device" and size > memory:
        raise ConfigError(
            f"--table device: expected cached vectors of at most {memory // _MIB} MiB, the memory of "
            f"{vectors.device}, found {size // _MIB} MiB; use --table cache, or --whiten or --pca to fewer dimensions"
        )
    return table == "device" or (table == "auto" and size <= _SHARE_OF_MEMORY * memory)


def _check(vectors: ItemVectors, into_RW: Tensor | None = None) -> None:
    """Read every vector once, and transform it into a table if there is one."""
    first, forms = 0, vectors.layout.forms
    into_RFW = None if into_RW is None else torch.unflatten(into_RW, 1, (forms, -1))
    for source, transform in zip(vectors.found.sources, vectors.transforms, strict=True):
        width = transform.width(source.cache.width)
        for part, stored_UV in source.chunks(np.arange(vectors.found.n_distinct), vectors.device):
            if into_RFW is not None:
                found_UFW = torch.unflatten(transform(stored_UV), 1, (forms, -1))
                into_RFW[int(part[0]) : int(part[-1]) + 1, :, first : first + width] = found_UFW
        first += width


def _memory(device: torch.device) -> int:
    """Available bytes: the free memory of a GPU; for a CPU, all RAM of the machine or container."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return installed_memory()
