"""Models without weights: from their configuration alone, quickly, whatever their size."""

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import OPTConfig

from small.encoders.families import FAMILIES, stored_weights
from small.encoders.skeletons import contents
from tcf.encoders.folder.open_model_folder import open_model_folder
from tcf.encoders.loading import empty_model, load_model
from tcf.encoders.split.skeleton import open_skeleton
from tcf.encoders.split.weight_buffers import buffer_nbytes

Folders = Callable[[str], Path]


@pytest.mark.parametrize("name", FAMILIES)
def test_an_empty_model_is_the_loaded_one_without_numbers(family_folder: Folders, name: str) -> None:
    folder = open_model_folder(family_folder(name))
    right = contents(load_model(folder, torch.float16))
    for buffers in (True, False):
        model = empty_model(folder, torch.float16, buffers=buffers)
        assert {key: (one.dtype, one.shape) for key, one in contents(model).items()} == {
            key: (one.dtype, one.shape) for key, one in right.items()
        }
        assert all(parameter.is_meta and not parameter.requires_grad for parameter in model.parameters())
        for key, buffer in model.named_buffers():
            assert buffer.is_meta if not buffers else torch.equal(buffer, right[key])
        assert not model.training


def test_an_empty_model_needs_no_weights(family_folder: Folders, tmp_path: Path) -> None:
    shutil.copy(family_folder("llama") / "config.json", tmp_path / "config.json")
    model = empty_model(open_model_folder(tmp_path), torch.bfloat16)
    assert sum(weight.numel() for weight in model.parameters()) == sum(
        weight.numel() for name, weight in stored_weights(family_folder("llama")).items() if name != "lm_head.weight"
    )


def resident() -> int:
    """Anonymous memory of this process, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("RssAnon"))


def save_headers_of_175b(path: Path) -> int:
    """OPT-175B's configuration, and its checkpoint in float16 as a file with a true header and a hole for weights."""
    config = OPTConfig(
        hidden_size=12288, word_embed_proj_dim=12288, num_hidden_layers=96, num_attention_heads=96, ffn_dim=49152
    )
    config.save_pretrained(path)
    header, position = {}, 0
    for name, weight in empty_model(open_model_folder(path), torch.float16).state_dict().items():
        end = position + 2 * weight.numel()
        header[f"model.{name}"] = {"dtype": "F16", "shape": list(weight.shape), "data_offsets": [position, end]}
        position = end
    text = json.dumps(header).encode()
    with (path / "model.safetensors").open("wb") as stream:
        stream.write(len(text).to_bytes(8, "little") + text)
        stream.truncate(8 + len(text) + position)
    return position


def test_175b_parameters_are_taken_apart_quickly_and_without_memory(tmp_path: Path) -> None:
    nbytes = save_headers_of_175b(tmp_path)
    assert 2 * 174e9 < nbytes < 2 * 176e9
    folder = open_model_folder(tmp_path)
    before, begin = resident(), time.process_time()
    model = empty_model(folder, torch.float16, buffers=False)
    assert time.process_time() - begin < 2
    skeleton = open_skeleton(folder, torch.float16)
    assert time.process_time() - begin < 10
    assert resident() - before < 100e6
    assert sum(weight.stored.nbytes for part in (skeleton.around, *skeleton.within) for weight in part) == nbytes
    assert sum(weight.numel() for weight in model.parameters()) == nbytes / 2
    assert buffer_nbytes(skeleton.within[95], stored=True) == 2 * (4 * 12288 * 12289 + 2 * 12288 * 49152 + 49152 + 12288
                                                                 + 4 * 12288)  # fmt: skip
