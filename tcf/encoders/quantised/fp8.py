"""Weights in 8-bit floating point with scales: one per tensor, per row, or per block of rows and columns.

transformers 5.23, integrations/finegrained_fp8.py, `_dequantize_fp8_weight`: a weight is multiplied by the scale of its
block, although the tensor is named `weight_scale_inv`; the last blocks of rows and columns may be smaller.
"""

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor

from tcf.encoders.quantised.method import Quantisation, refused_quantisation
from tcf.encoders.quantised.weights import QuantisedWeight, Tensors, mismatched, read_tensor, spread, tile_of
from tcf.encoders.split.stored_tensors import StoredTensor

__all__ = ["FLOAT8", "fp8_weights"]

FLOAT8 = (torch.float8_e4m3fn, torch.float8_e5m2, torch.float8_e4m3fnuz, torch.float8_e5m2fnuz)
_SUFFIXES = ("_scale_inv", "_scale")


def fp8_weights(quantisation: Quantisation, tensors: Tensors) -> Iterator[QuantisedWeight]:
    """Yield the weights in FP8, with their scales.

    Raises:
        ModelError: a scale has another type or shape than the configuration says.
    """
    tiles = _tiles(quantisation)
    for name, scale in tensors.items():
        suffix = next((one for one in _SUFFIXES if name.endswith(one)), None)
        weight = tensors.get(name.removesuffix(suffix)) if suffix else None
        if weight is None:
            continue
        if weight.dtype not in FLOAT8:
            kind = str(weight.dtype).removeprefix("torch.")
            raise refused_quantisation(weight.file, f"{quantisation.method} weights", f"in {kind} ({weight.name})")
        if scale.dtype not in (torch.float32, torch.float16, torch.bfloat16, torch.float8_e8m0fnu):
            raise mismatched(scale, "in a floating-point type")
        tile = tile_of(weight.shape, scale.shape, tiles) if len(weight.shape) >= 2 else None
        if tile is None:
            raise mismatched(scale, f"with a number for each {' or '.join(map(_words, tiles))} of the weight")
        yield QuantisedWeight(weight.name, (weight.name, name), partial(_dequantise, weight, scale, tile))


def _tiles(quantisation: Quantisation) -> list[tuple[int, int]]:
    """Return the possible tiles: blocks if the configuration names their size, and otherwise tensors and rows."""
    block = quantisation.entries.get("weight_block_size")
    match block:
        case [int(rows), int(columns)] if rows > 0 and columns > 0:
            return [(rows, columns)]
        case None:
            return [(-1, -1), (1, -1)]
        case _:
            raise refused_quantisation(quantisation.file, "fp8", f"with weight_block_size {str(block)[:40]}")


def _words(tile: tuple[int, int]) -> str:
    match tile:
        case (-1, -1):
            return "tensor"
        case (1, -1):
            return "row"
        case _:
            return f"block of {tile[0]} x {tile[1]}"


def _dequantise(weight: StoredTensor, scale: StoredTensor, tile: tuple[int, int]) -> Tensor:
    return read_tensor(weight).float().mul_(spread(read_tensor(scale), weight.shape, tile))
