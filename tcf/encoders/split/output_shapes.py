"""Kinds of outputs of a model's blocks, found by running them without data."""

import copy
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tcf.common.torch_internals import tree_map
from tcf.encoders.failures import failures, not_separable_error, reason

__all__ = ["OutputShapes"]


class OutputShapes:
    """Kinds of outputs of a model's blocks, found by running one block of each class without data.

    Args:
        path: the model folder, for messages.

    Attributes:
        dtype: a dtype that can hold the input and output states of all blocks run so far; None before the first.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.dtype: torch.dtype | None = None
        self._known: dict[type[nn.Module], tuple[bool, ...] | None] = {}

    def other_outputs(
        self, block: nn.Module, states: Tensor, arguments: tuple[Any, ...], named: dict[str, Any]
    ) -> tuple[bool, ...] | None:
        """For each output of a block besides the states, return whether it is a tensor (otherwise it is None).

        Returns:
            One flag per output; None if the block returns the states alone and not a tuple.

        Raises:
            NotSeparableError: the block returns something else.
        """
        kind = type(block)
        if kind not in self._known:
            self._known[kind] = self._try(block, states, arguments, named)
        return self._known[kind]

    def _try(
        self, block: nn.Module, states: Tensor, arguments: tuple[Any, ...], named: dict[str, Any]
    ) -> tuple[bool, ...] | None:
        name = type(block).__name__
        try:
            found = _without_data(block, states, arguments, named, None)
        except failures():
            try:
                # Some blocks check half-precision values for overflow.
                found = _without_data(block, states, arguments, named, torch.float32)
            except failures() as error:
                raise not_separable_error(self.path, f"{name} does not run without data ({reason(error)})") from None
        values = found if isinstance(found, tuple) else (found,)
        if not values or not isinstance(values[0], Tensor) or values[0].shape != states.shape:
            raise not_separable_error(self.path, f"{name} does not return states of the shape of its input")
        self.dtype = torch.promote_types(self.dtype or states.dtype, values[0].dtype)
        if not all(value is None or isinstance(value, Tensor) for value in values):
            raise not_separable_error(self.path, f"{name} returns other values than tensors")
        return tuple(value is not None for value in values[1:]) if isinstance(found, tuple) else None


def _without_data(
    block: nn.Module, states: Tensor, arguments: tuple[Any, ...], named: dict[str, Any], dtype: torch.dtype | None
) -> Any:
    """Run a block on the meta device, optionally in another floating-point type."""
    empty = partial(_empty, dtype=dtype)
    (first, rest), by_name = tree_map(empty, ((states, arguments), named))
    tensors = [*block.parameters(), *block.buffers()]
    # Nothing large is copied.
    without_weights = copy.deepcopy(block, {id(tensor): empty(tensor) for tensor in tensors})
    return type(block).forward(without_weights, first, *rest, **by_name)


def _empty(leaf: Any, *, dtype: torch.dtype | None) -> Any:
    """Return a tensor without data in place of a tensor."""
    if not isinstance(leaf, Tensor):
        return leaf
    empty = leaf.detach().to("meta", dtype if leaf.is_floating_point() else None)
    return nn.Parameter(empty, requires_grad=False) if isinstance(leaf, nn.Parameter) else empty
