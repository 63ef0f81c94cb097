import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn

from tcf.common.errors import ModelError
from tcf.encoders.encoder import TransformersEncoder, load_encoder
from tcf.encoders.folder.model_folder import ModelFolder
from tcf.encoders.folder.open_model_folder import open_model_folder
from tcf.encoders.speed_up import make_fast

CPU = torch.device("cpu")
TOKENS_BT = torch.tensor([[2, 7, 9], [2, 8, 5]])
Folders = Callable[[str], Path]
needs_onednn = pytest.mark.skipif(
    not torch.backends.mkldnn.is_available(),  # type: ignore[no-untyped-call]
    reason="this build of torch has no oneDNN",
)


@dataclass
class Output:
    last_hidden_state: Tensor


class Model(nn.Module):
    """A model of one linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(10, 4)
        self.linear = nn.Linear(4, 4)
        self.requires_grad_(False)

    def forward(self, input_ids: Tensor) -> Output:
        return Output(self.linear(self.table(input_ids)))


class TakesWeights(Model):
    """It takes the weights of its layer, and leaves the layer out."""

    def forward(self, input_ids: Tensor) -> Output:
        return Output(nn.functional.linear(self.table(input_ids), self.linear.weight, self.linear.bias))


class LooksAtLayers(Model):
    """It computes something else where its layer is of another class."""

    def forward(self, input_ids: Tensor) -> Output:
        scale = 1.0 if isinstance(self.linear, nn.Linear) else 1.01
        return Output(scale * self.linear(self.table(input_ids)))


class GivesNoNumbers(Model):
    """It gives values that are not numbers."""

    def forward(self, input_ids: Tensor) -> Output:
        return Output(self.linear(self.table(input_ids)) * torch.nan)


def encoder_of(model: Model, folder: Path) -> TransformersEncoder:
    anything = ModelFolder(folder, {}, "other", 4, None, 0, ("mean",))
    return TransformersEncoder(anything, cast(Any, model), CPU, (-1,), None, {})


@needs_onednn
def test_a_model_is_packed_on_a_cpu(tmp_path: Path) -> None:
    encoder = encoder_of(Model(), tmp_path)
    (before,) = encoder.states(TOKENS_BT)
    make_fast(encoder, compile=False)
    assert type(encoder.model.linear) is not nn.Linear
    torch.testing.assert_close(encoder.states(TOKENS_BT)[0], before, rtol=0, atol=1e-6)


@pytest.mark.parametrize("model", [TakesWeights, LooksAtLayers, GivesNoNumbers])
def test_packing_is_taken_back_where_a_model_does_not_give_the_same_with_it(tmp_path: Path, model: type[Model]) -> None:
    encoder = encoder_of(model(), tmp_path)
    linear = encoder.model.linear
    (before,) = encoder.states(TOKENS_BT)
    make_fast(encoder, compile=False)
    assert encoder.model.linear is linear
    assert encoder.states(TOKENS_BT)[0].allclose(before, rtol=0, atol=0, equal_nan=True)


@needs_onednn
@pytest.mark.parametrize("name", ["opt", "llama", "bert", "t5"])
def test_the_states_of_every_layer_stay(family_folder: Folders, name: str) -> None:
    folder = open_model_folder(family_folder(name))
    encoder = load_encoder(folder, torch.float32, CPU, layers=(0, 1, 3, -1))
    before = [states.clone() for states in encoder.states(TOKENS_BT)]
    make_fast(encoder, compile=False)
    assert not [part for part in cast(Any, encoder).model.modules() if isinstance(part, nn.Linear)]
    for found, expected in zip(encoder.states(TOKENS_BT), before, strict=True):
        torch.testing.assert_close(found, expected, rtol=2e-5, atol=2e-5)


def test_weights_that_are_not_numbers_stay_visible(family_folder: Folders) -> None:
    """Packed with its ReLU, a layer whose sums are not numbers would give zeros."""
    encoder = load_encoder(open_model_folder(family_folder("opt")), torch.float32, CPU)
    model = cast(Any, encoder).model
    model.decoder.layers[1].fc1.bias[3] = torch.nan
    make_fast(encoder, compile=False)
    assert encoder.states(TOKENS_BT)[0].isnan().any()


def test_an_encoder_that_is_no_model_of_transformers_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("a 1 2\n")
    encoder = load_encoder(open_model_folder(tmp_path / "words.txt"), torch.float32, CPU)
    make_fast(encoder, compile=False)
    with pytest.raises(ModelError, match="--compile expected a model with identifiable blocks"):
        make_fast(encoder, compile=True)
    assert encoder.states(torch.tensor([[0]]))[0].tolist() == [[[1, 2]]]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler on a CPU")
def test_compiled_blocks_give_the_same_for_any_shape(family_folder: Folders) -> None:
    folder = open_model_folder(family_folder("opt"))
    plain, compiled = (load_encoder(folder, torch.float32, CPU, layers=(0, 1)) for _ in range(2))
    (block,) = cast(Any, compiled).blocks
    own = block.forward
    make_fast(compiled, compile=True)
    assert block.forward is not own
    assert isinstance(block.fc1, nn.Linear), "compiling takes the place of packing"
    with torch.inference_mode():
        for rows, length in ((2, 3), (5, 4)):
            tokens_BT = torch.arange(rows * length).view(rows, length)
            for found, expected in zip(compiled.states(tokens_BT), plain.states(tokens_BT), strict=True):
                torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
