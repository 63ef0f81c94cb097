"""A loaded model made faster on a CPU: weights laid out once as oneDNN multiplies them, activations fused into them.

The function computed is the same. Sums run in another order, so float32 results differ in their last bits.

Shapes: M rows, K inputs, N outputs.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

# oneDNN, and torch's layer above it, keep what they made for each number of rows, and that number varies with every
# micro-batch: a gigabyte after a thousand. Both read these settings when they are first used.
for _setting in ("LRU_CACHE_CAPACITY", "ONEDNN_PRIMITIVE_CACHE_CAPACITY"):
    os.environ.setdefault(_setting, "64")

__all__ = ["Replaced", "pack", "packed", "unpack"]

Replaced = tuple[nn.Module, str, nn.Module]  # a module, the name of a part of it, and that part as it was

# For how many rows the layout is chosen; any number of rows can be multiplied.
_ROWS = 2048


class _NoWeight(Tensor):
    """Stands for a weight that was packed: tells its type and shape, and refuses to be computed with.

    A tensor without storage alone would not do: on a CPU, torch multiplies with it and gives whatever is in memory.
    """

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Let attributes through, and nothing else."""
        if func.__name__ == "__get__":
            return super().__torch_function__(func, types, args, kwargs or {})  # type: ignore[no-untyped-call]
        raise RuntimeError(f"{func.__name__}: this weight was packed and cannot be computed with")


class _PackedLinear(nn.Module):
    """A linear layer, and the activation after it, as one product of oneDNN.

    Args:
        weight_NK: (N, K).
        bias: (N,) or None.
        activation: `none`, `relu` or `gelu`.
        algorithm: of gelu: `none` is the exact one, `tanh` the approximation.
    """

    def __init__(self, weight_NK: Tensor, bias: Tensor | None, activation: str, algorithm: str) -> None:
        super().__init__()
        self._packed = torch.ops.mkldnn._reorder_linear_weight(weight_NK.contiguous(), _ROWS)
        # Some models ask for the type of a weight.
        self.weight = weight_NK.new_empty(weight_NK.shape, device="meta").as_subclass(_NoWeight)
        self.bias, self._activation, self._algorithm = bias, activation, algorithm

    def forward(self, x: Tensor) -> Tensor:
        """(..., K) to (..., N)."""
        product: Tensor = torch.ops.mkldnn._linear_pointwise(
            x, self._packed, self.bias, self._activation, [], self._algorithm
        )
        return product


def pack(model: nn.Module, *, keep: bool) -> list[Replaced]:
    """Pack every linear layer of a model on a CPU, in place; the model can only be run afterwards.

    Args:
        model: in evaluation mode, without gradients.
        keep: whether to keep what is replaced, which takes the memory of its weights a second time.

    Returns:
        What was replaced, for `unpack`; nothing unless it is kept, or where torch cannot pack on this machine.
    """
    replaced: list[Replaced] | None = [] if keep else None
    if torch._C._has_mkldnn and torch.backends.mkldnn.enabled:
        _pack_within(model, replaced)
    return replaced or []


def unpack(replaced: list[Replaced]) -> None:
    """Put back what `pack` replaced."""
    for module, name, part in replaced:
        setattr(module, name, part)


@contextmanager
def packed(model: nn.Module) -> Iterator[None]:
    """Within it, the linear layers of a model on a CPU are packed; they take their memory a second time."""
    replaced = pack(model, keep=True)
    try:
        yield
    finally:
        unpack(replaced)


def _can(dtype: torch.dtype) -> bool:
    match dtype:
        case torch.float32:
            return True
        case torch.bfloat16:
            return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
        case torch.float16:
            return bool(torch.ops.mkldnn._is_mkldnn_fp16_supported())
        case _:
            return False


def _pack_within(module: nn.Module, replaced: list[Replaced] | None) -> None:
    _fuse_activation(module, replaced)
    for name, child in list(module.named_children()):
        weight = _weight(child)
        if weight is None:
            _pack_within(child, replaced)
        else:
            _replace(module, name, _PackedLinear(weight, _bias(child), "none", ""), replaced)


def _replace(module: nn.Module, name: str, part: nn.Module, replaced: list[Replaced] | None) -> None:
    if replaced is not None:
        replaced.append((module, name, getattr(module, name)))
    setattr(module, name, part)


def _fuse_activation(module: nn.Module, replaced: list[Replaced] | None) -> None:
    """Pack the layer of a module that is followed by an activation, together with that."""
    match type(module).__name__:
        case "OPTDecoderLayer":
            linear, activation = "fc1", "activation_fn"
        case "BertIntermediate" | "RobertaIntermediate":
            linear, activation = "dense", "intermediate_act_fn"
        case "GPT2MLP":
            linear, activation = "c_fc", "act"
        case "GPTNeoXMLP":
            linear, activation = "dense_h_to_4h", "act"
        case "T5DenseActDense":
            linear, activation = "wi", "act"
        case _:
            return
    layer = getattr(module, linear, None)
    weight, function = _weight(layer), _known(getattr(module, activation, None))
    if weight is not None and function is not None:
        _replace(module, linear, _PackedLinear(weight, _bias(layer), *function), replaced)
        _replace(module, activation, nn.Identity(), replaced)


def _weight(layer: Any) -> Tensor | None:
    """The weight of a linear layer, (N, K); None for anything else."""
    from transformers.pytorch_utils import Conv1D

    if type(layer) not in (nn.Linear, Conv1D) or not _can(layer.weight.dtype):
        return None
    weight: Tensor = layer.weight.detach()
    return weight if type(layer) is nn.Linear else weight.t()


def _bias(layer: Any) -> Tensor | None:
    bias: Tensor | None = layer.bias
    return None if bias is None else bias.detach()


def _known(activation: Any) -> tuple[str, str] | None:
    """Name and algorithm of an activation that oneDNN computes; None for others."""
    match type(activation).__name__:
        case "ReLU":
            return "relu", ""
        case "GELUActivation":
            return "gelu", "none"
        case "NewGELUActivation" | "GELUTanh" | "FastGELUActivation":
            return "gelu", "tanh"
        case _:
            return None
