"""Quantised checkpoints give the states of a folder with the numbers that they stand for."""

import shutil
from pathlib import Path

import pytest
import torch
from torch import Tensor

from small.encoders.families import own_model, store_weights, stored_weights
from small.encoders.quantised import QUANTISED, save_quantised
from tcf.common.errors import ModelError
from tcf.encoders.encoder import load_encoder
from tcf.encoders.failures import NotSeparableError
from tcf.encoders.folder.open_model_folder import open_model_folder
from tcf.encoders.loading import Dispatch, load_model
from tcf.encoders.split.skeleton import open_skeleton
from tcf.extract.plan.checkpoint_size import stored_type

TOKENS = torch.tensor([[1, 9, 30, 77, 4, 200]])
CPU = torch.device("cpu")


def last_states(path: Path, dtype: torch.dtype = torch.float32) -> Tensor:
    (states,) = load_encoder(open_model_folder(path), dtype, CPU).states(TOKENS)
    return states


@pytest.fixture
def folders(llama: Path, tmp_path: Path) -> tuple[Path, Path]:
    """Two copies of a small Llama: one for the numbers that quantised ones stand for, one for those."""
    plain, quantised = (Path(shutil.copytree(llama, tmp_path / name)) for name in ("plain", "quantised"))
    return plain, quantised


@pytest.mark.parametrize("method", QUANTISED)
def test_the_states_are_those_of_the_dequantised_model(folders: tuple[Path, Path], llama: Path, method: str) -> None:
    plain, quantised = folders
    save_quantised(method, plain, quantised)
    with torch.inference_mode():
        expected = own_model("llama", plain)(input_ids=TOKENS).last_hidden_state
    found = last_states(quantised)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    assert not torch.allclose(found, last_states(llama), rtol=1e-3, atol=1e-3)  # quantising has changed something


def test_rounding_to_another_type_comes_last(folders: tuple[Path, Path]) -> None:
    save_quantised("gptq", *folders)
    ours, expected = (load_model(open_model_folder(path), torch.bfloat16).state_dict() for path in folders[::-1])
    assert {name: weight.tolist() for name, weight in ours.items()} == {
        name: weight.tolist() for name, weight in expected.items()
    }


def test_weights_of_a_torch_file(folders: tuple[Path, Path]) -> None:
    plain, quantised = folders
    save_quantised("fp8, blocks", plain, quantised)
    store_weights(quantised, stored_weights(quantised), kind="bin")
    torch.testing.assert_close(last_states(quantised), last_states(plain), rtol=1e-5, atol=1e-5)


def test_dispatch_to_a_folder_of_offloaded_weights(folders: tuple[Path, Path], tmp_path: Path) -> None:
    plain, quantised = folders
    save_quantised("compressed, packed int4", plain, quantised)
    places = {"embed_tokens": "cpu", "layers.0": "disk", "layers.1": "cpu", "layers.2": "disk", "norm": "cpu"}
    model = load_model(
        open_model_folder(quantised),
        torch.float32,
        dispatch=Dispatch({**places, "rotary_emb": "cpu"}, tmp_path / "off"),
    )
    with torch.inference_mode():
        found = model(input_ids=TOKENS).last_hidden_state
    torch.testing.assert_close(found, last_states(plain), rtol=1e-5, atol=1e-5)


def test_a_sweep_is_refused_by_name(folders: tuple[Path, Path]) -> None:
    save_quantised("awq", *folders)
    with pytest.raises(NotSeparableError, match=r"its weights are quantised by awq\); pass --schedule dispatch or"):
        open_skeleton(open_model_folder(folders[1]), torch.float32)


def test_a_plan_counts_numbers_of_the_named_type(folders: tuple[Path, Path]) -> None:
    save_quantised("gptq", *folders)
    assert stored_type(open_model_folder(folders[1])) == torch.float32


def test_damaged_weights_are_named(folders: tuple[Path, Path]) -> None:
    plain, quantised = folders
    save_quantised("fp8, blocks", plain, quantised)
    weights = stored_weights(quantised)
    name = "model.layers.1.mlp.up_proj.weight"
    store_weights(quantised, {**weights, f"{name}_scale_inv": torch.ones(3, 2)})
    with pytest.raises(
        ModelError,
        match=rf"model\.safetensors: expected {name}_scale_inv with a number for each block of 20 x 12 of the weight, "
        r"as quantization_config in config\.json says, found float32 of shape 3 x 2; ",
    ):
        last_states(quantised)
    store_weights(quantised, {key: weight for key, weight in weights.items() if key != f"{name}_scale_inv"})
    with pytest.raises(ModelError, match=rf"found {name} in float8_e4m3fn without scales of fp8; use the config\.json"):
        last_states(quantised)
