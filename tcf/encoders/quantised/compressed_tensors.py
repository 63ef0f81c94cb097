"""Weights in the formats of compressed-tensors (llm-compressor): integers or FP8, plain or packed, with scales.

vllm-project/compressed-tensors 0.20.1, compressors/naive_quantized/base.py and compressors/pack_quantized/: a weight is
(q - zero point) * scale. Packed numbers are stored plus half of their range, in 32-bit words; packed zero points are
packed along the rows. N outputs, K inputs.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from tcf.encoders.quantised.fp8 import FLOAT8
from tcf.encoders.quantised.integers import unpack
from tcf.encoders.quantised.method import Quantisation, refused_quantisation
from tcf.encoders.quantised.weights import QuantisedWeight, Tensors, mismatched, read_tensor, spread, tile_of
from tcf.encoders.split.stored_tensors import StoredTensor

__all__ = ["compressed_weights"]

_PLAIN = ("naive-quantized", "int-quantized", "float-quantized")
_PACKED = "pack-quantized"
_DENSE = "dense"


@dataclass(frozen=True)
class _Scheme:
    """How the weights of a group of layers are quantised.

    Attributes:
        bits: bits of a number.
        tile: rows and columns that share a scale; -1 for all.
    """

    bits: int
    tile: tuple[int, int]


@dataclass(frozen=True)
class _Layer:
    """The tensors of a quantised weight.

    Attributes:
        q: its numbers, plain or packed.
        scale: its scales.
        zero_point: its zero points, or None.
        groups: the group of each input, or None if groups are runs of inputs.
    """

    q: StoredTensor
    scale: StoredTensor
    zero_point: StoredTensor | None
    groups: StoredTensor | None

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the tensors."""
        return tuple(one.name for one in (self.q, self.scale, self.zero_point, self.groups) if one is not None)


def compressed_weights(quantisation: Quantisation, tensors: Tensors) -> Iterator[QuantisedWeight]:
    """Yield the quantised weights of compressed-tensors.

    Raises:
        ModelError: they have a format that cannot be dequantised, or tensors that do not match.
    """
    schemes = _schemes(quantisation)
    for name, scale in tensors.items():
        base = name.removesuffix("_scale")
        if not name.endswith(".weight_scale"):
            continue
        q = tensors.get(base) or tensors.get(f"{base}_packed")
        if q is None:
            raise refused_quantisation(quantisation.file, "compressed-tensors", f"without {base}")
        layer = _Layer(q, scale, tensors.get(f"{base}_zero_point"), tensors.get(f"{base}_g_idx"))
        if q.name == base:
            yield _plain(base, layer, schemes)
        else:
            yield _packed(base, layer, tensors.get(f"{base}_shape"), quantisation, schemes)


def _schemes(quantisation: Quantisation) -> list[_Scheme]:
    entries = quantisation.entries
    groups = entries.get("config_groups")
    if not isinstance(groups, dict) or not all(isinstance(group, dict) for group in groups.values()):
        raise refused_quantisation(quantisation.file, "compressed-tensors", "without config_groups")
    formats = {
        str(found) for found in (entries.get("format"), *(group.get("format") for group in groups.values())) if found
    }
    others = sorted(formats - {*_PLAIN, _PACKED, _DENSE, "mixed-precision"})
    sparsity = entries.get("sparsity_config") or {}
    if sparsity.get("format", _DENSE) != _DENSE:
        others.append(str(sparsity["format"]))
    if others:
        raise refused_quantisation(quantisation.file, "compressed-tensors", f"in the format {others[0][:40]!r}")
    if (entries.get("transform_config") or {}).get("config_groups"):
        raise refused_quantisation(quantisation.file, "compressed-tensors", "with transforms of the activations")
    return [_scheme(quantisation, group["weights"]) for group in groups.values() if group.get("weights")]


def _scheme(quantisation: Quantisation, weights: Mapping[str, Any]) -> _Scheme:
    match weights:
        case {"num_bits": int(bits), "strategy": "tensor"}:
            return _Scheme(bits, (-1, -1))
        case {"num_bits": int(bits), "strategy": "channel"}:
            return _Scheme(bits, (1, -1))
        case {"num_bits": int(bits), "strategy": "group", "group_size": int(size)} if size > 0:
            return _Scheme(bits, (1, size))
        case {"num_bits": int(bits), "strategy": "block", "block_structure": [int(rows), int(columns)]}:
            return _Scheme(bits, (rows, columns))
        case _:
            found = f"with the strategy {str(weights.get('strategy'))[:40]!r}"
            raise refused_quantisation(quantisation.file, "compressed-tensors", found)


