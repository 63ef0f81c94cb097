"""Packing a loaded model for a CPU: weights are reordered once for oneDNN, and activations are fused with them.

The computed function is the same. Sums are taken in another order, so float32 results differ in their last bits.

Shapes: M rows, K inputs, N outputs.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from tcf.common.torch_internals import (
    has_onednn_type,
    limit_onednn_caches,
    linear_with_activation,
    reorder_linear_weight,
)
from tcf.encoders.transformers_internals import fusible_pair, onednn_activation, weight_of_linear

__all__ = ["Replaced", "pack", "packed", "restore"]

Replaced = tuple[nn.Module, str, nn.Module]  # a module, the name of a child module, and the original child

# Number of rows for which the layout is optimised; any number of rows can be multiplied.
_ROWS = 2048


class _NoWeight(Tensor):
    """Placeholder for a packed weight: it has the dtype and shape, and raises an error in any computation.

    A plain tensor on the meta device is not enough: on a CPU, torch multiplies with it and returns arbitrary memory.
    """

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Allow attribute access only."""
        if func.__name__ == "__get__":
            return super().__torch_function__(func, types, args, kwargs or {})  # type: ignore[no-untyped-call]
        raise RuntimeError(f"{func.__name__}: this weight is packed and cannot be used in other computations")


class _PackedLinear(nn.Module):
    """A linear layer and the activation after it as one oneDNN operation.

    Args:
        weight_NK: (N, K).
        bias: (N,) or None.
        activation: `none`, `relu` or `gelu`.
        algorithm: for gelu, `none` (exact) or `tanh` (approximation).
    """

    def __init__(self, weight_NK: Tensor, bias: Tensor | None, activation: str, algorithm: str) -> None:
        super().__init__()
        self._packed = reorder_linear_weight(weight_NK.contiguous(), _ROWS)
        # Some models read the dtype of a weight.
        self.weight = weight_NK.new_empty(weight_NK.shape, device="meta").as_subclass(_NoWeight)
        self.bias, self._activation, self._algorithm = bias, activation, algorithm

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., K) to (..., N)."""
        return linear_with_activation(x, self._packed, self.bias, self._activation, self._algorithm)


def pack(model: nn.Module, *, keep: bool) -> list[Replaced]:
    """Pack every linear layer of a model on a CPU, in place; afterwards the model can only be run.

    Args:
        model: in evaluation mode, without gradients.
        keep: whether to keep the replaced modules, which doubles the memory of the weights.

    Returns:
        The replaced modules, for `restore`; empty unless `keep`, or if torch cannot pack on this machine.
    """
    limit_onednn_caches()
    replaced: list[Replaced] | None = [] if keep else None
    if torch.backends.mkldnn.is_available() and torch.backends.mkldnn.enabled:  # type: ignore[no-untyped-call]
        _pack_within(model, replaced)
    return replaced or []


def restore(replaced: list[Replaced]) -> None:
    """Restore the modules that `pack` replaced."""
    for module, name, part in replaced:
        setattr(module, name, part)


@contextmanager
def packed(model: nn.Module) -> Iterator[None]:
    """Pack the linear layers of a model on a CPU within the block; their weights are in memory twice meanwhile."""
    replaced = pack(model, keep=True)
    try:
        yield
    finally:
        restore(replaced)


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
    """Pack the linear layer of a module together with the activation that follows it, if there is one."""
    pair = fusible_pair(module)
    if pair is None:
        return
    linear, activation = pair
    layer = getattr(module, linear, None)
    weight, function = _weight(layer), onednn_activation(getattr(module, activation, None))
    if weight is not None and function is not None:
        _replace(module, linear, _PackedLinear(weight, _bias(layer), *function), replaced)
        _replace(module, activation, nn.Identity(), replaced)


def _weight(layer: Any) -> Tensor | None:
    """Return the weight of a linear layer that can be packed, (N, K); None for any other module."""
    weight = weight_of_linear(layer)
    return weight if weight is not None and has_onednn_type(weight.dtype) else None


def _bias(layer: Any) -> Tensor | None:
    bias: Tensor | None = layer.bias
    return None if bias is None else bias.detach()
