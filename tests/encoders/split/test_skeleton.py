"""A model to be run block by block: every weight as transformers loads it, from every format of checkpoint."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from small.encoders.families import FAMILIES, store_weights, stored_weights
from small.encoders.models import save_opt
from small.encoders.skeletons import assert_taken_apart_whole, filled
from tcf.encoders.encoder import load_encoder
from tcf.encoders.folder.open_model_folder import open_model_folder
from tcf.encoders.loading import empty_model
from tcf.encoders.split.skeleton import open_skeleton

CPU = torch.device("cpu")
DTYPES = (torch.float32, torch.bfloat16, torch.float16)
STACKS = [name for name in FAMILIES if FAMILIES[name].blocks]
Folders = Callable[[str], Path]


@pytest.fixture
def copied(family_folder: Folders, tmp_path: Path) -> Folders:
    return lambda name: Path(shutil.copytree(family_folder(name), tmp_path / name))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", STACKS)
def test_every_weight_is_that_of_transformers(family_folder: Folders, name: str, dtype: torch.dtype) -> None:
    own: Any = load_encoder(open_model_folder(family_folder(name)), dtype, CPU)
    skeleton = assert_taken_apart_whole(family_folder(name), dtype, own=own)
    assert len({weight.stored.file for weights in skeleton.within for weight in weights}) > 1
    tokens = torch.tensor([[5, 6, 7, 8, 9, 10, 11]])
    with torch.inference_mode():
        assert torch.equal(skeleton.model(input_ids=tokens).last_hidden_state, own.states(tokens)[0])
    assert skeleton.model.config._attn_implementation == own.model.config._attn_implementation
    assert not skeleton.model.training


@pytest.mark.parametrize("name", STACKS)
def test_until_it_is_filled_a_skeleton_has_no_weights(family_folder: Folders, name: str) -> None:
    skeleton = open_skeleton(open_model_folder(family_folder(name)), torch.float32)
    assert all(parameter.is_meta for parameter in skeleton.model.parameters())
    assert not any(buffer.is_meta for buffer in skeleton.model.buffers())
    assert not any(parameter.requires_grad for parameter in skeleton.model.parameters())
    inside = [name for weights in skeleton.within for name in sorted(weight.name for weight in weights)]
    if name not in ("t5", "t5-gated", "mt5", "modernbert"):  # their first blocks differ from the others
        assert inside == inside[: len(inside) // 3] * 3
    assert len(skeleton.within) == len(skeleton.blocks) == 3


@pytest.mark.parametrize(("layers", "blocks"), [((0,), 1), ((1,), 1), ((2, 0), 2), ((3,), 3), ((1, -1), 3)])
def test_blocks_above_the_highest_layer_are_not_there(
    family_folder: Folders, layers: tuple[int, ...], blocks: int
) -> None:
    skeleton = assert_taken_apart_whole(family_folder("llama"), layers=layers)
    assert len(skeleton.blocks) == len(skeleton.within) == blocks


@pytest.mark.parametrize("project_out", [False, True])
def test_a_projection_out_only_where_it_is_asked_for(tmp_path: Path, project_out: bool) -> None:
    path = save_opt(tmp_path / "m", norm="post", head=True)
    skeleton = assert_taken_apart_whole(path, project_out=project_out)
    assert any("project_out" in weight.name for weight in skeleton.around) == project_out


@pytest.mark.parametrize("name", ["opt", "gpt2", "llama", "bert", "t5", "t5-gated", "bart"])
@pytest.mark.parametrize("files", [1, 3])
def test_checkpoints_saved_by_torch(copied: Folders, name: str, files: int) -> None:
    path = copied(name)
    store_weights(path, stored_weights(path), kind="bin", files=files)
    assert_taken_apart_whole(path, torch.bfloat16)


@pytest.mark.parametrize("stored", DTYPES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_checkpoints_of_other_types(copied: Folders, stored: torch.dtype, dtype: torch.dtype) -> None:
    path = copied("gpt2")
    store_weights(path, {name: weight.to(stored) for name, weight in stored_weights(path).items()})
    skeleton = assert_taken_apart_whole(path, dtype)
    assert {weight.stored.dtype for weight in skeleton.around} == {stored}
    assert {weight.dtype for weight in skeleton.around} == {dtype}


@pytest.mark.parametrize(
    ("name", "prefix"),
    [("gpt2", "transformer."), ("opt", "model."), ("llama", "model."), ("bert", "bert."), ("roberta", "roberta.")],
)
def test_names_without_the_prefix_of_a_model_with_a_head(copied: Folders, name: str, prefix: str) -> None:
    path = copied(name)
    store_weights(path, {key.removeprefix(prefix): weight for key, weight in stored_weights(path).items()})
    assert_taken_apart_whole(path)


def test_names_and_buffers_of_older_versions(copied: Folders) -> None:
    path = copied("bert")
    weights = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): weight
        for name, weight in stored_weights(path).items()
    }
    store_weights(path, {**weights, "bert.embeddings.position_ids": torch.arange(64)[None]})
    skeleton = assert_taken_apart_whole(path)
    assert any(weight.stored.name.endswith("gamma") for weight in skeleton.around)


@pytest.mark.parametrize("kept", ["shared.weight", "encoder.embed_tokens.weight"])
def test_tied_weights_come_from_the_one_that_is_stored(copied: Folders, kept: str) -> None:
    path = copied("t5")
    weights = stored_weights(path)
    table = weights.pop("shared.weight")
    store_weights(path, {**weights, kept: table})
    skeleton = assert_taken_apart_whole(path)
    of_table = {weight.name: weight.stored.name for weight in skeleton.around if weight.stored.shape == table.shape}
    assert set(of_table.values()) == {kept}
    assert "encoder.embed_tokens.weight" in of_table


def test_tied_weights_that_are_both_stored_and_differ(copied: Folders) -> None:
    """Each is taken as it is stored, as transformers does."""
    path = copied("t5")
    weights = stored_weights(path)
    store_weights(path, {**weights, "encoder.embed_tokens.weight": 2 * weights["shared.weight"]})
    skeleton = assert_taken_apart_whole(path)
    table = dict(skeleton.model.named_parameters())["encoder.embed_tokens.weight"]
    assert torch.equal(table, 2 * weights["shared.weight"])


def test_t5_keeps_a_part_in_float32(family_folder: Folders) -> None:
    folder = open_model_folder(family_folder("t5-gated"))
    for model in (filled(open_skeleton(folder, torch.float16)), empty_model(folder, torch.float16)):
        kept = {name for name, weight in model.named_parameters() if weight.dtype == torch.float32}
        assert kept == {f"encoder.block.{block}.layer.1.DenseReluDense.wo.weight" for block in range(3)}
