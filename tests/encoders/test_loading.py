"""Weights in every form that they are published in, and folders whose weights and configuration do not fit together."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import T5EncoderModel

from small.encoders.families import FAMILIES, store_weights, stored_weights
from small.encoders.models import edit_json, save_opt
from tcf.common.errors import ModelError
from tcf.encoders.encoder import load_encoder
from tcf.encoders.folder.open_model_folder import open_model_folder
from tcf.encoders.folder.weight_files import weight_files

CPU = torch.device("cpu")
Folders = Callable[[str], Path]
STACKS = [name for name in FAMILIES if FAMILIES[name].blocks]


def last_states(path: Path) -> Tensor:
    (states,) = load_encoder(open_model_folder(path), torch.float32, CPU).states(torch.tensor([[2, 7, 9, 4]]))
    return states


@pytest.fixture
def copied(family_folder: Folders, tmp_path: Path) -> Folders:
    return lambda name: Path(shutil.copytree(family_folder(name), tmp_path / name))


def of_last_block(name: str, weights: dict[str, Tensor]) -> str:
    """A matrix of the last block, by its name in the checkpoint."""
    return min(key for key in weights if f"{FAMILIES[name].blocks}.2." in key and weights[key].ndim == 2)


@pytest.mark.parametrize(("kind", "files"), [("safetensors", 1), ("bin", 1), ("bin", 3)])
@pytest.mark.parametrize("name", ["gpt2", "llama", "t5"])
def test_one_file_or_several_of_either_kind(copied: Folders, name: str, kind: str, files: int) -> None:
    path = copied(name)
    before = last_states(path)
    store_weights(path, stored_weights(path), kind=kind, files=files)
    assert len(weight_files(path)) == files
    assert torch.equal(last_states(path), before)


@pytest.mark.parametrize("name", STACKS)
def test_every_weight_of_the_body_must_be_there(copied: Folders, name: str) -> None:
    path = copied(name)
    weights = stored_weights(path)
    lost = of_last_block(name, weights)
    store_weights(path, {key: weight for key, weight in weights.items() if key != lost})
    with pytest.raises(ModelError, match=r"lacks \d weights?\w*, such as \S*2\."):
        last_states(path)


@pytest.mark.parametrize("name", STACKS)
def test_every_weight_of_the_body_must_have_a_place(copied: Folders, name: str) -> None:
    path = copied(name)
    weights = stored_weights(path)
    of_a_fourth = of_last_block(name, weights).replace(".2.", ".3.", 1)
    store_weights(path, {**weights, of_a_fourth: torch.zeros(2, 2)})
    with pytest.raises(
        ModelError, match=r"has 1 weights that do not belong to the model of config\.json, such as \S*\.3\."
    ):
        last_states(path)


@pytest.mark.parametrize("name", ["gpt2", "llama", "roberta", "t5", "bart"])
def test_every_weight_must_have_its_shape(copied: Folders, name: str) -> None:
    path = copied(name)
    weights = stored_weights(path)
    store_weights(path, {**weights, of_last_block(name, weights): torch.zeros(3, 5)})
    with pytest.raises(
        ModelError, match=r"found \d+ others, such as \S+ with shape [\dx ]+ instead of [\dx ]+; "
    ) as caught:
        last_states(path)
    assert "ignore_mismatched_sizes" not in str(caught.value)


@pytest.mark.parametrize("name", ["opt", "gpt2", "llama", "bert", "t5", "mt5", "bart"])
def test_weights_of_heads_and_of_decoders_may_be_anything(copied: Folders, name: str) -> None:
    path = copied(name)
    before = last_states(path)
    weights = stored_weights(path)
    heads = {
        "lm_head.extra.weight": torch.zeros(3),
        "classifier.weight": torch.zeros(2, 2),
        "score.weight": torch.ones(1),
    }
    if name.startswith(("t5", "mt5")):
        weights = {key: weight for key, weight in weights.items() if not key.startswith("decoder.block.1.")}
    store_weights(path, {**weights, **heads})
    assert torch.equal(last_states(path), before)


LEGACY = {
    "gpt2": {
        "transformer.h.0.attn.bias": torch.ones(1, 1, 64, 64),
        "transformer.h.2.attn.masked_bias": torch.tensor(-1e4),
    },
    "llama": {"model.layers.1.self_attn.rotary_emb.inv_freq": torch.ones(4)},
    "mistral": {"model.layers.1.self_attn.rotary_emb.inv_freq": torch.ones(4)},
    "gpt_neox": {
        "gpt_neox.layers.0.attention.bias": torch.ones(1, 1, 64, 64),
        "gpt_neox.layers.0.attention.masked_bias": torch.tensor(-1e9),
        "gpt_neox.layers.0.attention.rotary_emb.inv_freq": torch.ones(1),
    },
    "bert": {f"bert.embeddings.{name}": torch.arange(64)[None] for name in ("position_ids", "token_type_ids")},
    "roberta": {"roberta.embeddings.position_ids": torch.arange(66)[None]},
    "distilbert": {"distilbert.embeddings.position_ids": torch.arange(64)[None]},
    "opt": {"model.decoder.version": torch.zeros(1)},
    "t5": {"decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight": torch.zeros(32, 4)},
}


@pytest.mark.parametrize("name", LEGACY)
def test_what_older_versions_saved_beside_weights(copied: Folders, name: str) -> None:
    path = copied(name)
    before = last_states(path)
    store_weights(path, {**stored_weights(path), **LEGACY[name]})
    assert torch.equal(last_states(path), before)


@pytest.mark.parametrize(
    ("name", "prefix"),
    [("gpt2", "transformer."), ("opt", "model."), ("llama", "model."), ("bert", "bert."), ("roberta", "roberta.")],
)
def test_names_without_the_prefix_of_a_model_with_a_head(copied: Folders, name: str, prefix: str) -> None:
    """As `gpt2` (`h.0...`) and the first files of OPT (`decoder.layers.0...`) have them, heads aside."""
    path = copied(name)
    before = last_states(path)
    weights = {key.removeprefix(prefix): weight for key, weight in stored_weights(path).items()}
    extra = {"decoder.output_projection.weight": torch.zeros(512, 32)} if name == "opt" else {}
    store_weights(path, {**weights, **extra})
    assert torch.equal(last_states(path), before)


def test_names_of_norms_as_in_the_first_berts(copied: Folders) -> None:
    path = copied("bert")
    before = last_states(path)
    weights = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): weight
        for name, weight in stored_weights(path).items()
    }
    assert any(name.endswith("gamma") for name in weights)
    store_weights(path, weights)
    assert torch.equal(last_states(path), before)


def test_an_encoder_of_t5_saved_by_itself(copied: Folders, tmp_path: Path) -> None:
    path = copied("t5")
    before = last_states(path)
    T5EncoderModel.from_pretrained(str(path), local_files_only=True).save_pretrained(tmp_path / "encoder")
    assert torch.equal(last_states(tmp_path / "encoder"), before)


class Poison:
    """Makes a folder when it is unpickled."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.place),)