def _tile(layer: _Layer, shape: tuple[int, ...], schemes: list[_Scheme]) -> tuple[int, int]:
    tile = tile_of(shape, layer.scale.shape, [scheme.tile for scheme in schemes])
    if tile is None or not layer.scale.dtype.is_floating_point or layer.scale.dtype.itemsize < 2:
        raise mismatched(layer.scale, "with one of its config_groups' numbers of scales")
    if layer.groups is not None and layer.groups.shape != shape[-1:]:
        raise mismatched(layer.groups, f"with the group of each of {shape[-1]} inputs")
    return tile


def _plain(name: str, layer: _Layer, schemes: list[_Scheme]) -> QuantisedWeight:
    if layer.q.dtype not in (torch.int8, *FLOAT8) or len(layer.q.shape) < 2:
        raise mismatched(layer.q, "as a matrix of int8 or float8")
    tile = _tile(layer, layer.q.shape, schemes)
    if layer.zero_point is not None and layer.zero_point.shape != layer.scale.shape:
        raise mismatched(layer.zero_point, "with as many numbers as scales")
    return QuantisedWeight(name, layer.names, partial(_dequantise_plain, layer, tile))


def _dequantise_plain(layer: _Layer, tile: tuple[int, int]) -> Tensor:
    q = read_tensor(layer.q).float()
    zero = None if layer.zero_point is None else read_tensor(layer.zero_point)
    return _scaled(q, read_tensor(layer.scale), zero, layer.groups, tile)


def _packed(
    name: str, layer: _Layer, shape: StoredTensor | None, quantisation: Quantisation, schemes: list[_Scheme]
) -> QuantisedWeight:
    """Return a packed weight; which of several schemes it has follows from the number of its words and scales."""
    if shape is None or shape.shape != (2,) or layer.q.dtype != torch.int32 or len(layer.q.shape) != 2:
        raise mismatched(layer.q, f"as a matrix of int32, with {name}_shape")
    n, k = (int(size) for size in read_tensor(shape))
    fitting = [scheme for scheme in schemes if layer.q.shape == (n, -(-k * scheme.bits // 32))]
    bits = {scheme.bits for scheme in fitting}
    if len(bits) != 1:
        raise mismatched(layer.q, f"with {n} x {k} numbers of {' or '.join(str(one.bits) for one in schemes)} bits")
    (one,) = bits
    if one not in (2, 4, 8):
        # The package packed others without sharing words before 0.11, and densely since.
        raise refused_quantisation(quantisation.file, "compressed-tensors", f"with packed numbers of {one} bits")
    tile = _tile(layer, (n, k), fitting)
    zero = layer.zero_point
    of_tiles = (-(-n // tile[0]), -(-k // tile[1]))
    if (
        zero is not None
        and zero.shape != layer.scale.shape
        and zero.shape != (-(-of_tiles[0] * one // 32), of_tiles[1])
    ):
        raise mismatched(zero, "with as many numbers as scales")
    make = partial(_dequantise_packed, layer, (n, k), one, tile)
    return QuantisedWeight(name, (*layer.names, shape.name), make)


def _dequantise_packed(layer: _Layer, shape: tuple[int, int], bits: int, tile: tuple[int, int]) -> Tensor:
    half = 2 ** (bits - 1)
    q = (unpack(read_tensor(layer.q), bits, 1)[:, : shape[1]] - half).float()
    zero = None if layer.zero_point is None else read_tensor(layer.zero_point)
    if zero is not None and zero.dtype == torch.int32:
        zero = unpack(zero, bits, 0)[: -(-shape[0] // tile[0])] - half
    return _scaled(q, read_tensor(layer.scale), zero, layer.groups, tile)


def _scaled(
    q: Tensor, scale: Tensor, zero: Tensor | None, groups: StoredTensor | None, tile: tuple[int, int]
) -> Tensor:
    """Return a weight, (N, K), from its numbers; inputs in another order than their groups have `groups`."""
    index = None if groups is None else read_tensor(groups).long()
    if index is None or bool((index < 0).any()):  # negative: saved, but not used
        scales = spread(scale, tuple(q.shape), tile)
        return (q if zero is None else q - spread(zero, tuple(q.shape), tile)) * scales
    return (q if zero is None else q - zero.float()[:, index]) * scale.float()[:, index]
