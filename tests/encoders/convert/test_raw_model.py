"""Raw weights of OPT, in each published layout, become model folders that compute what the original models do."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import OPTForCausalLM

from small.encoders.models import TITLES, save_byte_pairs, token_ids
from small.encoders.raw_opt import (
    flat_shards,
    metaseq_parts,
    metaseq_states,
    save_flexgen,
    save_metaseq,
    save_settings,
    settings_objects,
    small_opt,
)
from tcf.common.integrity.verified_files import verify_files
from tcf.common.manifest import read_manifest
from tcf.encoders.convert import compare_ranks, file_ranges, raw_model, write_shards
from tcf.encoders.convert.convert import CONVERTED, Converted, convert
from tcf.encoders.convert.file_ranges import TensorInFiles
from tcf.encoders.encoder import load_encoder
from tcf.encoders.folder.load_tokenizer import load_tokenizer
from tcf.encoders.folder.open_model_folder import open_model_folder
from tcf.encoders.tokenize import tokenize

TOKENS = torch.arange(3, 33)


@pytest.fixture(scope="module")
def model() -> OPTForCausalLM:
    return small_opt()


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TCF_HOME", str(tmp_path / "home"))


def last_states(model: Any) -> Tensor:
    with torch.inference_mode():
        states: Tensor = model.float().model(input_ids=TOKENS[None]).last_hidden_state[0]
    model.half()
    return states


def check_same(done: Converted, model: OPTForCausalLM) -> None:
    """Check weights, settings, states and tokens of a converted model against the original."""
    ours = OPTForCausalLM.from_pretrained(str(done.folder), dtype=torch.float16)
    assert {name: weight.tolist() for name, weight in ours.state_dict().items()} == {
        name: weight.tolist() for name, weight in model.state_dict().items()
    }
    torch.testing.assert_close(last_states(ours), last_states(model), rtol=0, atol=0)
    folder = open_model_folder(done.folder)
    (states,) = load_encoder(folder, torch.float32, torch.device("cpu")).states(TOKENS[None])
    if model.config.word_embed_proj_dim == model.config.hidden_size:
        torch.testing.assert_close(states[0], last_states(model), rtol=1e-4, atol=1e-4)
    sequences = tokenize(load_tokenizer(folder), TITLES, max_tokens=30)
    assert sequences.tokens[: sequences.offsets[1]].tolist() == token_ids(done.folder, TITLES[0], 30)
    assert sequences.tokens[0] == 2
    assert done.parameters == sum(weight.numel() for weight in model.parameters())
    verify_files(done.folder, read_manifest(done.folder, CONVERTED), CONVERTED)


@pytest.mark.parametrize("n", [1, 2, 8])
def test_metaseq_parts(tmp_path: Path, model: OPTForCausalLM, n: int) -> None:
    parts = metaseq_parts(model, n)
    torch.testing.assert_close(metaseq_states(parts, 2, TOKENS), last_states(model), rtol=1e-4, atol=1e-4)
    save_metaseq(tmp_path / "raw", parts)
    save_settings(model, tmp_path / "raw")
    done = convert(tmp_path / "raw", tmp_path / "out")
    assert (done.made, done.dtype) == (True, "float16")
    check_same(done, model)
    manifest = read_manifest(done.folder, CONVERTED)
    assert manifest.config == {"kind": "metaseq"}
    assert manifest.facts["parts"] == n
    assert set(manifest.facts["left_out"]) == {"decoder.version", "decoder.output_projection.weight"}
    assert manifest.facts["parts_disagree"]["tensors"] == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "raw"]


@pytest.mark.parametrize(("n", "world"), [(1, 1), (2, 3), (8, 2)])
def test_flattened_shards_with_their_metadata(tmp_path: Path, model: OPTForCausalLM, n: int, world: int) -> None:
    folder = tmp_path / "raw"
    folder.mkdir()
    paddings = set()
    for number, part in enumerate(metaseq_parts(model, n)):
        for rank, content in enumerate(flat_shards(part, 2, world)):
            torch.save(content, folder / f"checkpoint_last-model_part-{number}-shard{rank}.pt")
            owners = content["shard_metadata"]["param_metadata"]
            paddings |= {owner["params"]["flat_param_0"]["padding"] for owner in owners}
    save_settings(model, folder)
    check_same(convert(folder, tmp_path / "out"), model)
    assert (max(paddings) > 0) == (world == 3)


def test_one_file_with_single_projections(tmp_path: Path, model: OPTForCausalLM) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    (part,) = metaseq_parts(model, 1, fused=False)
    with settings_objects() as settings:
        torch.save({"model": part, **settings}, raw / "restored.pt")
    save_settings(model, raw)
    check_same(convert(raw / "restored.pt", tmp_path / "out"), model)
    torch.save(part, raw / "restored.pt")
    check_same(convert(raw, tmp_path / "again"), model)


def test_a_head_that_is_a_range_of_the_embedding(tmp_path: Path, model: OPTForCausalLM) -> None:
    (part,) = metaseq_parts(model, 1)
    name = "decoder.output_projection.weight"
    part[name] = part["decoder.embed_tokens.weight"][300:].clone()  # four parts made into one, the last one's kept
    save_metaseq(tmp_path / "raw", [part])
    save_settings(model, tmp_path / "raw")
    done = convert(tmp_path / "raw", tmp_path / "out")
    check_same(done, model)
    assert name in read_manifest(done.folder, CONVERTED).facts["left_out"]


def test_tensors_beside_the_model_are_listed(tmp_path: Path, model: OPTForCausalLM) -> None:
    (tmp_path / "raw").mkdir()
    for number, part in enumerate(metaseq_parts(model, 2)):
        state = {"step": 3, "state": {0: {"exp_avg": torch.ones(3 + number)}}}
        content = {"model": part, "last_optimizer_state": state, "history": [torch.tensor(1.0)]}
        torch.save(content, tmp_path / "raw" / f"reshard-model_part-{number}.pt")
    save_settings(model, tmp_path / "raw")
    done = convert(tmp_path / "raw", tmp_path / "out")
    check_same(done, model)
    left_out = read_manifest(done.folder, CONVERTED).facts["left_out"]
    beside = {name for name, reason in left_out.items() if reason == "no part of the model"}
    assert beside == {"last_optimizer_state.state.0.exp_avg", "history.0"}


def test_a_few_rows_are_in_memory_at_once(
    tmp_path: Path, model: OPTForCausalLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, sizes = TensorInFiles.read, []

    def watched(tensor: TensorInFiles) -> Tensor:
        sizes.append(tensor.count)
        return read(tensor)

    monkeypatch.setattr(TensorInFiles, "read", watched)
    monkeypatch.setattr(file_ranges, "_CHUNK", 150)
    monkeypatch.setattr(compare_ranks, "_HEAD", 150)
    monkeypatch.setattr(write_shards, "_BLOCK", 150)
    save_metaseq(tmp_path / "raw", metaseq_parts(model, 8))
    save_settings(model, tmp_path / "raw")
    check_same(convert(tmp_path / "raw", tmp_path / "out"), model)
    assert max(sizes) == 150
    assert sum(sizes) > 2 * model.num_parameters()  # every number was written, and shared ones compared


def test_norms_after_the_blocks_and_projections(tmp_path: Path) -> None:
    model = small_opt(norm="post")
    for kind, out in (("metaseq", "a"), ("numpy", "b")):
        raw = tmp_path / kind
        if kind == "metaseq":
            save_metaseq(raw, metaseq_parts(model, 2))
        else:
            save_flexgen(raw, model)
        save_settings(model, raw)
        check_same(convert(raw, tmp_path / out), model)


def test_numpy_folders_of_flexgen_and_alpa(tmp_path: Path, model: OPTForCausalLM) -> None:
    save_flexgen(tmp_path / "flexgen", model)
    assert (tmp_path / "flexgen" / "lm_head.weight").is_file()
    (tmp_path / "alpa").mkdir()
    for name, weight in metaseq_parts(model, 1, fused=False)[0].items():
        with (tmp_path / "alpa" / name).open("wb") as stream:
            np.save(stream, weight.numpy())
    for name in ("flexgen", "alpa"):
        model.config.save_pretrained(tmp_path / name)
        (tmp_path / "tokenizer").mkdir(exist_ok=True)
        save_byte_pairs(tmp_path / "tokenizer")
        done = convert(tmp_path / name, tmp_path / f"{name}-out", tokenizer=tmp_path / "tokenizer")
        check_same(done, model)
        assert read_manifest(done.folder, CONVERTED).config == {"kind": "numpy"}


def test_bin_shards(tmp_path: Path, model: OPTForCausalLM) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    state = {name.removeprefix("model."): weight for name, weight in model.state_dict().items()}  # as older files
    names = list(state)
    for number, part in enumerate((names[:10], names[10:]), start=1):
        torch.save({name: state[name] for name in part}, raw / f"pytorch_model-{number:05d}-of-00002.bin")
    save_settings(model, raw, tokenizer="model")
    done = convert(raw, tmp_path / "out")
    check_same(done, model)
    assert read_manifest(done.folder, CONVERTED).facts["left_out"].keys() == {"lm_head.weight"}


def test_several_files_of_weights(tmp_path: Path, model: OPTForCausalLM, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(raw_model, "SHARD", 20_000)
    save_metaseq(tmp_path / "raw", metaseq_parts(model, 2))
    save_settings(model, tmp_path / "raw")
    done = convert(tmp_path / "raw", tmp_path / "out")
    check_same(done, model)
    index = json.loads((done.folder / "model.safetensors.index.json").read_text())
    files = sorted(set(index["weight_map"].values()))
    assert len(files) > 2
    assert files[0] == f"model-00001-of-{len(files):05d}.safetensors"
    sizes = [sum(weight.nbytes for weight in load_file(done.folder / file).values()) for file in files]
    assert sum(sizes) == index["metadata"]["total_size"] == 2 * done.parameters
    assert max(sizes) <= 400 * 32 * 2  # one tensor that is larger than a file should be


def test_a_second_call_returns_what_is_there(tmp_path: Path, model: OPTForCausalLM) -> None:
    save_metaseq(tmp_path / "raw", metaseq_parts(model, 2))
    save_settings(model, tmp_path / "raw")
    first = convert(tmp_path / "raw", tmp_path / "out")
    shutil.copytree(tmp_path / "raw", tmp_path / "moved")
    second = convert(tmp_path / "moved", tmp_path / "out")
    assert (second.made, second.parameters, second.dtype) == (False, first.parameters, first.dtype)
