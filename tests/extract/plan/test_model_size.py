import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from small.encoders.families import FAMILIES
from small.encoders.models import save_opt
from small.extract.plans import opt_config
from tcf.common.errors import ModelError
from tcf.encoders.encoder import load_encoder
from tcf.encoders.folder.open_model_folder import open_model_folder
from tcf.encoders.folder.opt_sizes import OPT_SIZES, opt_size
from tcf.extract.plan.model_size import Geometry, read_geometry

CPU = torch.device("cpu")


def measured(path: Path, dtype: torch.dtype = torch.float32, layers: tuple[int, ...] = (-1,)) -> Geometry:
    return read_geometry(open_model_folder(path), dtype, layers=layers)


@pytest.mark.parametrize("name", FAMILIES)
def test_parameters_and_bytes_are_those_of_the_loaded_model(name: str, family: Callable[[str], Path]) -> None:
    path = family(name)
    for dtype in (torch.float32, torch.float16):
        model = load_encoder(open_model_folder(path), dtype, CPU).model  # type: ignore[attr-defined]
        weights = list(model.parameters())
        found = measured(path, dtype)
        assert found.parameters == sum(weight.numel() for weight in weights)
        assert found.compute_bytes == sum(weight.nbytes for weight in weights)
        assert (found.stored_dtype, found.stored_bytes) == (torch.float32, 4 * found.parameters)
        assert len(found.blocks) == (len(model.get_submodule(FAMILIES[name].blocks)) if FAMILIES[name].blocks else 0)


@pytest.mark.parametrize("name", ["opt", "llama", "t5"])
def test_a_lower_layer_leaves_blocks_out(name: str, family: Callable[[str], Path]) -> None:
    path = family(name)
    model = load_encoder(open_model_folder(path), torch.float32, CPU, layers=(1, 0)).model  # type: ignore[attr-defined]
    found = measured(path, layers=(1, 0))
    assert len(found.blocks) == found.depth == 1
    assert found.parameters == sum(weight.numel() for weight in model.parameters()) < measured(path).parameters


def test_operations_by_hand(family: Callable[[str], Path]) -> None:
    # OPT of width 32 with feed-forward 48: 4 x 32 x 32 + 2 x 32 x 48 = 7168 numbers of matrices in each of 3 blocks.
    opt = measured(family("opt"))
    assert [block.matrices for block in opt.blocks] == [7168] * 3 and opt.around.matrices == 0
    assert opt.blocks[0].parameters == 7168 + 4 * 32 + 48 + 32 + 2 * 2 * 32
    # Two texts of 3 and 5 tokens.
    assert opt.flops(8, 9 + 25) == 2 * 3 * 7168 * 8 + 4 * 32 * 34 * 3
    assert sorted(opt.products) == sorted([(32, 32)] * 4 + [(32, 48), (48, 32)])
    assert opt.inner_width == 48
    # GPT-2 stores matrices the other way round: one product of width 96, and a feed-forward of 128.
    assert sorted(measured(family("gpt2")).products) == sorted([(32, 96), (32, 32), (32, 128), (128, 32)])
    # T5's table of relative positions in its first block is looked up.
    assert [block.matrices for block in measured(family("t5")).blocks] == [7168] * 3
    # ALBERT has one block for all three, and a map from embeddings of width 16; its pooler does not count.
    albert = measured(family("albert"))
    assert albert.blocks == () and albert.depth == 3
    assert albert.around.matrices == 3 * (7168 + 16 * 32)


def test_experts_that_a_token_does_not_meet_cost_nothing(tmp_path: Path) -> None:
    settings = {"model_type": "mixtral", "vocab_size": 64, "hidden_size": 32, "intermediate_size": 48,
                "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "num_local_experts": 8,
                "num_experts_per_tok": 2, "max_position_embeddings": 64}  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(settings))
    block = measured(tmp_path).blocks[0]
    attention, expert, router = 2 * 32 * 32 + 2 * 32 * 16, 3 * 32 * 48, 8 * 32
    assert block.matrices == attention + 2 * expert + router
    assert block.parameters == attention + 8 * expert + router + 2 * 32


