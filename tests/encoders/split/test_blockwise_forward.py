"""What a micro-batch carries along from block to block, by hand."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tcf.encoders.split.block_calls import BlockCall, BlockOutput
from tcf.encoders.split.blockwise_forward import BlockwiseForward

META = torch.device("meta")


class Block(nn.Module):
    """Multiplies by a factor, and makes the next factor."""

    def forward(self, states: Tensor, factor: Tensor) -> tuple[Tensor, Tensor]:
        return states * factor, factor + 1


def forward_pass(*arguments: Any) -> BlockwiseForward:
    """A pass over as many blocks, each called with one argument."""
    return BlockwiseForward(tuple(BlockCall((argument,), {}) for argument in arguments))


def kept(forward_pass: BlockwiseForward) -> list[tuple[list[BlockOutput], float]]:
    """Run all blocks; after each, what is carried along, and the state."""
    states, found = torch.ones(1, 1, 1), []
    for number in range(len(forward_pass.calls)):
        states = forward_pass.run(Block(), number, states)
        found.append((list(forward_pass.made), states.item()))
    return found


def test_what_a_block_makes_is_kept_for_the_next_one_alone() -> None:
    """Factors 2, 3 and 4; the last block makes something for nobody."""
    found = kept(forward_pass(torch.tensor(2.0), BlockOutput(0, 1), BlockOutput(1, 1)))
    assert found == [([BlockOutput(0, 1)], 2.0), ([BlockOutput(1, 1)], 6.0), ([], 24.0)]


def test_what_several_blocks_need_is_kept_until_the_last_of_them() -> None:
    """Factors 2, 3, 10 and 3: the second block's factor is needed by nobody."""
    found = kept(forward_pass(torch.tensor(2.0), BlockOutput(0, 1), torch.tensor(10.0), BlockOutput(0, 1)))
    assert found == [([BlockOutput(0, 1)], 2.0), ([BlockOutput(0, 1)], 6.0), ([BlockOutput(0, 1)], 60.0), ([], 180.0)]


def test_all_is_moved_and_shared_calls_stay_shared() -> None:
    shared, own = BlockCall((torch.ones(2), "mask"), {}), BlockCall((BlockOutput(0, 1),), {"bias": torch.zeros(3)})
    moved = BlockwiseForward((shared, own, shared), {BlockOutput(0, 1): torch.ones(4)})
    moved.move(META)
    assert moved.calls[0] is moved.calls[2] is not shared
    assert moved.calls[0].arguments[0].device == META and moved.calls[0].arguments[1] == "mask"
    assert moved.calls[1].named["bias"].device == META
    assert {key: (value.device, value.shape) for key, value in moved.made.items()} == {BlockOutput(0, 1): (META, (4,))}
    # What a later block needs is known by name, so it is not lost on the way.
    assert moved.calls[1].needs() == {BlockOutput(0, 1)}


def test_calls_are_looked_through_once(monkeypatch: pytest.MonkeyPatch) -> None:
    needs, looked = BlockCall.needs, []

    def spy(call: BlockCall) -> set[BlockOutput]:
        looked.append(call)
        return needs(call)

    monkeypatch.setattr(BlockCall, "needs", spy)
    way = forward_pass(torch.tensor(2.0), BlockOutput(0, 1), BlockOutput(1, 1))
    kept(way)
    assert looked == list(way.calls)
