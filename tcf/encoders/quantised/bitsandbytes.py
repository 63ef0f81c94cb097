"""Weights of bitsandbytes: 8-bit integers with a scale per row, or 4-bit codes with a scale per run of numbers.

bitsandbytes 0.50.2: `functional.QuantState.from_dict` and `dequantize_4bit` for 4 bits, where `quant_map` has the value
of each code, the first number is in the higher half of a byte, and the scales may themselves be 8-bit codes of
`nested_quant_map` with scales; `_ops.py`, `int8_vectorwise_dequant` for 8 bits.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from tcf.common.parsing import parse_json
from tcf.encoders.quantised.method import Quantisation, refused_quantisation
from tcf.encoders.quantised.weights import QuantisedWeight, Tensors, mismatched, read_tensor
from tcf.encoders.split.stored_tensors import StoredTensor

__all__ = ["bitsandbytes_weights"]

_STATE = ".quant_state.bitsandbytes__"
_LARGEST = 127  # of an 8-bit integer, which stands for the scale of its row


@dataclass(frozen=True)
class _FourBits:
    """A weight in 4 bits.

    Attributes:
        codes: two codes per byte.
        absmax: the scale of each run, or its code.
        quant_map: the value of each code.
        nested: scales and values of the codes in `absmax`, or None.
        shape: shape of the weight.
        run: numbers that share a scale.
        nested_run: scales that share a scale.
        offset: what is added to dequantised scales.
    """

    codes: StoredTensor
    absmax: StoredTensor
    quant_map: StoredTensor
    nested: tuple[StoredTensor, StoredTensor] | None
    shape: tuple[int, ...]
    run: int
    nested_run: int
    offset: float


def bitsandbytes_weights(quantisation: Quantisation, tensors: Tensors) -> Iterator[QuantisedWeight]:
    """Yield the weights of bitsandbytes.

    Raises:
        ModelError: their tensors do not match, or have a layout of a GPU.
    """
    for name in tensors:
        if name.endswith(".SCB"):
            yield _eight_bits(quantisation, name.removesuffix(".SCB"), tensors)
        elif _STATE in name:
            yield _four_bits(quantisation, name, tensors)


def _eight_bits(quantisation: Quantisation, prefix: str, tensors: Tensors) -> QuantisedWeight:
    scale, weight = tensors[f"{prefix}.SCB"], tensors.get(f"{prefix}.weight")
    if weight is None:
        raise refused_quantisation(quantisation.file, "bitsandbytes", f"without {prefix}.weight")
    if weight.dtype != torch.int8 or len(weight.shape) != 2:
        raise mismatched(weight, "as a matrix of int8")
    if scale.shape != weight.shape[:1] or not scale.dtype.is_floating_point:
        raise mismatched(scale, f"with a number for each of {weight.shape[0]} rows")
    form = tensors.get(f"{prefix}.weight_format")
    if form is not None and read_tensor(form).flatten().tolist() != [0]:  # 0: in rows
        raise refused_quantisation(quantisation.file, "bitsandbytes", f"with {form.name}, a layout of a GPU")
    names = (weight.name, scale.name, *([form.name] if form is not None else []))
    return QuantisedWeight(weight.name, names, partial(_dequantise_eight, weight, scale))


def _dequantise_eight(weight: StoredTensor, scale: StoredTensor) -> Tensor:
    return read_tensor(weight).float() * (read_tensor(scale).float()[:, None] / _LARGEST)


def _four_bits(quantisation: Quantisation, state: str, tensors: Tensors) -> QuantisedWeight:
    name = state.partition(_STATE)[0]
    nested = (f"{name}.nested_absmax", f"{name}.nested_quant_map")
    names = [name, f"{name}.absmax", f"{name}.quant_map", *(nested if nested[0] in tensors else ())]
    for missing in (one for one in names if one not in tensors):
        raise refused_quantisation(quantisation.file, "bitsandbytes", f"without {missing}")
    try:
        facts = parse_json(read_tensor(tensors[state]).numpy().tobytes())
        weight = _FourBits(
            codes=tensors[name],
            absmax=tensors[names[1]],
            quant_map=tensors[names[2]],
            nested=(tensors[nested[0]], tensors[nested[1]]) if nested[0] in tensors else None,
            shape=tuple(int(size) for size in facts["shape"]),
            run=int(facts["blocksize"]),
            nested_run=int(facts.get("nested_blocksize", 0)),
            offset=float(facts.get("nested_offset", 0.0)),
        )
    except (ValueError, KeyError, TypeError):
        raise mismatched(tensors[state], "as the JSON of bitsandbytes") from None
    _check(weight)
    return QuantisedWeight(name, (*names, state), partial(_dequantise_four, weight))


def _check(weight: _FourBits) -> None:
    count = math.prod(weight.shape)
    runs = -(-count // max(1, weight.run))
    if weight.codes.dtype != torch.uint8 or math.prod(weight.codes.shape) != -(-count // 2):
        raise mismatched(weight.codes, f"with {count} codes of 4 bits in uint8")
    if weight.quant_map.shape != (16,):
        raise mismatched(weight.quant_map, "with 16 numbers")
    if weight.run < 1 or weight.absmax.shape != (runs,):
        raise mismatched(weight.absmax, f"with {runs} scales")
    if (weight.absmax.dtype == torch.uint8) != (weight.nested is not None):
        raise mismatched(weight.absmax, "as numbers, or as codes of nested_quant_map")
    if weight.nested is not None and (
        weight.nested_run < 1 or weight.nested[0].shape != (-(-runs // weight.nested_run),)
    ):
        raise mismatched(weight.nested[0], "with a scale for each run of scales")


def _dequantise_four(weight: _FourBits) -> Tensor:
    packed = read_tensor(weight.codes).flatten()
    codes = torch.stack((packed >> 4, packed & 15), -1).flatten()[: math.prod(weight.shape)]
    values = read_tensor(weight.quant_map).float()[codes.int()]
    absmax = read_tensor(weight.absmax)
    if weight.nested is not None:
        scales, quant_map = (read_tensor(one).float() for one in weight.nested)
        absmax = quant_map[absmax.int()] * scales.repeat_interleave(weight.nested_run)[: len(absmax)] + weight.offset
    return (values * absmax.float().repeat_interleave(weight.run)[: len(values)]).view(weight.shape)
