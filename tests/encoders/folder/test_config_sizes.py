"""Sizes that a model's files cannot have are refused at once, before anything of that size is made."""

import json
import os
import time
from pathlib import Path

import pytest
import torch

from small.encoders.models import edit_json, save_bert, save_opt
from tcf.common.errors import ModelError
from tcf.common.memory import resident_bytes
from tcf.encoders.folder.config_sizes import check_counts, largest_product
from tcf.encoders.folder.load_tokenizer import load_tokenizer
from tcf.encoders.folder.open_model_folder import open_model_folder
from tcf.encoders.folder.weight_files import weight_files
from tcf.encoders.loading import empty_model, load_model
from tcf.encoders.split.skeleton import open_skeleton

SIZES = ("vocab_size", "hidden_size", "max_position_embeddings", "type_vocab_size", "intermediate_size")


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = save_bert(tmp_path_factory.mktemp("models") / "bert")
    load_model(open_model_folder(folder), torch.float32)  # its modules are imported once, which takes seconds
    return folder


@pytest.fixture
def copy(bert: Path, tmp_path: Path) -> Path:
    for file in bert.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    return tmp_path


@pytest.mark.parametrize(
    "key", ["num_hidden_layers", "num_layers", "encoder_layers", "n_layer", "num_experts", "depth"]
)
@pytest.mark.parametrize("number", [10**6, 10**9, 10**30])
def test_counts_of_blocks_and_experts(copy: Path, key: str, number: int) -> None:
    edit_json(copy / "config.json", **{key: number, "text_config": {key: 3}})
    start = time.perf_counter()
    with pytest.raises(ModelError, match=rf"config\.json: expected {key} to be at most \d+, found {number}; use the"):
        open_model_folder(copy)
    assert time.perf_counter() - start < 2


def test_counts_within_others_and_their_product() -> None:
    file = Path("config.json")
    with pytest.raises(ModelError, match="num_hidden_layers"):
        check_counts(file, {"text_config": {"num_hidden_layers": 1001}})
    check_counts(file, {"num_hidden_layers": 61, "n_routed_experts": 384, "num_local_experts": 16384, "blocks": True})
    with pytest.raises(ModelError, match=r"at most 1000000 in all blocks \(num_hidden_layers: 500\), found 50000"):
        check_counts(file, {"num_hidden_layers": 500, "num_experts": 50_000})


@pytest.mark.parametrize("key", SIZES)
@pytest.mark.parametrize("size", [10**7, 10**9, 10**13, 10**30])
def test_sizes_against_the_checkpoint(copy: Path, key: str, size: int) -> None:
    edit_json(copy / "config.json", **{key: size})
    start, memory = time.perf_counter(), resident_bytes()
    for load in (load_model, open_skeleton):
        with pytest.raises(ModelError, match=r"config\.json: (expected|transformers cannot build)") as refused:
            load(open_model_folder(copy), torch.float32)
        assert "\n" not in str(refused.value)
    assert time.perf_counter() - start < 4
    assert resident_bytes() - memory < 2**28


def test_the_message_names_both_sizes(copy: Path) -> None:
    edit_json(copy / "config.json", vocab_size=10**7)
    with pytest.raises(ModelError, match=r"at most 67108864 numbers, .* found one of 3200\d+; use the config\.json"):
        load_model(open_model_folder(copy), torch.float32)


def test_a_plan_needs_no_checkpoint_and_has_no_limit_of_size(copy: Path) -> None:
    for file in weight_files(copy):
        file.unlink()
    edit_json(copy / "config.json", vocab_size=10**7)
    assert (
        sum(weight.numel() for weight in empty_model(open_model_folder(copy), torch.float32).parameters()) > 3 * 10**8
    )


def test_the_largest_product() -> None:
    assert largest_product({"a": 3, "b": {"c": 5, "d": [7, "x", True]}, "e": True, "f": 2.5}) == 35
    assert largest_product({"a": 3}) == 0


@pytest.mark.parametrize(
    "name", ["../outside.safetensors", "/etc/passwd", "a/../../b", "a\0b", "\ud800", "x" * 300, "a/" * 3000]
)
def test_an_index_that_names_files_elsewhere(tmp_path: Path, name: str) -> None:
    folder = save_opt(tmp_path / "opt")
    (folder / "model.safetensors").rename(tmp_path / "outside.safetensors")
    index = {"weight_map": {"decoder.embed_tokens.weight": name}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(
        ModelError, match=r"index\.json: expected weight files (within the folder|that it lists), found"
    ):
        weight_files(folder)


def test_an_index_of_a_million_files_names_a_few(tmp_path: Path) -> None:
    index = {"weight_map": {f"w{number}": f"{number}.safetensors" for number in range(20_000)}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ModelError, match=r"found no 0\.safetensors, .* and 19995 more; download") as refused:
        weight_files(tmp_path)
    assert len(str(refused.value)) < 500


def test_a_tokenizer_of_a_terabyte(copy: Path) -> None:
    os.truncate(copy / "vocab.txt", 1 << 40)  # takes no space
    with pytest.raises(ModelError, match=r"vocab\.txt: expected files of a tokenizer of at most 256 MiB, found"):
        load_tokenizer(open_model_folder(copy))