@pytest.mark.parametrize("files", [1, 2])
def test_a_pickle_with_code_in_it_is_not_run(copied: Folders, tmp_path: Path, files: int) -> None:
    path = copied("llama")
    store_weights(path, stored_weights(path), kind="bin", files=files)
    victim = weight_files(path)[-1]
    torch.save({**torch.load(victim), "x": Poison(tmp_path / "ran")}, victim)
    with pytest.raises(
        ModelError, match=r"cannot be loaded \(a file is damaged or contains other objects than tensors"
    ) as caught:
        last_states(path)
    assert not (tmp_path / "ran").exists()
    assert "weights_only" not in str(caught.value)
    torch.load(victim, weights_only=False)
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize("content", [b"", b"no archive", b"\x80\x02K\x01."])
def test_a_damaged_file_saved_by_torch(tmp_path: Path, content: bytes) -> None:
    path = save_opt(tmp_path / "m")
    (path / "model.safetensors").unlink()
    (path / "pytorch_model.bin").write_bytes(content)
    with pytest.raises(ModelError, match="weights cannot be loaded"):
        last_states(path)


@pytest.mark.parametrize("keep", [0, 4, 1000, -10])
def test_a_truncated_file_of_weights(tmp_path: Path, keep: int) -> None:
    path = save_opt(tmp_path / "m")
    file = path / "model.safetensors"
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(ModelError, match=r"model\.safetensors: damaged or truncated: expected"):
        last_states(path)


@pytest.mark.parametrize("name", ["adapter_config.json", "shard-00000-model-00000-of-00001.safetensors"])
def test_weights_that_transformers_would_read_instead(copied: Folders, name: str) -> None:
    path = copied("opt")
    (path / name).write_text("{}")
    with pytest.raises(ModelError, match=f"{name}: expected a plain set of weights"):
        last_states(path)


def test_weights_under_another_name(copied: Folders) -> None:
    path = copied("opt")
    edit_json(path / "config.json", transformers_weights="other.safetensors")
    with pytest.raises(ModelError, match=r"config\.json: expected weights under their usual names"):
        last_states(path)


def test_an_index_that_lists_files_outside_the_folder_is_refused(copied: Folders) -> None:
    path = copied("opt")
    index = path / "model.safetensors.index.json"
    content = json.loads(index.read_text())
    (path.parent / "elsewhere.safetensors").write_bytes(b"no tensors")
    content["weight_map"] = dict.fromkeys(content["weight_map"], "../elsewhere.safetensors")
    index.write_text(json.dumps(content))
    with pytest.raises(
        ModelError, match=r"expected weight files within the folder, found '\.\./elsewhere\.safetensors'"
    ):
        last_states(path)
