"""Quantised weights that cannot be dequantised, or that nothing explains, end in one line that names the method."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from small.encoders.families import save_family, store_weights, stored_weights
from small.encoders.models import edit_json
from small.encoders.quantised import QUANTISED, save_quantised
from tcf.common.errors import ModelError
from tcf.encoders.encoder import load_encoder
from tcf.encoders.folder.open_model_folder import open_model_folder
from tcf.encoders.split.skeleton import open_skeleton

OTHERS = (
    "aqlm auto-round bitnet eetq fp_quant gguf higgs hqq modelopt mxfp4 mxfp8 nvfp4 quanto quark sinq spqr torchao vptq"
)


@pytest.fixture
def path(llama: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(llama, tmp_path / "m"))


def refused(path: Path, match: str) -> None:
    with pytest.raises(ModelError, match=match) as caught:
        load_encoder(open_model_folder(path), torch.float32, torch.device("cpu"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("method", OTHERS.split())
def test_other_methods(path: Path, method: str) -> None:
    edit_json(path / "config.json", quantization_config={"quant_method": method, "bits": 4})
    refused(
        path,
        rf"config\.json: expected weights in full precision, or quantised by a method that tcf can undo, found {method}"
        r"; use the model that was quantised, or save its dequantised weights without quantization_config",
    )


def groups(kind: str, **weights: Any) -> dict[str, Any]:
    group = {"weights": {"num_bits": 4, "strategy": "channel", **weights}}
    return {"quant_method": "compressed-tensors", "format": kind, "config_groups": {"group_0": group}}


@pytest.mark.parametrize(
    ("entries", "found"),
    [
        ({"bits": 4}, r"an unnamed method \(no quant_method\)"),
        ({"quant_method": "gptq", "bits": 3}, "GPTQ with 3 bits"),
        ({"quant_method": "gptq", "bits": 4, "checkpoint_format": "marlin"}, "GPTQ in the format 'marlin'"),
        ({"quant_method": "gptq", "bits": 4, "group_size": 0}, "GPTQ with group_size 0"),
        ({"quant_method": "awq", "bits": 4, "version": "gemv"}, "AWQ in the format 'gemv'"),
        ({"quant_method": "fp8", "weight_block_size": [128]}, r"fp8 with weight_block_size \[128\]"),
        (groups("nvfp4-pack-quantized"), "compressed-tensors in the format 'nvfp4-pack-quantized'"),
        (groups("pack-quantized", strategy="tensor_group"), "compressed-tensors with the strategy 'tensor_group'"),
        (
            {**groups("dense"), "sparsity_config": {"format": "sparse-24-bitmask"}},
            "compressed-tensors in the format 'sparse-24-bitmask'",
        ),
        (
            {**groups("dense"), "transform_config": {"config_groups": {"R1": {}}}},
            "compressed-tensors with transforms of the activations",
        ),
        ({"quant_method": "compressed-tensors"}, "compressed-tensors without config_groups"),
    ],
)
def test_other_formats_of_known_methods(path: Path, entries: dict[str, Any], found: str) -> None:
    edit_json(path / "config.json", quantization_config=entries)
    refused(path, rf"quantised by a method that tcf can undo, found {found}; use the model that was quantised")


def test_matrices_that_may_be_either_way_round(tmp_path: Path) -> None:
    path = save_family("gpt2", tmp_path / "m")
    edit_json(path / "config.json", quantization_config={"quant_method": "gptq", "bits": 4})
    refused(path, r"found gptq with model_type 'gpt2'; use the model that was quantised")


@pytest.mark.parametrize(
    "entries", [QUANTISED[name].settings for name in ("fp8, blocks", "awq", "bitsandbytes, nested")]
)
def test_a_configuration_without_quantised_weights(path: Path, entries: dict[str, Any]) -> None:
    edit_json(path / "config.json", quantization_config=entries)
    method = entries["quant_method"]
    refused(path, rf"expected weights quantised by {method}, as quantization_config says, found none; remove quanti")


@pytest.mark.parametrize("kind", ["safetensors", "bin"])
@pytest.mark.parametrize(
    ("method", "found"),
    [
        ("fp8, blocks", "weight_scale_inv"),
        ("compressed, packed int4", r"weight_packed|weight_scale"),
        ("gptq", "qweight|qzeros"),
        ("bitsandbytes, 4 bits", r"weight in uint8|weight\.absmax"),
        ("bitsandbytes, 8 bits", r"weight in int8|SCB"),
    ],
)
def test_quantised_weights_without_a_configuration(
    path: Path, tmp_path: Path, method: str, found: str, kind: str
) -> None:
    save_quantised(method, Path(shutil.copytree(path, tmp_path / "plain")), path)
    store_weights(path, stored_weights(path), kind=kind)
    edit_json(path / "config.json", quantization_config=None)
    message = rf"expected weights in full precision, found model\.layers\.\S+\.({found}).*quantization_config in config"
    refused(path, message)
    with pytest.raises(ModelError):
        open_skeleton(open_model_folder(path), torch.float32)


def test_whole_numbers_in_place_of_a_weight(path: Path) -> None:
    """Without its scale an 8-bit matrix has the shape of the weight, and would be taken for one."""
    name = "model.layers.1.mlp.up_proj.weight"
    weights = stored_weights(path)
    store_weights(path, {**weights, name: torch.ones_like(weights[name], dtype=torch.int8)})
    refused(
        path, rf"expected weights in full precision, found {name} in int8 and no quantization_config in config\.json"
    )
