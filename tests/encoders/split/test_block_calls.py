"""Blocks run one by one as the model itself runs them."""

import inspect
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from small.encoders.families import FAMILIES, own_model, save_family
from tcf.common.errors import ModelError
from tcf.encoders.split.block_calls import BlockCall, BlockOutput, finish_forward, record
from tcf.encoders.split.blockwise_forward import BlockwiseForward
from tcf.encoders.split.output_shapes import OutputShapes

WITH_BLOCKS = [name for name, family in FAMILIES.items() if family.blocks]
TOKENS_BT = torch.tensor([[5, 9, 17, 100, 2, 7], [3, 3, 200, 8, 6, 40]])


def stack(model: PreTrainedModel, name: str) -> nn.ModuleList:
    found = model.get_submodule(FAMILIES[name].blocks)
    assert isinstance(found, nn.ModuleList)
    return found


def runs(model: PreTrainedModel, tokens_BT: Tensor) -> Any:
    extra = {"use_cache": False} if "use_cache" in inspect.signature(model.forward).parameters else {}
    return lambda: model(input_ids=tokens_BT, **extra).last_hidden_state


def one_by_one(model: PreTrainedModel, blocks: nn.ModuleList, tokens_BT: Tensor, path: Path) -> list[Tensor]:
    """States of every layer and the last ones, every block's weights on meta while it is not run."""
    shapes, run = OutputShapes(path), runs(model, tokens_BT)
    weights = [dict(block.named_parameters()) for block in blocks]
    script = record(run, blocks, shapes)
    states, forward = [script.states_BTD], BlockwiseForward(script.calls)
    for number, block in enumerate(blocks):
        states.append(forward.run(block, number, states[-1]))
    assert [dict(block.named_parameters()).keys() for block in blocks] == [w.keys() for w in weights]
    return [*states, finish_forward(run, blocks, states[-1], shapes)]


@pytest.mark.parametrize("name", WITH_BLOCKS)
def test_blocks_run_one_by_one_give_the_models_own_states_to_the_bit(name: str, tmp_path: Path) -> None:
    model = own_model(name, save_family(name, tmp_path / "m"))
    blocks = stack(model, name)
    with torch.inference_mode():
        found = one_by_one(model, blocks, TOKENS_BT, tmp_path)
        expected = runs(model, TOKENS_BT)()
        inside: list[Any] = []
        for block in blocks:
            block.register_forward_hook(lambda _, __, output: inside.append(output))
        runs(model, TOKENS_BT)()
    assert torch.equal(found[-1], expected)
    for mine, own in zip(found[1:-1], inside, strict=True):
        assert torch.equal(mine, own[0] if isinstance(own, tuple) else own)
    assert not torch.equal(found[0], found[1])


def test_t5_hands_its_position_bias_from_block_to_block(tmp_path: Path) -> None:
    model = own_model("t5", save_family("t5", tmp_path / "m"))
    with torch.inference_mode():
        script = record(runs(model, TOKENS_BT), stack(model, "t5"), OutputShapes(tmp_path))
    assert [call.needs() for call in script.calls] == [set(), {BlockOutput(0, 1)}, {BlockOutput(1, 1)}]


def test_blocks_called_alike_share_a_call(tmp_path: Path) -> None:
    model = own_model("opt", save_family("opt", tmp_path / "m"))
    with torch.inference_mode():
        calls = record(runs(model, TOKENS_BT), stack(model, "opt"), OutputShapes(tmp_path)).calls
    assert calls[0] is calls[1] is calls[2]
    assert calls[0].needs() == set()


class Layer(nn.Module):
    def forward(self, states: Tensor, factor: Tensor | None = None) -> Any:
        return states * 2 if factor is None else (states * factor, factor + 1)


class Model(nn.Module):
    """Blocks with something between them."""

    def __init__(self, between: str) -> None:
        super().__init__()
        self.blocks, self.between = nn.ModuleList([Layer(), Layer(), Layer()]), between

    def forward(self) -> Tensor:
        states, factor = torch.ones(1, 2, 3), torch.ones(1)
        for number, block in enumerate(self.blocks):
            match self.between:
                case "added":
                    states = block(states) + 1
                case "made":
                    states, factor = block(states, factor)
                    factor = factor * 2
                case "handed on":
                    states, factor = block(states, factor)
                case "skipped" if number == 1:
                    continue
                case _:
                    states = block(states)
        return states


@pytest.mark.parametrize(
    ("between", "says"),
    [("added", "changes the states between"), ("made", "computes with"), ("skipped", "2 of its 3|another order")],
)
def test_a_model_that_cannot_be_taken_apart_says_so(between: str, says: str, tmp_path: Path) -> None:
    model = Model(between)
    with pytest.raises(ModelError, match=rf"cannot be run block by block \(.*({says}).*\); pass --schedule dispatch"):
        record(model, model.blocks, OutputShapes(tmp_path))
    # Its own forward is back.
    assert model().shape == (1, 2, 3)


@pytest.mark.parametrize("between", ["nothing", "handed on"])
def test_what_blocks_make_is_handed_on_by_place(between: str, tmp_path: Path) -> None:
    model = Model(between)
    shapes = OutputShapes(tmp_path)
    script = record(model, model.blocks, shapes)
    states, forward = script.states_BTD, BlockwiseForward(script.calls)
    for number, block in enumerate(model.blocks):
        states = forward.run(block, number, states)
    # 2 * 2 * 2, or factors 1, 2 and 3.
    assert sorted(set(states.flatten().tolist())) == ([6.0] if between == "handed on" else [8.0])
    assert torch.equal(finish_forward(model, model.blocks, states, shapes), model())


def test_calls_are_alike_only_with_the_very_same_objects() -> None:
    a, b = torch.ones(2), torch.ones(2)
    assert BlockCall((a,), {"x": None}).same_as(BlockCall((a,), {"x": None}))
    assert not BlockCall((a,), {"x": None}).same_as(BlockCall((b,), {"x": None}))
    assert not BlockCall((a,), {"x": None}).same_as(BlockCall((a,), {"y": None}))
    assert not BlockCall((BlockOutput(0, 1),), {}).same_as(BlockCall((BlockOutput(1, 1),), {}))