@pytest.mark.parametrize("size", OPT_SIZES, ids=lambda size: size.name)
def test_published_sizes_from_their_configuration_alone(tmp_path: Path, size: object) -> None:
    # Counted from OPT's own table: embeddings, positions, blocks of 12 d^2 + 13 d, and the final norm.
    published = {"125m": 125.2e6, "350m": 331.2e6, "1.3b": 1315.8e6, "2.7b": 2651.6e6, "6.7b": 6658.5e6,
                 "13b": 12853e6, "30b": 29974e6, "66b": 65720e6, "175b": 174604e6}  # fmt: skip
    name = size.name  # type: ignore[attr-defined]
    found = measured(opt_config(tmp_path, f"opt-{name}"), torch.float16)
    # Of 350M, the projection after the last layer, of 1024 x 512, is left out.
    left_out = 512 * 1024 if name == "350m" else 0
    assert found.parameters + left_out == pytest.approx(published[name], rel=1e-3)
    assert found.checkpoint_bytes == 2 * found.parameters and not found.casts
    assert found.file is None


def test_the_six_point_seven_billion_by_hand(tmp_path: Path) -> None:
    d = 4096
    found = measured(opt_config(tmp_path, "facebook/opt-6.7b"), torch.bfloat16)
    assert found.blocks == (found.blocks[0],) * 32
    assert found.blocks[0].parameters == 12 * d * d + 13 * d
    assert found.around.parameters == (50_272 + 2050) * d + 2 * d
    assert (found.stored_dtype, found.casts) == (torch.float16, True)
    assert opt_size("opt-7b") is None


def test_a_configuration_with_the_index_says_the_size_of_the_checkpoint(tmp_path: Path) -> None:
    folder = opt_config(tmp_path, "opt-125m")
    index = {"metadata": {"total_size": 250_477_568}, "weight_map": {"a": "pytorch_model-00001-of-00002.bin"}}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    found = measured(folder)
    assert found.checkpoint_bytes == 250_477_568
    assert found.stored_dtype == torch.float16 and found.file is None
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": 3}))
    with pytest.raises(ModelError, match="expected weight_map"):
        measured(folder)


def test_the_files_themselves_tell_type_and_size(tmp_path: Path, family: Callable[[str], Path]) -> None:
    whole = save_opt(tmp_path / "m", head=True)
    found = measured(whole, torch.bfloat16)
    file = whole / "model.safetensors"
    assert (found.checkpoint_bytes, found.file) == (file.stat().st_size, file)
    assert found.stored_dtype == torch.float32 and found.stored_bytes == 2 * found.compute_bytes
    shards = sorted(family("gpt2").glob("*.safetensors"))
    assert len(shards) > 1 and measured(family("gpt2")).file in shards
    # As the index says: without the headers of the files.
    assert 0 < sum(file.stat().st_size for file in shards) - measured(family("gpt2")).checkpoint_bytes < 10_000


def test_word_vectors(tmp_path: Path) -> None:
    file = tmp_path / "words.txt"
    file.write_text("red 1 2 3\nblue 4 5 6\n")
    found = measured(file)
    assert (found.parameters, found.flops(100, 1000), found.blocks) == (6, 0, ())
    assert found.checkpoint_bytes == file.stat().st_size and found.compute_bytes == 24


def test_the_projected_width(tmp_path: Path) -> None:
    folder = open_model_folder(opt_config(tmp_path, "opt-350m"))
    plain = read_geometry(folder, torch.float16, layers=[-1])
    projected = read_geometry(folder, torch.float16, layers=[-1], project_out=True)
    assert (plain.last_width, projected.last_width, projected.width) == (1024, 512, 1024)
    assert projected.parameters - plain.parameters == 512 * 1024
