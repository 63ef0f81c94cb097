"""States between blocks: which layers there are, what is computed for them, and what is left behind."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from small.encoders.families import FAMILIES, hidden_states, own_model
from small.encoders.models import save_opt
from tcf.common.errors import ConfigError, ModelError
from tcf.encoders.blocks import find_blocks, recorded_states
from tcf.encoders.encoder import TransformersEncoder, check_layers, layer_width, load_encoder
from tcf.encoders.folder.open_model_folder import open_model_folder

CPU = torch.device("cpu")
TOKENS_BT = torch.tensor([[2, 7, 9, 11], [2, 8, 5, 6]])
STACKS = [name for name in FAMILIES if FAMILIES[name].blocks]
Folders = Callable[[str], Path]


def loaded(path: Path, *layers: int, project_out: bool = False) -> TransformersEncoder:
    encoder = load_encoder(open_model_folder(path), torch.float32, CPU, layers=layers, project_out=project_out)
    assert isinstance(encoder, TransformersEncoder)
    return encoder


def weights(encoder: TransformersEncoder) -> int:
    return sum(weight.numel() for weight in encoder.model.parameters())


class Doubling(nn.Module):
    """A block that gives what it gets, doubled, as a tuple or not, and counts its calls."""

    def __init__(self, *, in_tuple: bool) -> None:
        super().__init__()
        self.in_tuple, self.calls = in_tuple, 0

    def forward(self, hidden_states: Tensor) -> Any:
        self.calls += 1
        return (2 * hidden_states, "more") if self.in_tuple else 2 * hidden_states


class Stack(nn.Module):
    """Three blocks between + 1 and a last step of + 10."""

    def __init__(self, *, in_tuple: bool, named: bool) -> None:
        super().__init__()
        self.h = nn.ModuleList(Doubling(in_tuple=in_tuple) for _ in range(3))
        self.named = named

    def forward(self, states: Tensor) -> Tensor:
        states = states + 1
        for block in self.h:
            found = block(hidden_states=states) if self.named else block(states)
            states = found[0] if isinstance(found, tuple) else found
        return states + 10


@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize("in_tuple", [False, True])
def test_states_by_hand(in_tuple: bool, named: bool) -> None:
    model = Stack(in_tuple=in_tuple, named=named)
    with recorded_states(list(model.h), (3, 0, -1, 1)) as found:
        found[-1] = model(torch.zeros(1, 1, 1))
    assert {layer: states.item() for layer, states in found.items()} == {0: 1, 1: 2, 3: 8, -1: 18}


@pytest.mark.parametrize(("layers", "calls"), [((0,), 0), ((1,), 1), ((0, 2), 2), ((3,), 3), ((-1,), 3), ((0, -1), 3)])
def test_nothing_above_the_highest_layer_is_computed(layers: tuple[int, ...], calls: int) -> None:
    model = Stack(in_tuple=False, named=False)
    with recorded_states(list(model.h), layers) as found:
        found[-1] = model(torch.zeros(1, 1, 1))
    assert set(found) == set(layers)
    assert sum(block.calls for block in model.h if isinstance(block, Doubling)) == calls


def test_no_hook_is_left_behind_even_after_an_error() -> None:
    model = Stack(in_tuple=False, named=False)
    with recorded_states(list(model.h), (0, 2)):
        model(torch.zeros(1, 1, 1))
    with pytest.raises(TypeError), recorded_states(list(model.h), (0, 2, -1)) as found:
        found[-1] = model(None)
    assert not any(block._forward_hooks or block._forward_pre_hooks for block in model.h)


def test_a_block_that_is_not_run_is_noticed() -> None:
    model = Stack(in_tuple=False, named=False)
    not_run = pytest.raises(RuntimeError, match=r"found layers that did not run: 1")
    with not_run, recorded_states(list(model.h), (1, -1)) as found:
        found[-1] = torch.zeros(1)


def test_a_forward_may_be_replaced(family_folder: Folders) -> None:
    encoder = loaded(family_folder("llama"), 1, -1)
    before = encoder.states(TOKENS_BT)
    assert encoder.blocks is not None
    calls: list[int] = []

    def counted(forward: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any, **named: Any) -> Any:
            calls.append(1)
            return forward(*given, **named)

        return call

    for block in encoder.blocks:
        block.forward = counted(block.forward)
    for states, expected in zip(encoder.states(TOKENS_BT), before, strict=True):
        assert torch.equal(states, expected)
    assert len(calls) == 3


def test_lists_of_equal_length_and_lists_in_lists() -> None:
    one, two = Stack(in_tuple=False, named=False), Stack(in_tuple=True, named=False)
    assert find_blocks(nn.Sequential(one), 3) is one.h
    assert find_blocks(nn.ModuleDict({"a": one, "b": two}), 3) is None
    experts = [nn.ModuleDict({"experts": nn.ModuleList([nn.Linear(1, 1), nn.Linear(1, 1)])}) for _ in range(2)]
    inner = nn.ModuleList(experts)
    assert find_blocks(nn.Sequential(inner), 2) is inner
    assert find_blocks(nn.Sequential(nn.ModuleList([nn.Linear(1, 1), nn.ReLU()])), 2) is None
    assert find_blocks(nn.Sequential(nn.ModuleList()), 0) is None


def test_a_model_names_its_blocks() -> None:
    """Of two lists of equal length the one whose classes the model names; these may be several."""
    model = nn.ModuleDict(
        {"a": nn.ModuleList([nn.Linear(1, 1), nn.GELU()]), "b": nn.ModuleList([nn.ReLU(), nn.ReLU()])}
    )
    assert find_blocks(model, 2) is model["b"]
    model._no_split_modules = {"Linear", "GELU"}  # type: ignore[assignment]
    assert find_blocks(model, 2) is model["a"]


@pytest.mark.parametrize("name", STACKS)
def test_blocks_above_the_highest_layer_are_dropped(family_folder: Folders, name: str) -> None:
    """Their weights are gone, and the states below are the same as with them."""
    path = family_folder(name)
    whole = loaded(path, 0, 2, -1)
    at_0, at_2, _ = whole.states(TOKENS_BT)
    to_2 = loaded(path, 2, 0)
    for states, expected in zip(to_2.states(TOKENS_BT), (at_2, at_0), strict=True):
        assert torch.equal(states, expected)
    (alone,) = loaded(path, 0).states(TOKENS_BT)
    assert torch.equal(alone, at_0)
    assert whole.blocks is not None and to_2.blocks is not None
    assert whole.blocks is whole.model.get_submodule(FAMILIES[name].blocks)
    assert (len(whole.blocks), len(to_2.blocks)) == (3, 2)
    dropped = sum(weight.numel() for weight in whole.blocks[2].parameters())
    assert weights(whole) - weights(to_2) == dropped > 0


@pytest.mark.parametrize("name", ["bert", "roberta", "opt-post-norm", "distilbert"])
def test_without_a_final_norm_the_last_layer_is_that_of_the_last_block(family_folder: Folders, name: str) -> None:
    of_block, last = loaded(family_folder(name), 3, -1).states(TOKENS_BT)
    assert torch.equal(of_block, last)


def test_opt_before_and_after_its_projection(tmp_path: Path) -> None:
    path = save_opt(tmp_path / "m", norm="post")
    own = hidden_states(own_model("opt", path), "decoder.layers", TOKENS_BT[0].tolist())
    folder = open_model_folder(path)
    before, at_1 = loaded(path, -1, 1).states(TOKENS_BT)
    after, at_1_too = loaded(path, -1, 1, project_out=True).states(TOKENS_BT)
    assert (
        [layer_width(folder, layer, project_out=True) for layer in (-1, 1)]
        == [16, 32]
        == [after.shape[2], at_1.shape[2]]
    )
    torch.testing.assert_close(before[0], own[2], rtol=0, atol=1e-5)
    torch.testing.assert_close(after[0], own[-1], rtol=0, atol=1e-5)
    assert torch.equal(at_1, at_1_too)


@pytest.mark.parametrize("name", ["opt", "bert"])
def test_a_projection_that_is_not_there(family_folder: Folders, name: str) -> None:
    with pytest.raises(
        ConfigError, match="--project-out: expected a model with a projection .* leave --project-out out"
    ):
        loaded(family_folder(name), -1, project_out=True)


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ((), "expected -1 or 0 to 3, .* found none"),
        ((4,), "expected -1 or 0 to 3, .* found 4"),
        ((0, -2), "expected -1 or 0 to 3, .* found -2"),
        ((1, 0, 1), "expected each layer once, found 1 more than once"),
    ],
)
def test_layers_that_a_model_does_not_have(family_folder: Folders, layers: tuple[int, ...], message: str) -> None:
    path = family_folder("llama")
    with pytest.raises(ConfigError, match=f"^--layers: {message}"):
        check_layers(open_model_folder(path), layers)
    with pytest.raises(ConfigError, match="^--layers"):
        loaded(path, *layers)


def test_layers_of_a_model_whose_blocks_cannot_be_told(family_folder: Folders) -> None:
    """ALBERT runs one block three times."""
    path = family_folder("albert")
    check_layers(open_model_folder(path), (2, -1))
    with pytest.raises(ModelError, match="the model's blocks cannot be identified.* pass --layers -1"):
        loaded(path, 2, -1)


def test_a_model_that_reads_no_plain_tokens(tmp_path: Path, family_folder: Folders) -> None:
    """XLNet keeps its states with texts and tokens swapped; DPR gives no states of tokens at all."""
    from transformers import DPRConfig, DPRQuestionEncoder, XLNetConfig, XLNetModel

    xlnet = XLNetModel(XLNetConfig(vocab_size=512, d_model=32, n_layer=2, n_head=4, d_inner=48))
    xlnet.save_pretrained(tmp_path / "xlnet")
    assert loaded(tmp_path / "xlnet", -1).states(TOKENS_BT)[0].shape == (2, 4, 32)
    with pytest.raises(ModelError, match=r"expected states of shape 1 x 3 x 32 .* found 3 x 1 x 32 at layer 1"):
        loaded(tmp_path / "xlnet", 1)
    sizes: dict[str, Any] = {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 48,
    }
    DPRQuestionEncoder(DPRConfig(vocab_size=512, **sizes)).save_pretrained(tmp_path / "dpr")
    with pytest.raises(ModelError, match="expected a model that reads token ids alone, found another"):
        loaded(tmp_path / "dpr", -1)
