"""Weights of GPTQ and of AWQ: small integers in 32-bit words, with a scale and a zero point per group of inputs.

Both store (K, N), inputs by outputs: N outputs, K inputs, G groups of inputs.

- GPTQ packs the rows of `qweight`, (K / p, N), and the columns of `qzeros`, (G, N / p), p integers in a word. Its first
  format stores zero points minus one: ModelCloud/GPTQModel 2.2, gptqmodel/utils/model.py, adds 1 to all of them in a
  word at once (`convert_gptq_v1_to_v2_format`). `g_idx` is the group of each input (nn_modules/qlinear/__init__.py,
  `dequantize_weight`).
- AWQ packs columns of both, `qweight` being (K, N / 8), in the order 0, 2, 4, 6, 1, 3, 5, 7: casper-hansen/AutoAWQ at
  7ee2873, awq/utils/packing_utils.py, `unpack_awq` and `reverse_awq_order`.
"""

from collections.abc import Iterator, Mapping
from functools import partial

import torch
from torch import Tensor

from tcf.encoders.quantised.integers import unpack
from tcf.encoders.quantised.method import Quantisation, refused_quantisation
from tcf.encoders.quantised.weights import QuantisedWeight, Tensors, mismatched, read_tensor
from tcf.encoders.split.stored_tensors import StoredTensor

__all__ = ["awq_weights", "gptq_weights"]

_AWQ_PLACES = [0, 4, 1, 5, 2, 6, 3, 7]  # of the columns within a word
_ONES = {2: 0x55555555, 4: 0x11111111, 8: 0x01010101}


def gptq_weights(quantisation: Quantisation, tensors: Tensors) -> Iterator[QuantisedWeight]:
    """Yield the weights of GPTQ.

    Raises:
        ModelError: they have another format, or tensors that do not match.
    """
    entries = quantisation.entries
    bits, group = _bits(quantisation, (2, 4, 8)), _group(quantisation)
    form = entries.get("checkpoint_format") or entries.get("format") or "gptq"
    if form not in ("gptq", "gptq_v2") or entries.get("is_marlin_format"):
        raise refused_quantisation(quantisation.file, "GPTQ", f"in the format {str(form)[:40]!r}")
    for prefix in _prefixes(tensors):
        layer = _layer(quantisation, prefix, tensors, ("qweight", "qzeros", "scales"))
        index = tensors.get(f"{prefix}.g_idx")
        k, n = layer["qweight"].shape[0] * 32 // bits, layer["qweight"].shape[1]
        size = k if group < 0 else group
        _check(layer, (-(-k // size), n), (-(-k // size), n * bits // 32))
        if index is not None and (index.shape != (k,) or index.dtype not in (torch.int32, torch.int64)):
            raise mismatched(index, f"with the group of each of {k} inputs")
        names = (*(tensor.name for tensor in layer.values()), *([index.name] if index else []))
        make = partial(_dequantise_gptq, layer, index, bits, size, older=form == "gptq")
        yield QuantisedWeight(f"{prefix}.weight", names, make)


def awq_weights(quantisation: Quantisation, tensors: Tensors) -> Iterator[QuantisedWeight]:
    """Yield the weights of AWQ, in the format of its kernel for matrix products (`gemm`).

    Raises:
        ModelError: they have another format, or tensors that do not match.
    """
    form = quantisation.entries.get("version") or quantisation.entries.get("format") or "gemm"
    if str(form).lower() != "gemm" or quantisation.entries.get("backend") == "llm-awq":
        raise refused_quantisation(quantisation.file, "AWQ", f"in the format {str(form)[:40]!r}")
    bits, group = _bits(quantisation, (4,)), _group(quantisation)
    for prefix in _prefixes(tensors):
        layer = _layer(quantisation, prefix, tensors, ("qweight", "qzeros", "scales"))
        k, words = layer["qweight"].shape
        size = k if group < 0 else group
        _check(layer, (-(-k // size), words * 8), (-(-k // size), words))
        names = tuple(tensor.name for tensor in layer.values())
        yield QuantisedWeight(f"{prefix}.weight", names, partial(_dequantise_awq, layer, bits, size))


def _bits(quantisation: Quantisation, known: tuple[int, ...]) -> int:
    bits = quantisation.entries.get("bits", quantisation.entries.get("w_bit"))
    if bits not in known or type(bits) is not int:
        raise refused_quantisation(quantisation.file, quantisation.method.upper(), f"with {str(bits)[:40]} bits")
    return bits


def _group(quantisation: Quantisation) -> int:
    group = quantisation.entries.get("group_size", quantisation.entries.get("q_group_size", 128))
    if type(group) is not int or (group < 1 and group != -1):
        raise refused_quantisation(quantisation.file, quantisation.method.upper(), f"with group_size {str(group)[:40]}")
    return group


def _prefixes(tensors: Tensors) -> list[str]:
    return [name.removesuffix(".qweight") for name in tensors if name.endswith(".qweight")]


def _layer(
    quantisation: Quantisation, prefix: str, tensors: Tensors, suffixes: tuple[str, ...]
) -> dict[str, StoredTensor]:
    """Return the tensors of a layer by their names in it."""
    for suffix in suffixes:
        if f"{prefix}.{suffix}" not in tensors:
            missing = f"without {prefix}.{suffix}"
            raise refused_quantisation(quantisation.file, quantisation.method.upper(), missing)
    return {suffix: tensors[f"{prefix}.{suffix}"] for suffix in suffixes}


def _check(layer: Mapping[str, StoredTensor], scales: tuple[int, int], zeros: tuple[int, int]) -> None:
    for name in ("qweight", "qzeros"):
        if layer[name].dtype != torch.int32 or len(layer[name].shape) != 2:
            raise mismatched(layer[name], "as a matrix of int32")
    for name, shape in (("scales", scales), ("qzeros", zeros)):
        if layer[name].shape != shape:
            raise mismatched(layer[name], f"of shape {shape[0]} x {shape[1]}")


def _dequantise_gptq(
    layer: Mapping[str, StoredTensor], index: StoredTensor | None, bits: int, size: int, *, older: bool
) -> Tensor:
    """Return a weight, (N, K)."""
    qweight, qzeros, scales = (read_tensor(layer[name]) for name in ("qweight", "qzeros", "scales"))
    if older:
        qzeros = qzeros + _ONES[bits]  # carries over to the next number as in GPTQModel, which writes it likewise
    q_KN, zeros_GN = unpack(qweight, bits, 0), unpack(qzeros, bits, 1)
    groups_K = torch.arange(len(q_KN)) // size if index is None else read_tensor(index).long()
    return _scaled(q_KN, zeros_GN, scales, groups_K)


def _dequantise_awq(layer: Mapping[str, StoredTensor], bits: int, size: int) -> Tensor:
    """Return a weight, (N, K)."""
    q_KN, zeros_GN = (_in_order(unpack(read_tensor(layer[name]), bits, 1)) for name in ("qweight", "qzeros"))
    return _scaled(q_KN, zeros_GN, read_tensor(layer["scales"]), torch.arange(len(q_KN)) // size)


def _in_order(columns: Tensor) -> Tensor:
    of_words: Tensor = columns.view(len(columns), -1, 8)
    return of_words[:, :, _AWQ_PLACES].flatten(1)


def _scaled(q_KN: Tensor, zeros_GN: Tensor, scales_GN: Tensor, groups_K: Tensor) -> Tensor:
    return ((q_KN - zeros_GN[groups_K]).float() * scales_GN.float()[groups_K]).t().contiguous()
