"""What a model does before its blocks, between them and after them, learned from its own forward.

A model is run with its blocks' `forward` replaced: the recorder notes what every block is called with beside the states
(masks, positions and rotary tables, which may differ from block to block) and hands the states on as they are. So the
blocks can be run one by one, and the model's own tail after them, without knowing the architecture. A value that one
block makes for those after it, such as T5's position bias, is noted as such.

A model that changes the states between two blocks, or computes with what a block made, cannot be run like this; that is
noticed.

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
from tcf.encoders.split.output_shapes import OutputShapes

__all__ = ["BlockCall", "BlockOutput", "RecordedCalls", "finish_forward", "record"]


@dataclass(frozen=True)
class BlockOutput:
    """Stands for what a block made beside the states.

    Attributes:
        block: which one.
        place: the place in the tuple that it gave.
    """

    block: int
    place: int


@dataclass(frozen=True, eq=False)
class BlockCall:
    """What a block is called with beside the states, which are its first argument.

    Attributes:
        arguments: those after the first.
        named: those with a name.
    """

    arguments: tuple[Any, ...]
    named: dict[str, Any]

    def same_as(self, other: "BlockCall") -> bool:
        """Whether these are the very same objects."""
        ours, theirs = (*self.arguments, *self.named.values()), (*other.arguments, *other.named.values())
        return (
            len(self.arguments) == len(other.arguments)
            and self.named.keys() == other.named.keys()
            and all(a is b or (isinstance(a, BlockOutput) and a == b) for a, b in zip(ours, theirs, strict=True))
        )

    def needs(self) -> set[BlockOutput]:
        """What must have been made by blocks before."""
        leaves = tree_leaves((self.arguments, self.named), is_leaf=_is_made)
        return {leaf for leaf in leaves if isinstance(leaf, BlockOutput)}

    def filled(self, made: dict[BlockOutput, Tensor]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments with what blocks made in its place."""

        def fill(leaf: Any) -> Any:
            return made[leaf] if isinstance(leaf, BlockOutput) else leaf

        filled: tuple[tuple[Any, ...], dict[str, Any]] = tree_map(fill, (self.arguments, self.named), is_leaf=_is_made)
        return filled

    def on(self, device: torch.device) -> "BlockCall":
        """The same call with its tensors on a device."""

        def move(leaf: Any) -> Any:
            return leaf.to(device, non_blocking=True) if isinstance(leaf, Tensor) else leaf

        return BlockCall(*tree_map(move, (self.arguments, self.named), is_leaf=_is_made))


def _is_made(leaf: Any) -> bool:
    return isinstance(leaf, BlockOutput)


@dataclass(frozen=True, eq=False)
class RecordedCalls:
    """How a model runs its blocks on a micro-batch.

    Attributes:
        states_BTD: what enters the first block.
        calls: what each block is called with; blocks called alike share one.
    """

    states_BTD: Tensor
    calls: tuple[BlockCall, ...]


class _Recorded(Exception):
    """The last block has been reached."""


@contextmanager
def _replaced(blocks: nn.ModuleList, forward: Callable[..., Any]) -> Iterator[None]:
    """Let blocks run `forward(number, states, ...)` instead of their own."""
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
    """Run a model up to its last block, and note what every block is called with.

    Args:
        run: runs the model on a micro-batch.
        blocks: all of its blocks; their weights are not needed.
        shapes: what the blocks give.

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
                shapes.path, "the states are changed between its blocks, or these run in another order"
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
    """Values with `BlockOutput` in the place of what earlier blocks made."""

    def mark(leaf: Any) -> Any:
        if isinstance(leaf, Tensor) and leaf.device.type == "meta":
            if id(leaf) not in made:
                raise not_separable_error(shapes.path, "it computes with what a block made beside the states")
            return made[id(leaf)]
        return leaf

    return tree_map(mark, values)


def finish_forward(
    run: Callable[[], Tensor], blocks: nn.ModuleList, states_BTD: Tensor, shapes: OutputShapes
) -> Tensor:
    """What a model makes of the states that leave its last block, by its own forward.

    Args:
        run: runs the model on the same micro-batch, and gives its last states.
        blocks: all of its blocks; their weights are not needed.
        states_BTD: what leaves the last block.
        shapes: what the blocks give.
    """

    def hand_on(number: int, *arguments: Any, **named: Any) -> Any:
        entering, rest, named = _states_first(arguments, named)
        states = states_BTD if number == len(blocks) - 1 else entering
        are_tensors = shapes.other_outputs(blocks[number], entering, rest, named)
        return states if are_tensors is None else (states, *_placeholders(are_tensors))

    with _replaced(blocks, hand_on):
        return run()
