"""Quantised weights of a checkpoint: their tensors, read and dequantised when they are needed.

Shapes: N outputs and K inputs of a linear layer.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tcf.common.errors import ModelError, os_error_words, shape_words
from tcf.encoders.split.stored_tensors import StoredTensor

__all__ = ["LazyWeight", "QuantisedWeight", "Tensors", "mismatched", "read_tensor", "spread", "tile_of"]

Tensors = Mapping[str, StoredTensor]


@dataclass(frozen=True, eq=False)
class LazyWeight:
    """A weight that is read when transformers' loader takes it, as slices of safetensors files are.

    Attributes:
        make: reads, and dequantises, the weight.
    """

    make: Callable[[], Tensor]

    def __getitem__(self, _: Any) -> Tensor:
        """Return the whole weight, for `[...]`."""
        return self.make()


@dataclass(frozen=True, eq=False)
class QuantisedWeight:
    """A weight that several tensors of a checkpoint describe.

    Attributes:
        name: name of the weight in the model that was quantised.
        tensors: names of the tensors in the checkpoint.
        make: reads and dequantises it, in float32.
    """

    name: str
    tensors: tuple[str, ...]
    make: Callable[[], Tensor]


def read_tensor(stored: StoredTensor) -> Tensor:
    """Read a tensor of a checkpoint.

    Raises:
        ModelError: the file cannot be read or is too short.
    """
    try:
        data = np.fromfile(stored.file, np.uint8, stored.nbytes, offset=stored.offset)
    except OSError as error:
        raise ModelError(
            f"{stored.file}: {stored.name} cannot be read ({os_error_words(error)}); check the disk and its mount"
        ) from None
    if len(data) < stored.nbytes:
        raise ModelError(
            f"{stored.file}: expected {stored.nbytes} bytes of {stored.name}, found {len(data)}; download it again"
        )
    return torch.from_numpy(data).view(stored.dtype).view(stored.shape)


def tile_of(
    weight: tuple[int, ...], scale: tuple[int, ...], tiles: Iterable[tuple[int, int]]
) -> tuple[int, int] | None:
    """Return how many rows and columns of a weight share a scale.

    Args:
        weight: shape of the weight, (..., N, K).
        scale: shape of its scales; a single one, one per row (N,), or (..., rows, columns) of tiles.
        tiles: the possible sizes of a tile, in rows and columns; -1 for all.

    Returns:
        The first that explains the shape of the scales; None if none does.
    """
    n, k = weight[-2:]
    for rows, columns in tiles:
        size = (n if rows < 0 else rows, k if columns < 0 else columns)
        of_tiles = (-(-n // size[0]), -(-k // size[1]))
        flat = (of_tiles[0],) if of_tiles[1] == 1 and len(weight) == 2 else None
        single = of_tiles == (1, 1) and scale in ((), (1,), weight[:-2])
        if single or scale in (flat, (*weight[:-2], *of_tiles)):
            return size
    return None


def spread(values: Tensor, shape: tuple[int, ...], tile: tuple[int, int]) -> Tensor:
    """Return the value of each element's tile, (..., N, K) in float32; the last tiles may be cut off.

    Args:
        values: one value per tile, in a shape that `tile_of` accepts.
        shape: shape of the weight, (..., N, K).
        tile: rows and columns of a tile.
    """
    n, k = shape[-2:]
    of_tiles = values.float().view(*shape[:-2], -(-n // tile[0]), -(-k // tile[1]))
    rows = of_tiles.repeat_interleave(tile[0], dim=-2)[..., :n, :]
    return rows.repeat_interleave(tile[1], dim=-1)[..., :k]


def mismatched(stored: StoredTensor, expected: str) -> ModelError:
    """Return the error for a tensor of a quantised weight that has an unexpected type or shape."""
    kind = str(stored.dtype).removeprefix("torch.")
    return ModelError(
        f"{stored.file}: expected {stored.name} {expected}, as quantization_config in config.json says, found {kind} "
        f"of shape {shape_words(stored.shape)}; download the model again, or use the one that was quantised"
    )
