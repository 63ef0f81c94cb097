"""Matrices quantised by hand, as each method stores them, with the matrices that they stand for.

Written from the formats' descriptions, with Python's integers, and not from tcf's dequantisation.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor

from small.encoders.families import store_weights, stored_weights
from small.encoders.models import edit_json

__all__ = ["QUANTISED", "Quantised", "save_quantised"]

Stored = tuple[dict[str, Tensor], Tensor]
NF4 = (-1.0, -0.6962, -0.5251, -0.3949, -0.2844, -0.1848, -0.0911, 0.0, 0.0796, 0.1609, 0.2461, 0.3379, 0.4407, 0.5626, 0.723, 1.0)  # fmt: skip # noqa: E501


@dataclass(frozen=True)
class Quantised:
    """A method.

    Attributes:
        settings: `quantization_config`.
        quantise: gives a matrix's tensors by what follows the layer's name, and the matrix that they stand for.
    """

    settings: dict[str, Any]
    quantise: Callable[[Tensor], Stored]


def save_quantised(method: str, plain: Path, quantised: Path) -> None:
    """Quantise the matrices of the blocks of a folder, and replace them in another by what they stand for.

    Args:
        method: a key of `QUANTISED`.
        plain: a model folder, which gets the matrices that the quantised numbers stand for.
        quantised: a copy of it, which gets the quantised ones.
    """
    weights = stored_weights(plain)
    stored, meant = dict(weights), dict(weights)
    for name, weight in weights.items():
        if weight.ndim == 2 and ".layers." in name:
            del stored[name]
            tensors, meant[name] = QUANTISED[method].quantise(weight)
            stored |= {name.removesuffix("weight") + ending: tensor for ending, tensor in tensors.items()}
    store_weights(plain, meant)
    store_weights(quantised, stored, files=2)
    edit_json(quantised / "config.json", quantization_config=QUANTISED[method].settings)


def _float8(names: Sequence[str], block: tuple[int, int], *, exponents: bool = False) -> Callable[[Tensor], Stored]:
    """FP8 with a scale for each block of rows and columns; 0 rows or columns stand for all of them.

    Args:
        names: of the numbers and of the scales.
        block: rows and columns of a block.
        exponents: the scales are powers of two, stored as exponents.
    """

    def quantise(weight: Tensor) -> Stored:
        rows, columns = (size or whole for size, whole in zip(block, weight.shape, strict=True))
        q, meant = torch.empty_like(weight), torch.empty_like(weight)
        scales = torch.empty(-(-weight.shape[0] // rows), -(-weight.shape[1] // columns))
        for i, top in enumerate(range(0, weight.shape[0], rows)):
            for j, left in enumerate(range(0, weight.shape[1], columns)):
                place = slice(top, top + rows), slice(left, left + columns)
                scales[i, j] = weight[place].abs().max() / 448
                if exponents:
                    scales[i, j] = 2 ** scales[i, j].log2().ceil()
                q[place] = (weight[place] / scales[i, j]).to(torch.float8_e4m3fn).float()
                meant[place] = q[place] * scales[i, j]
        shaped = scales.reshape(()) if block == (0, 0) else scales
        shaped = shaped.to(torch.float8_e8m0fnu) if exponents else shaped
        extra = {} if names[1] == "weight_scale_inv" else {"input_scale": torch.tensor(0.5)}
        return {names[0]: q.to(torch.float8_e4m3fn), names[1]: shaped, **extra}, meant

    return quantise


def _integers(bits: int, group: int, *, zero: bool) -> Callable[[Tensor], tuple[Tensor, Tensor, Tensor, Tensor]]:
    """Unsigned numbers, zero points and scales of groups of a row, and the matrix that they stand for."""

    def quantise(weight: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        runs = weight.view(len(weight), -1, group or weight.shape[1])
        low = runs.amin(2, keepdim=True) if zero else -runs.abs().amax(2, keepdim=True)
        high = runs.amax(2, keepdim=True) if zero else runs.abs().amax(2, keepdim=True)
        scales = (high - low) / (2**bits - 1)
        middle = torch.full_like(scales, 2 ** (bits - 1))
        zeros = (-low / scales).round().clamp(1, 2**bits - 2) if zero else middle
        q = ((runs / scales).round() + zeros).clamp(0, 2**bits - 1)
        meant = (q - zeros) * scales
        return q.flatten(1).int(), zeros[..., 0].int(), scales[..., 0], meant.flatten(1)

    return quantise


def _words(numbers: npt.NDArray[Any], bits: int, order: Sequence[int] | None = None) -> Tensor:
    """Pack rows of numbers into 32-bit words; number `order[i]` of each word is the i-th from its lowest bits."""
    each = 32 // bits
    found = []
    for row in numbers.tolist():
        row = row + [0] * (-len(row) % each)
        parts = [row[start : start + each] for start in range(0, len(row), each)]
        words = [sum(part[place] << (bits * i) for i, place in enumerate(order or range(each))) for part in parts]
        found.append([word - 2**32 if word >= 2**31 else word for word in words])
    return torch.tensor(found, dtype=torch.int32)


def _compressed(bits: int, group: int, *, zero: bool, packed: bool) -> Callable[[Tensor], Stored]:
    def quantise(weight: Tensor) -> Stored:
        q, zeros, scales, meant = _integers(bits, group, zero=zero)(weight)
        if packed:
            tensors = {"weight_packed": _words(q.numpy(), bits), "weight_shape": torch.tensor(weight.shape)}
            points = _words(zeros.numpy().T, bits).T.contiguous()
        else:
            tensors = {"weight": (q - 2 ** (bits - 1)).to(torch.int8)}
            points = (zeros - 2 ** (bits - 1)).to(torch.int8)
        return {**tensors, "weight_scale": scales, **({"weight_zero_point": points} if zero else {})}, meant

    return quantise


def _reordered(weight: Tensor) -> Stored:
    """Groups of 16 inputs in the order that a permutation gives; numbers are stored in the inputs' own order."""
    order = torch.randperm(weight.shape[1], generator=torch.Generator().manual_seed(0))
    q, zeros, scales, in_order = _integers(4, 16, zero=True)(weight[:, order])
    back = order.argsort()
    tensors = {
        "weight_packed": _words(q[:, back].numpy(), 4),
        "weight_shape": torch.tensor(weight.shape),
        "weight_scale": scales,
        "weight_zero_point": _words(zeros.numpy().T, 4).T.contiguous(),
        "weight_g_idx": (torch.arange(weight.shape[1]) // 16)[back].int(),
    }
    return tensors, in_order[:, back]


def _gptq(bits: int, group: int, *, version: int, shuffled: bool) -> Callable[[Tensor], Stored]:
    def quantise(weight: Tensor) -> Stored:
        inputs = weight.shape[1]
        order = torch.randperm(inputs, generator=torch.Generator().manual_seed(0)) if shuffled else torch.arange(inputs)
        q, zeros, scales, in_order = _integers(bits, group, zero=True)(weight[:, order])
        back = order.argsort()  # numbers are stored in the inputs' order, and their groups beside them
        index = (torch.arange(inputs) // group)[back]
        tensors = {
            "qweight": _words(q[:, back].numpy(), bits).T.contiguous(),
            "qzeros": _words(zeros.numpy().T - (version == 1), bits),
            "scales": scales.T.contiguous(),
            "g_idx": index.int(),
        }
        return tensors, in_order[:, back]

    return quantise


def _awq(weight: Tensor) -> Stored:
    q, zeros, scales, meant = _integers(4, 16, zero=True)(weight)
    order = (0, 2, 4, 6, 1, 3, 5, 7)
    words = {"qweight": _words(q.numpy().T, 4, order), "qzeros": _words(zeros.numpy().T, 4, order)}
    return {**words, "scales": scales.T.contiguous()}, meant


def _four_bits(*, nested: bool) -> Callable[[Tensor], Stored]:
    def quantise(weight: Tensor) -> Stored:
        code = torch.tensor(NF4)
        runs = weight.reshape(-1, 64)
        absmax = runs.abs().amax(1)
        facts: dict[str, Any] = {"quant_type": "nf4", "blocksize": 64, "dtype": "float32", "shape": list(weight.shape)}
        tensors: dict[str, Tensor] = {}
        scales = absmax
        if nested:
            table, offset = torch.linspace(-1, 1, 256), float(absmax.mean())
            of_runs = torch.stack([run.abs().max() for run in torch.split(absmax - offset, 4)])
            wide = of_runs.repeat_interleave(4)[: len(absmax)]
            codes = ((absmax - offset) / wide)[:, None].sub(table).abs().argmin(1)
            scales = table[codes] * wide + offset
            facts |= {"nested_blocksize": 4, "nested_dtype": "float32", "nested_offset": offset}
            tensors = {"weight.nested_absmax": of_runs, "weight.nested_quant_map": table}
            absmax = codes.to(torch.uint8)
        q = (runs / scales[:, None])[..., None].sub(code).abs().argmin(2).flatten()
        tensors |= {
            "weight": (q[0::2] * 16 + q[1::2]).to(torch.uint8)[:, None],
            "weight.absmax": absmax,
            "weight.quant_map": code,
            "weight.quant_state.bitsandbytes__nf4": torch.tensor(list(json.dumps(facts).encode()), dtype=torch.uint8),
        }
        return tensors, (code[q].view(-1, 64) * scales[:, None]).view(weight.shape)

    return quantise


def _eight_bits(weight: Tensor) -> Stored:
    scale = weight.abs().amax(1)
    q = (weight / scale[:, None] * 127).round()
    form = torch.tensor(0, dtype=torch.uint8)
    return {"weight": q.to(torch.int8), "SCB": scale, "weight_format": form}, q * scale[:, None] / 127


def _groups(kind: str, **weights: Any) -> dict[str, Any]:
    """The `quantization_config` of compressed-tensors with one group of layers."""
    scheme = {
        "targets": ["Linear"],
        "weights": {"type": "int", "symmetric": True, **weights},
        "input_activations": None,
    }
    return {"quant_method": "compressed-tensors", "format": kind, "config_groups": {"group_0": scheme}, "ignore": []}


_BLOCK = {"quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": [20, 12]}
_GPTQ = {"quant_method": "gptq", "group_size": 16, "desc_act": True}
QUANTISED = {
    "fp8, blocks": Quantised(_BLOCK, _float8(("weight", "weight_scale_inv"), (20, 12))),
    "fp8, exponents": Quantised(
        {**_BLOCK, "scale_fmt": "ue8m0"}, _float8(("weight", "weight_scale_inv"), (20, 12), exponents=True)
    ),
    "fp8, tensors": Quantised({"quant_method": "fp8"}, _float8(("weight", "weight_scale"), (0, 0))),
    "fp8, rows": Quantised({"quant_method": "fbgemm_fp8"}, _float8(("weight", "weight_scale"), (1, 0))),
    "compressed, fp8": Quantised(
        _groups("float-quantized", num_bits=8, strategy="tensor"), _float8(("weight", "weight_scale"), (0, 0))
    ),
    "compressed, fp8 blocks": Quantised(
        _groups("naive-quantized", num_bits=8, strategy="block", block_structure=[20, 12]),
        _float8(("weight", "weight_scale"), (20, 12)),
    ),
    "compressed, int8": Quantised(
        _groups("int-quantized", num_bits=8, strategy="channel"), _compressed(8, 0, zero=False, packed=False)
    ),
    "compressed, zero points": Quantised(
        _groups("int-quantized", num_bits=8, strategy="group", group_size=16),
        _compressed(8, 16, zero=True, packed=False),
    ),
    "compressed, packed int4": Quantised(
        _groups("pack-quantized", num_bits=4, strategy="group", group_size=16),
        _compressed(4, 16, zero=False, packed=True),
    ),
    "compressed, packed zero points": Quantised(
        _groups("pack-quantized", num_bits=4, strategy="group", group_size=16),
        _compressed(4, 16, zero=True, packed=True),
    ),
    "compressed, inputs in another order": Quantised(
        _groups("pack-quantized", num_bits=4, strategy="group", group_size=16, actorder="group"), _reordered
    ),
    "compressed, packed int8": Quantised(
        _groups("pack-quantized", num_bits=8, strategy="channel"), _compressed(8, 0, zero=False, packed=True)
    ),
    "gptq": Quantised({**_GPTQ, "bits": 4}, _gptq(4, 16, version=1, shuffled=True)),
    "gptq, version 2": Quantised(
        {**_GPTQ, "bits": 8, "checkpoint_format": "gptq_v2"}, _gptq(8, 16, version=2, shuffled=False)
    ),
    "gptq, 2 bits": Quantised({**_GPTQ, "bits": 2}, _gptq(2, 16, version=1, shuffled=False)),
    "awq": Quantised({"quant_method": "awq", "bits": 4, "group_size": 16, "version": "gemm", "zero_point": True}, _awq),
    "bitsandbytes, 4 bits": Quantised({"quant_method": "bitsandbytes", "load_in_4bit": True}, _four_bits(nested=False)),
    "bitsandbytes, nested": Quantised({"quant_method": "bitsandbytes", "load_in_4bit": True}, _four_bits(nested=True)),
    "bitsandbytes, 8 bits": Quantised({"quant_method": "bitsandbytes", "load_in_8bit": True}, _eight_bits),
}
