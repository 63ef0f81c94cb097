"""Names of weights with the prefixes that wrappers of a model leave when its state is saved."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from small.encoders.families import store_weights, stored_weights
from small.encoders.skeletons import assert_taken_apart_whole
from tcf.common.errors import ModelError
from tcf.encoders.encoder import load_encoder
from tcf.encoders.folder.open_model_folder import open_model_folder
from tcf.encoders.loading import Dispatch, load_model

TOKENS = torch.tensor([[2, 7, 9, 4]])
Folders = Callable[[str], Path]


def last_states(path: Path) -> Tensor:
    (states,) = load_encoder(open_model_folder(path), torch.float32, torch.device("cpu")).states(TOKENS)
    return states


@pytest.fixture
def copied(family_folder: Folders, tmp_path: Path) -> Folders:
    return lambda name: Path(shutil.copytree(family_folder(name), tmp_path / name))


def of_fsdp(name: str) -> str:
    return "_fsdp_wrapped_module." + name.replace(".1.", ".1._fsdp_wrapped_module._checkpoint_wrapped_module.")


@pytest.mark.parametrize("family", ["bert", "opt"])
@pytest.mark.parametrize(
    "rename",
    [
        lambda name: f"module.{name}",
        lambda name: f"_orig_mod.{name}",
        lambda name: f"module._orig_mod.{name}",
        lambda name: f"_orig_mod.module.{name}",
        lambda name: name.replace(".1.", ".1._orig_mod."),
        of_fsdp,
    ],
    ids=["DataParallel", "compile", "DataParallel of compile", "compile of DataParallel", "compile a block", "FSDP"],
)
def test_prefixes_of_wrappers_are_stripped(copied: Folders, family: str, rename: Callable[[str], str]) -> None:
    path = copied(family)
    before = last_states(path)
    store_weights(path, {rename(name): weight for name, weight in stored_weights(path).items()}, files=2)
    assert torch.equal(last_states(path), before)
    assert_taken_apart_whole(path)


def test_dispatch_finds_them_in_the_files(copied: Folders, tmp_path: Path) -> None:
    path = copied("llama")
    before = last_states(path)
    store_weights(path, {f"module.{name}": weight for name, weight in stored_weights(path).items()})
    places = {"embed_tokens": "cpu", "layers": "disk", "norm": "disk", "rotary_emb": "cpu"}
    model = load_model(open_model_folder(path), torch.float32, dispatch=Dispatch(places, tmp_path / "off"))
    with torch.inference_mode():
        assert torch.equal(model(input_ids=TOKENS).last_hidden_state, before)


@pytest.mark.parametrize("prefix", ["backbone.", "0.auto_model.", "encoder.model."])
def test_a_part_of_another_model_is_named(copied: Folders, prefix: str) -> None:
    path = copied("bert")
    weights = {name.removeprefix("bert."): weight for name, weight in stored_weights(path).items()}
    store_weights(path, {f"{prefix}{name}": weight for name, weight in weights.items()})
    with pytest.raises(ModelError, match=rf"lacks \d+ weights, .*; it has them with '{prefix}' before their names"):
        last_states(path)
