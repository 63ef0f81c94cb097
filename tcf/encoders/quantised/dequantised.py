"""The tensors of a checkpoint with its quantised weights in full precision, for transformers' loader."""

from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

from tcf.common.errors import ModelError
from tcf.encoders.quantised.bitsandbytes import bitsandbytes_weights
from tcf.encoders.quantised.compressed_tensors import compressed_weights
from tcf.encoders.quantised.fp8 import FLOAT8, fp8_weights
from tcf.encoders.quantised.gptq_awq import awq_weights, gptq_weights
from tcf.encoders.quantised.method import Quantisation
from tcf.encoders.quantised.weights import LazyWeight, QuantisedWeight, Tensors, read_tensor
from tcf.encoders.split.stored_tensors import StoredTensor, stored_tensors

__all__ = ["check_not_quantised", "dequantised_weights", "quantised_name"]

# Scales of activations and of key-value caches: what is computed in full precision needs none.
_OF_ACTIVATIONS = (
    "input_scale", "input_zero_point", "input_global_scale", "input_g_idx", "activation_scale", "input_scale_ub",
    "output_scale", "output_zero_point", "q_scale", "k_scale", "v_scale", "k_zero_point", "v_zero_point",
)  # fmt: skip
# Endings of names that only quantised weights have.
_OF_WEIGHTS = (
    ".qweight", ".qzeros", ".weight_packed", ".weight_scale", ".weight_scale_inv", ".SCB", ".weight.absmax",
    ".weight.quant_map",
)  # fmt: skip


def dequantised_weights(path: Path, quantisation: Quantisation) -> dict[str, LazyWeight]:
    """Return all weights of a model folder by the names that they have in the model that was quantised.

    Args:
        path: the model folder.
        quantisation: how its weights are quantised.

    Returns:
        Weights that are read when they are needed; quantised ones become float32.

    Raises:
        ModelError: the tensors do not match the configuration, or no weight is quantised.
    """
    tensors = {tensor.name: tensor for tensor in stored_tensors(path)}
    quantised = list(_quantised(quantisation, tensors))
    if not quantised:
        raise ModelError(
            f"{quantisation.file}: expected weights quantised by {quantisation.method}, as quantization_config says, "
            "found none; remove quantization_config if the weights are those of the model that was quantised"
        )
    used = {name for weight in quantised for name in weight.tensors}
    plain = {
        name: tensor
        for name, tensor in tensors.items()
        if name not in used and name.rpartition(".")[2] not in _OF_ACTIVATIONS
    }
    _check_plain(plain.values(), f"without scales of {quantisation.method}")
    _check_scaled(plain.values(), quantisation)
    return {
        **{name: LazyWeight(partial(read_tensor, tensor)) for name, tensor in plain.items()},
        **{weight.name: LazyWeight(weight.make) for weight in quantised},
    }


def _quantised(quantisation: Quantisation, tensors: Tensors) -> Iterator[QuantisedWeight]:
    match quantisation.method:
        case "fp8":
            return fp8_weights(quantisation, tensors)
        case "compressed-tensors":
            return compressed_weights(quantisation, tensors)
        case "gptq":
            return gptq_weights(quantisation, tensors)
        case "awq":
            return awq_weights(quantisation, tensors)
        case "bitsandbytes":
            return bitsandbytes_weights(quantisation, tensors)


def check_not_quantised(tensors: Iterable[StoredTensor]) -> None:
    """Refuse quantised weights in a checkpoint whose `config.json` does not say how they are quantised.

    Raises:
        ModelError: there is such a weight.
    """
    _check_plain(tensors, "and no quantization_config in config.json")


def quantised_name(names: Iterable[str]) -> str | None:
    """Return the first of several names of tensors that only a part of a quantised weight has; None if none has."""
    return next((name for name in sorted(names) if name.endswith(_OF_WEIGHTS)), None)


def _check_plain(tensors: Iterable[StoredTensor], lacking: str) -> None:
    for tensor in tensors:
        whole = tensor.name.endswith(".weight") and not tensor.dtype.is_floating_point
        if whole or tensor.name.endswith(_OF_WEIGHTS):
            raise _unknown(tensor, lacking)


def _check_scaled(tensors: Iterable[StoredTensor], quantisation: Quantisation) -> None:
    """Refuse numbers in FP8 without scales, where other weights have them; elsewhere they are plain numbers."""
    for tensor in tensors:
        if tensor.dtype in FLOAT8:
            raise _unknown(tensor, f"without scales of {quantisation.method}")


def _unknown(tensor: StoredTensor, lacking: str) -> ModelError:
    kind = str(tensor.dtype).removeprefix("torch.")
    return ModelError(
        f"{tensor.file}: expected weights in full precision, found {tensor.name} in {kind} {lacking}; use the "
        "config.json that the weights were saved with, or the model that was quantised"
    )
