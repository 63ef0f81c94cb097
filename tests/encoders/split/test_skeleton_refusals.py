"""Models that cannot be run block by block, checkpoints that do not fit, and code of a model's own."""

import json
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers.dynamic_module_utils
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import MixtralConfig, MixtralForCausalLM

from small.encoders.families import FAMILIES, store_weights, stored_weights
from small.encoders.models import draw_weights, edit_json
from small.encoders.skeletons import assert_equal, filled
from tcf.common.errors import ConfigError, ModelError
from tcf.common.torch_internals import storage_id
from tcf.encoders.folder.open_model_folder import open_model_folder
from tcf.encoders.loading import empty_model, load_model
from tcf.encoders.split.place_weights import PlacedWeights
from tcf.encoders.split.skeleton import open_skeleton
from tcf.encoders.split.stored_tensors import StoredTensor
from tcf.encoders.transformers_internals import Placeholder

Folders = Callable[[str], Path]


@pytest.fixture
def copied(family_folder: Folders, tmp_path: Path) -> Folders:
    return lambda name: Path(shutil.copytree(family_folder(name), tmp_path / name))


@pytest.mark.parametrize("name", ["opt", "gpt2", "roberta", "t5", "bart"])
@pytest.mark.parametrize("change", ["lost", "of a fourth block", "of another shape"])
def test_the_same_refusals_as_when_a_model_is_loaded(copied: Folders, name: str, change: str) -> None:
    path = copied(name)
    weights = stored_weights(path)
    one = min(key for key in weights if f"{FAMILIES[name].blocks}.2." in key and weights[key].ndim == 2)
    match change:
        case "lost":
            del weights[one]
        case "of a fourth block":
            weights[one.replace(".2.", ".3.", 1)] = torch.zeros(2, 2)
        case _:
            weights[one] = torch.zeros(3, 5)
    store_weights(path, weights)
    folder = open_model_folder(path)
    with pytest.raises(ModelError) as loading:
        load_model(folder, torch.float32)
    with pytest.raises(ModelError, match=re.escape(str(loading.value))):
        open_skeleton(folder, torch.float32)


def test_layers_that_are_not_there(family_folder: Folders) -> None:
    folder = open_model_folder(family_folder("opt"))
    with pytest.raises(ConfigError, match="found 4"):
        open_skeleton(folder, torch.float32, layers=(4,))
    with pytest.raises(ConfigError, match="--project-out"):
        open_skeleton(folder, torch.float32, project_out=True)


def test_a_model_whose_blocks_cannot_be_told(family_folder: Folders) -> None:
    folder = open_model_folder(family_folder("albert"))
    with pytest.raises(
        ModelError, match=r"cannot be run block by block.*cannot be identified.*pass --schedule dispatch"
    ):
        open_skeleton(folder, torch.float32)


def test_weights_that_are_merged_on_loading(tmp_path: Path) -> None:
    """Experts are stored one by one and computed with as one tensor."""
    config = MixtralConfig(
        vocab_size=64, hidden_size=16, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=2, num_local_experts=2, max_position_embeddings=32,
    )  # fmt: skip
    draw_weights(MixtralForCausalLM(config), 0).save_pretrained(tmp_path)
    folder = open_model_folder(tmp_path)
    with pytest.raises(
        ModelError, match=r"cannot be run block by block.*its weight \S*experts.*pass --schedule dispatch"
    ):
        open_skeleton(folder, torch.float32)


@pytest.mark.parametrize(
    ("change", "is_one"),
    [
        (lambda tensor: tensor, True),
        (nn.Parameter, True),
        (lambda tensor: tensor.to(torch.float16), False),
        (lambda tensor: tensor.t(), False),
        (lambda tensor: tensor.reshape(3, 2), False),
        (lambda tensor: tensor[:1], False),
        (lambda tensor: torch.cat([tensor]), False),
    ],
)
def test_only_what_lies_in_the_checkpoint_as_it_is_used_is_told(
    tmp_path: Path, change: Callable[[Tensor], Tensor], is_one: bool
) -> None:
    """The loader may cast, which is the placeholder's part; whatever it makes of a tensor otherwise is another one."""
    stored = StoredTensor("x", tmp_path / "x", 0, torch.float32, (2, 3))
    placeholder = Placeholder(stored.shape, stored.dtype)
    loaded = placeholder[...].to(dtype=torch.bfloat16)
    placed = PlacedWeights(Any, {}, {storage_id(loaded): stored})  # type: ignore[arg-type]
    assert loaded.dtype == torch.bfloat16
    assert placed.stored(change(loaded)) is (stored if is_one else None)


