"""Recording how a model calls its blocks, by running its own forward.

A model is run with its blocks' `forward` replaced: the recorder stores the arguments of every block besides the states
(masks, positions and rotary tables, which may differ from block to block) and returns the states unchanged. The blocks
can then be run one by one, followed by the model's own final layers, without knowing the architecture. A value that a
block computes for later ones, such as T5's position bias, is recorded as a reference.

A model that changes the states between two blocks, or computes with other outputs of a block, cannot be run like this;
an error says so.

Shapes: B texts, T tokens, D width.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from tcf.common.torch_internals import tree_leaves, tree_map
from tcf.encoders.failures import not_separable_error
from tcf.encoders.prefix_sharing.tree_attention import TreeAttention
from tcf.encoders.split.output_shapes import OutputShapes

__all__ = ["BlockCall", "BlockOutput", "RecordedCalls", "finish_forward", "record"]


@dataclass(frozen=True)
class BlockOutput:
    """Reference to an output of a block other than the states.

    Attributes:
        block: index of the block.
        place: index in the tuple that it returned.
    """

    block: int
    place: int


@dataclass(frozen=True, eq=False)
class BlockCall:
    """Arguments of a block besides the states, which are its first argument.

    Attributes:
        arguments: positional arguments after the first.
        named: keyword arguments.
    """

    arguments: tuple[Any, ...]
    named: dict[str, Any]

    def same_as(self, other: "BlockCall") -> bool:
        """Whether all arguments are the same objects."""
        ours, theirs = (*self.arguments, *self.named.values()), (*other.arguments, *other.named.values())
        return (
            len(self.arguments) == len(other.arguments)
            and self.named.keys() == other.named.keys()
            and all(a is b or (isinstance(a, BlockOutput) and a == b) for a, b in zip(ours, theirs, strict=True))
        )

    def needs(self) -> set[BlockOutput]:
        """Return the outputs of earlier blocks that this call needs."""
        leaves = tree_leaves((self.arguments, self.named), is_leaf=_is_made)
        return {leaf for leaf in leaves if isinstance(leaf, BlockOutput)}

    def filled(self, made: dict[BlockOutput, Tensor]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the arguments with references replaced by the outputs of blocks."""

        def fill(leaf: Any) -> Any:
            return made[leaf] if isinstance(leaf, BlockOutput) else leaf

        filled: tuple[tuple[Any, ...], dict[str, Any]] = tree_map(fill, (self.arguments, self.named), is_leaf=_is_made)
        return filled

    def on(self, device: torch.device) -> "BlockCall":
        """Return the call with its tensors on a device."""

        def move(leaf: Any) -> Any:
            match leaf:
                case Tensor():
                    return leaf.to(device, non_blocking=True)
                case TreeAttention():  # in the place of a mask
                    return leaf.to(device)
                case _:
                    return leaf

        return BlockCall(*tree_map(move, (self.arguments, self.named), is_leaf=_is_made))


def _is_made(leaf: Any) -> bool:
    return isinstance(leaf, BlockOutput)


@dataclass(frozen=True, eq=False)
class RecordedCalls:
    """How a model calls its blocks for a micro-batch.

    Attributes:
        states_BTD: input of the first block.
        calls: the call of each block; blocks with the same arguments share one.
    """

    states_BTD: Tensor
    calls: tuple[BlockCall, ...]


class _Recorded(Exception):
    """The last block has been reached."""


@contextmanager
def _replaced(blocks: nn.ModuleList, forward: Callable[..., Any]) -> Iterator[None]:
    """Replace the blocks' forward by `forward(number, states, ...)` within the block."""
    before = [vars(block).get("forward") for block in blocks]
    try:
        for number, block in enumerate(blocks):
            block.forward = _numbered(forward, number)
        yield
    finally:
        for block, own in zip(blocks, before, strict=True):
            del block.forward
            if own is not None:
                block.forward = own


def _numbered(forward: Callable[..., Any], number: int) -> Callable[..., Any]:
    return lambda *arguments, **named: forward(number, *arguments, **named)


def record(run: Callable[[], Any], blocks: nn.ModuleList, shapes: OutputShapes) -> RecordedCalls:
    """Run a model up to its last block, and record the arguments of every block.

    Args:
        run: runs the model on a micro-batch.
        blocks: all of its blocks; their weights are not needed.
        shapes: kinds of the blocks' outputs.

    Raises:
        NotSeparableError: the model cannot be run block by block.
    """
    calls: list[BlockCall] = []
    entering: list[Tensor] = []
    made: dict[int, BlockOutput] = {}
    kept: list[Tensor] = []  # so that no other tensor gets the identity of one in `made`

    def note(number: int, *arguments: Any, **named: Any) -> Any:
        states, rest, named = _states_first(arguments, named)
        entering.append(states)
        if number != len(calls) or states is not entering[0]:
            raise not_separable_error(
                shapes.path, "it changes the states between its blocks, or runs them in another order"
            )
        are_tensors = shapes.other_outputs(blocks[number], states, rest, named)
        call = BlockCall(*_marked((rest, named), made, shapes))
        calls.append(calls[-1] if calls and call.same_as(calls[-1]) else call)
        if number == len(blocks) - 1:
            raise _Recorded
        if are_tensors is None:
            return states
        others = _placeholders(are_tensors)
        kept.extend(other for other in others if other is not None)
        made.update(
            {id(other): BlockOutput(number, place) for place, other in enumerate(others, 1) if other is not None}
        )
        return (states, *others)

    with _replaced(blocks, note):
        try:
            run()
        except _Recorded:
            return RecordedCalls(entering[0], tuple(calls))
    raise not_separable_error(shapes.path, f"it ran {len(calls)} of its {len(blocks)} blocks")


def _placeholders(are_tensors: tuple[bool, ...]) -> list[Tensor | None]:
    return [torch.empty(0, device="meta") if is_tensor else None for is_tensor in are_tensors]


def _states_first(arguments: tuple[Any, ...], named: dict[str, Any]) -> tuple[Tensor, tuple[Any, ...], dict[str, Any]]:
    if arguments:
        return arguments[0], arguments[1:], named
    rest = dict(named)
    return rest.pop("hidden_states"), (), rest


def _marked(values: Any, made: dict[int, BlockOutput], shapes: OutputShapes) -> Any:
    """Return values in which the outputs of earlier blocks are replaced by `BlockOutput`."""

    def mark(leaf: Any) -> Any:
        if isinstance(leaf, Tensor) and leaf.device.type == "meta":
            if id(leaf) not in made:
                raise not_separable_error(shapes.path, "it computes with outputs of a block other than the states")
            return made[id(leaf)]
        return leaf

    return tree_map(mark, values)


def finish_forward(
    run: Callable[[], Tensor], blocks: nn.ModuleList, states_BTD: Tensor, shapes: OutputShapes
) -> Tensor:
    """Apply a model's final layers to the output of its last block, by running its own forward.

    Args:
        run: runs the model on the same micro-batch, and returns its last states.
        blocks: all of its blocks; their weights are not needed.
        states_BTD: output of the last block.
        shapes: kinds of the blocks' outputs.
    """

    def pass_on(number: int, *arguments: Any, **named: Any) -> Any:
        entering, rest, named = _states_first(arguments, named)
        states = states_BTD if number == len(blocks) - 1 else entering
        are_tensors = shapes.other_outputs(blocks[number], entering, rest, named)
        return states if are_tensors is None else (states, *_placeholders(are_tensors))

    with _replaced(blocks, pass_on):
        return run()
