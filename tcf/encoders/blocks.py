"""A model's stack of transformer blocks: finding it, cutting it, and reading the states between its blocks.

Shapes: B texts, T tokens, D width.
"""

import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from tcf.common.errors import ModelError
from tcf.encoders.folder.model_folder import ModelFolder
from tcf.encoders.transformers_internals import block_class_names

__all__ = ["LAST", "cut_blocks", "find_blocks", "last_states", "leave_out_unused", "recorded_states", "without_cache"]

LAST = -1  # the layer after the final norm: the model's own last states


def without_cache(model: nn.Module) -> dict[str, bool]:
    """Arguments that keep a model's `forward` from building a key-value cache; none for a model that builds none.

    To be asked for once a model: to look at its signature takes time.
    """
    return {"use_cache": False} if "use_cache" in inspect.signature(model.forward).parameters else {}


def last_states(model: nn.Module, tokens_BT: Tensor, no_cache: Mapping[str, bool]) -> Tensor:
    """A model's own last states, (B, T, D).

    Args:
        model: of transformers, without a head.
        tokens_BT: ids of texts of equal length, (B, T) int64, on its device.
        no_cache: what `without_cache` gives for it.
    """
    states: Tensor = model(input_ids=tokens_BT, **no_cache).last_hidden_state
    return states


def find_blocks(model: nn.Module, n_blocks: int) -> nn.ModuleList | None:
    """The list that holds a model's transformer blocks, in the order in which they run; None if that is not certain.

    It is a list as long as the model has blocks. Where several are, the one whose members are of a class that the model
    names as not to be split over devices, which is transformers' name for its blocks.

    Args:
        model: a model without its head.
        n_blocks: how many blocks it has.
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
    """The lists of modules that are in no other list."""
    for child in module.children():
        if isinstance(child, nn.ModuleList):
            yield child
        else:
            yield from _outermost_lists(child)


class _Reached(Exception):
    """The highest layer that is asked for has been computed."""


@contextmanager
def recorded_states(blocks: Sequence[nn.Module], layers: Sequence[int]) -> Iterator[dict[int, Tensor]]:
    """Record the states of several layers, each (B, T, D), while a model is run once within the block.

    What lies above the highest layer is not computed: the run then ends the block early. Afterwards no hook is left
    behind. The hooks are around the blocks' `forward`, which may be replaced.

    Args:
        blocks: the model's transformer blocks, in order.
        layers: 0 for what enters the first block, i for what leaves block i, -1 for the last states.

    Yields:
        The states by layer, filled as the model is run; whoever runs it puts the last states there.

    Raises:
        RuntimeError: a block was not run, or not on states.
    """
    found: dict[int, Tensor] = {}
    highest = LAST if LAST in layers else max(layers)
    with ExitStack() as hooks:
        for layer in set(layers) - {LAST}:
            hooks.callback(_hook(blocks, layer, found, is_highest=layer == highest).remove)
        with suppress(_Reached):
            yield found
    if not found.keys() >= set(layers):
        raise RuntimeError(f"layers {sorted(set(layers) - found.keys())} were not run as the model lists its blocks")


def _hook(blocks: Sequence[nn.Module], layer: int, found: dict[int, Tensor], *, is_highest: bool) -> RemovableHandle:
    """Note a layer's states in `found` when they are there, and end the pass if nothing above is asked for."""

    def keep(value: Any) -> None:
        states = value[0] if isinstance(value, tuple) else value
        if not isinstance(states, Tensor):
            raise RuntimeError(f"layer {layer}: expected states, found {type(states).__name__}")
        found[layer] = states
        if is_highest:
            raise _Reached

    def before(_: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        keep(arguments[0] if arguments else named.get("hidden_states"))

    if layer == 0:
        return blocks[0].register_forward_pre_hook(before, with_kwargs=True)
    return blocks[layer - 1].register_forward_hook(lambda _module, _arguments, output: keep(output))


def leave_out_unused(model: Any, folder: ModelFolder, *, project_out: bool) -> None:
    """Drop what comes after the states that we pool."""
    match folder.family:
        case "opt" if not project_out:
            model.decoder.project_out = None
        case "bert" | "roberta":
            model.pooler = None
        case _:
            pass


def cut_blocks(model: nn.Module, folder: ModelFolder, layers: Sequence[int]) -> nn.ModuleList | None:
    """The model's blocks up to the highest layer that is asked for; those above are dropped from the model.

    Returns:
        The blocks; None if they cannot be told, and only the last layer is asked for.

    Raises:
        ModelError: a layer inside the model is asked for, but its blocks cannot be told.
    """
    blocks = find_blocks(model, folder.n_blocks)
    if blocks is None and any(layer != LAST for layer in layers):
        raise ModelError(
            f"{folder.path}: the blocks of {type(model).__name__} cannot be told, so only its last layer can be had; "
            "pass --layers -1"
        )
    if blocks is not None and LAST not in layers:
        # The first one stays to mark where layer 0 is; it is not run for that.
        del blocks[max(1, *layers) :]
    return blocks