def test_quantised_weights_and_word_vectors(copied: Folders, tmp_path: Path) -> None:
    path = copied("opt")
    edit_json(path / "config.json", quantization_config={"quant_method": "awq", "bits": 4})
    with pytest.raises(ModelError, match=r"\(its weights are quantised by awq\); pass --schedule dispatch"):
        open_skeleton(open_model_folder(path), torch.float32)
    (tmp_path / "words.txt").write_text("a 1 2\nb 3 4\n")
    with pytest.raises(ModelError, match="word vectors have no blocks"):
        open_skeleton(open_model_folder(tmp_path / "words.txt"), torch.float32)


CODE = """
import torch
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput


class OwnConfig(PreTrainedConfig):
    model_type = "tcf_own_blocks"


class OwnBlock(torch.nn.Module):
    def __init__(self, width, factor):
        super().__init__()
        self.factor = factor
        self.linear = torch.nn.Linear(width, width)
        self.register_buffer("scale", torch.ones(width))

    def forward(self, states):
        return self.factor * self.scale * self.linear(states)


class OwnModel(PreTrainedModel):
    config_class = OwnConfig
    base_model_prefix = "own"
    _no_split_modules = ["OwnBlock"]

    def __init__(self, config):
        super().__init__(config)
        factors = [one.item() for one in torch.linspace(1, 2, config.num_hidden_layers)]
        self.table = torch.nn.Embedding(config.vocab_size, config.hidden_size)
        self.blocks = torch.nn.ModuleList([OwnBlock(config.hidden_size, factor) for factor in factors])
        self.register_buffer("shift", torch.zeros(config.hidden_size), persistent=False)
        self.post_init()

    def _init_weights(self, module):
        if isinstance(module, OwnModel):
            module.shift.fill_(7)

    def forward(self, input_ids):
        states = self.table(input_ids) + self.shift
        for block in self.blocks:
            states = block(states)
        return BaseModelOutput(last_hidden_state=states)
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with code of its own: buffers that are stored, others that are built, numbers asked for on the way."""
    monkeypatch.setattr(transformers.dynamic_module_utils, "HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.setattr(sys, "path", [*sys.path])
    path = tmp_path / "own_blocks"
    path.mkdir()
    auto_map = {"AutoConfig": "own_blocks.OwnConfig", "AutoModel": "own_blocks.OwnModel"}
    settings = {"model_type": "tcf_own_blocks", "hidden_size": 4, "vocab_size": 9, "num_hidden_layers": 2}
    (path / "config.json").write_text(json.dumps({**settings, "auto_map": auto_map}))
    (path / "own_blocks.py").write_text(CODE)
    draw = torch.Generator().manual_seed(0)
    shapes: dict[str, tuple[int, ...]] = {"own.table.weight": (9, 4)}
    for block in range(2):
        at = f"own.blocks.{block}"
        shapes |= {f"{at}.linear.weight": (4, 4), f"{at}.linear.bias": (4,), f"{at}.scale": (4,)}
    weights = {name: torch.randn(shape, generator=draw) for name, shape in shapes.items()}
    save_file(weights, path / "model.safetensors", {"format": "pt"})
    return path


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_a_model_with_code_of_its_own(own: Path, dtype: torch.dtype) -> None:
    folder = open_model_folder(own, trust_remote_code=True)
    skeleton = open_skeleton(folder, dtype, trust_remote_code=True)
    assert [weight.name for weight in skeleton.within[1]] == ["linear.weight", "linear.bias", "scale"]
    assert_equal(filled(skeleton), load_model(folder, dtype, trust_remote_code=True))
    assert skeleton.model.get_buffer("shift").tolist() == [7.0] * 4
    assert not skeleton.no_cache


def test_code_is_not_run_unasked(own: Path) -> None:
    folder = open_model_folder(own, trust_remote_code=True)
    for opened in (open_skeleton, empty_model):
        with pytest.raises(ModelError, match="--trust-remote-code"):
            opened(folder, torch.float32)
