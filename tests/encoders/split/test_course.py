"""What a micro-batch carries along from block to block, by hand."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tcf.encoders.split.block_calls import Call, Made
from tcf.encoders.split.course import Course

META = torch.device("meta")


class Block(nn.Module):
    """Multiplies by a factor, and makes the next factor."""

    def forward(self, states: Tensor, factor: Tensor) -> tuple[Tensor, Tensor]:
        return states * factor, factor + 1


def course(*arguments: Any) -> Course:
    """A course over as many blocks, each called with one argument."""
    return Course(tuple(Call((argument,), {}) for argument in arguments))


def kept(course: Course) -> list[tuple[list[Made], float]]:
    """Run all blocks; after each, what is carried along, and the state."""
    states, found = torch.ones(1, 1, 1), []
    for number in range(len(course.calls)):
        states = course.run(Block(), number, states)
        found.append((list(course.made), states.item()))
    return found


def test_what_a_block_makes_is_kept_for_the_next_one_alone() -> None:
    """Factors 2, 3 and 4; the last block makes something for nobody."""
    found = kept(course(torch.tensor(2.0), Made(0, 1), Made(1, 1)))
    assert found == [([Made(0, 1)], 2.0), ([Made(1, 1)], 6.0), ([], 24.0)]


def test_what_several_blocks_need_is_kept_until_the_last_of_them() -> None:
    """Factors 2, 3, 10 and 3: the second block's factor is needed by nobody."""
    found = kept(course(torch.tensor(2.0), Made(0, 1), torch.tensor(10.0), Made(0, 1)))
    assert found == [([Made(0, 1)], 2.0), ([Made(0, 1)], 6.0), ([Made(0, 1)], 60.0), ([], 180.0)]


def test_all_is_moved_and_shared_calls_stay_shared() -> None:
    shared, own = Call((torch.ones(2), "mask"), {}), Call((Made(0, 1),), {"bias": torch.zeros(3)})
    moved = Course((shared, own, shared), {Made(0, 1): torch.ones(4)})
    moved.move(META)
    assert moved.calls[0] is moved.calls[2] is not shared
    assert moved.calls[0].arguments[0].device == META and moved.calls[0].arguments[1] == "mask"
    assert moved.calls[1].named["bias"].device == META
    assert {key: (value.device, value.shape) for key, value in moved.made.items()} == {Made(0, 1): (META, (4,))}
    # What a later block needs is known by name, so it is not lost on the way.
    assert moved.calls[1].needs() == {Made(0, 1)}


def test_calls_are_looked_through_once(monkeypatch: pytest.MonkeyPatch) -> None:
    needs, looked = Call.needs, []

    def spy(call: Call) -> set[Made]:
        looked.append(call)
        return needs(call)

    monkeypatch.setattr(Call, "needs", spy)
    way = course(torch.tensor(2.0), Made(0, 1), Made(1, 1))
    kept(way)
    assert looked == list(way.calls)
