"""A model's list of transformer blocks: finding it, truncating it, and recording the states between blocks.

Shapes: B texts, T tokens, D width.
"""

import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from tcf.common.errors import ModelError
from tcf.encoders.folder.model_folder import ModelFolder
from tcf.encoders.prefix_sharing.tree_attention import TreeAttention, attending_along
from tcf.encoders.transformers_internals import block_class_names

__all__ = ["LAST", "cut_blocks", "find_blocks", "last_states", "leave_out_unused", "recorded_states", "without_cache"]

LAST = -1  # the layer after the final norm: the model's own last states


def without_cache(model: nn.Module) -> dict[str, bool]:
    """Return the arguments that keep a model's `forward` from building a key-value cache; empty if it builds none.

    Call it once per model, because inspecting the signature takes time.
    """
    return {"use_cache": False} if "use_cache" in inspect.signature(model.forward).parameters else {}


def last_states(
    model: nn.Module, tokens_BT: Tensor, no_cache: Mapping[str, bool], tree: TreeAttention | None = None
) -> Tensor:
    """Return a model's last hidden states, (B, T, D).

    Args:
        model: a model of transformers, without a head; one that uses tree attention if there is a tree.
        tokens_BT: token ids of texts of equal length, or of the nodes of a tree, (B, T) int64, on the model's device.
        no_cache: the result of `without_cache` for this model.
        tree: how the nodes of a tree attend, which are a single text of T = N tokens.
    """
    arguments: dict[str, Any] = {}
    if tree is not None:
        # Without a mask, transformers would take positions that begin anew for several texts in one.
        arguments = {"position_ids": tree.positions_1N, "attention_mask": torch.ones_like(tokens_BT)}
    with nullcontext() if tree is None else attending_along(tree):
        states: Tensor = model(input_ids=tokens_BT, **arguments, **no_cache).last_hidden_state
    return states


def find_blocks(model: nn.Module, n_blocks: int) -> nn.ModuleList | None:
    """Return the list of a model's transformer blocks, in the order in which they run; None if it is not certain.

    Its length is the number of blocks. If there are several such lists, it is the one whose modules have a class that
    the model declares not to be split over devices, which is how transformers marks blocks.

    Args:
        model: a model without its head.
        n_blocks: number of its blocks.
    """
    named = block_class_names(model)
    lists = [blocks for blocks in _outermost_lists(model) if len(blocks) == n_blocks > 0]
    by_name = [blocks for blocks in lists if all(type(block).__name__ in named for block in blocks)]
    of_one_class = [blocks for blocks in lists if len({type(block) for block in blocks}) == 1]
    match by_name or of_one_class:
        case [blocks]:
            return blocks
        case _:
            return None


def _outermost_lists(module: nn.Module) -> Iterator[nn.ModuleList]:
    """Yield the module lists that are not inside another list."""
    for child in module.children():
        if isinstance(child, nn.ModuleList):
            yield child
        else:
            yield from _outermost_lists(child)


class _Reached(Exception):
    """The highest requested layer has been computed."""


@contextmanager
def recorded_states(blocks: Sequence[nn.Module], layers: Sequence[int]) -> Iterator[dict[int, Tensor]]:
    """Record the states of several layers, each (B, T, D), while a model runs once inside the `with` block.

    Layers above the highest requested one are not computed: the `with` block ends early. All hooks are removed
    afterwards. They are around the blocks' `forward`, which may be replaced.

    Args:
        blocks: the model's transformer blocks, in order.
        layers: 0 for the input of the first block, i for the output of block i, -1 for the last states.

    Yields:
        The states by layer, filled while the model runs; the caller adds the last states.

    Raises:
        RuntimeError: a block was not run, or its input or output is not a tensor.
    """
    found: dict[int, Tensor] = {}
    highest = LAST if LAST in layers else max(layers)
    with ExitStack() as hooks:
        for layer in set(layers) - {LAST}:
            hooks.callback(_hook(blocks, layer, found, is_highest=layer == highest).remove)
        with suppress(_Reached):
            yield found
    if not found.keys() >= set(layers):
        missing = ", ".join(map(str, sorted(set(layers) - found.keys())))
        raise RuntimeError(f"expected its blocks to run in their order, found layers that did not run: {missing}")


def _hook(blocks: Sequence[nn.Module], layer: int, found: dict[int, Tensor], *, is_highest: bool) -> RemovableHandle:
    """Record a layer's states in `found`, and end the forward pass after the highest layer."""

    def keep(value: Any) -> None:
        states = value[0] if isinstance(value, tuple) else value
        if not isinstance(states, Tensor):
            raise RuntimeError(f"layer {layer}: expected a tensor of states, found something else")
        found[layer] = states
        if is_highest:
            raise _Reached

    def before(_: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        keep(arguments[0] if arguments else named.get("hidden_states"))

    if layer == 0:
        return blocks[0].register_forward_pre_hook(before, with_kwargs=True)
    return blocks[layer - 1].register_forward_hook(lambda _module, _arguments, output: keep(output))


def leave_out_unused(model: Any, folder: ModelFolder, *, project_out: bool) -> None:
    """Drop the modules after the states that are pooled."""
    match folder.family:
        case "opt" if not project_out:
            model.decoder.project_out = None
        case "bert" | "roberta":
            model.pooler = None
        case _:
            pass


def cut_blocks(model: nn.Module, folder: ModelFolder, layers: Sequence[int]) -> nn.ModuleList | None:
    """Remove the blocks above the highest requested layer from a model, and return the others.

    Returns:
        The blocks; None if they cannot be identified and only the last layer is requested.

    Raises:
        ModelError: an inner layer is requested, but the model's blocks cannot be identified.
    """
    blocks = find_blocks(model, folder.n_blocks)
    if blocks is None and any(layer != LAST for layer in layers):
        raise ModelError(
            f"{folder.path}: the model's blocks cannot be identified, so only its last layer is available; pass "
            "--layers -1"
        )
    if blocks is not None and LAST not in layers:
        # The first block stays to mark the place of layer 0, but is not run for it.
        del blocks[max(1, *layers) :]
    return blocks
