"""Raw weights that are damaged, incomplete or of another kind end in a clear error, and nothing is published."""

import os
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from small.encoders.gguf import SmallGguf, byte_pairs, small_llama, write_gguf
from small.encoders.models import edit_json
from small.encoders.raw_opt import flat_shards, metaseq_parts, save_flexgen, save_metaseq, save_settings, small_opt
from tcf.common.errors import ConfigError, ModelError
from tcf.encoders.convert.convert import convert
from tcf.encoders.convert.file_ranges import ConcatenatedTensor, TensorInFiles
from tcf.encoders.convert.opt_geometry import check_tensors, opt_settings
from tcf.encoders.folder.opt_sizes import OPT_SIZES, OptSize


@pytest.fixture
def raw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small OPT in two parts of metaseq's."""
    monkeypatch.setenv("TCF_HOME", str(tmp_path / "home"))
    model = small_opt()
    save_metaseq(tmp_path / "raw", metaseq_parts(model, 2))
    save_settings(model, tmp_path / "raw")
    return tmp_path / "raw"


def refused(raw: Path, match: str, kind: type[Exception] = ModelError) -> None:
    """Check that a conversion is refused in one line, and leaves nothing behind."""
    before = {path.name for path in raw.parent.iterdir()} | {"home"}
    with pytest.raises(kind, match=match) as caught:
        convert(raw, raw.parent / "out")
    assert "\n" not in str(caught.value)
    assert {path.name for path in raw.parent.iterdir()} <= before


def test_a_part_that_is_cut_short(raw: Path) -> None:
    file = raw / "reshard-model_part-1.pt"
    content = file.read_bytes()
    for keep in (0, 3, 100, len(content) // 2, len(content) - 1):
        file.write_bytes(content[:keep])
        refused(
            raw, r"reshard-model_part-1\.pt: expected a complete file of torch\.save .*truncated.*download it again"
        )


def test_a_part_that_is_missing(raw: Path) -> None:
    whole = metaseq_parts(small_opt(), 8)
    save_metaseq(raw, whole)
    (raw / "reshard-model_part-3.pt").rename(raw.parent / "aside")
    refused(raw, r"raw: expected parts 0 to 7 with 1 files each, found no file of part 3; download it")
    (raw.parent / "aside").rename(raw / "reshard-model_part-3.pt")
    (raw / "reshard-model_part-7.pt").unlink()  # the last: what is left has the numbers of a smaller model
    refused(raw, r"config\.json: expected vocab_size 350, as in the weights, found 400; .*part of the weights")
    (raw / "config.json").unlink()
    refused(raw, r"raw: expected one of the nine sizes of OPT, found vocab_size 350, .*; download what is missing or")


def test_a_missing_shard_of_a_part(raw: Path) -> None:
    for file in raw.glob("*.pt"):
        file.unlink()
    for number, part in enumerate(metaseq_parts(small_opt(), 2)):
        for rank, content in enumerate(flat_shards(part, 2, 3)):
            torch.save(content, raw / f"checkpoint_last-model_part-{number}-shard{rank}.pt")
    (raw / "checkpoint_last-model_part-1-shard2.pt").unlink()
    refused(raw, r"expected parts 0 to 1 with 3 files each, found no file of part 1, shard 2; download it")
    (raw / "checkpoint_last-model_part-0-shard2.pt").unlink()
    refused(raw, r"shard0\.pt: expected \d+ flattened numbers from decoder\.embed_tokens\.weight, found \d+ in all")


def test_flattened_numbers_without_metadata(raw: Path) -> None:
    for number, part in enumerate(metaseq_parts(small_opt(), 2)):
        (content,) = flat_shards(part, 2, 1, metadata=False)
        torch.save(content, raw / f"reshard-model_part-{number}.pt")
    refused(raw, r"reshard-model_part-0\.pt: expected shard_metadata, .*found none; pass the folder of the files that")


def test_flattened_numbers_that_the_metadata_do_not_name(raw: Path) -> None:
    for name, rank in (("decoder.flat_param_1", 0), ("decoder.flat_param_1", 1), ("decoder.buffer", 1)):
        for number, part in enumerate(metaseq_parts(small_opt(), 2)):
            for place, content in enumerate(flat_shards(part, 2, 2)):
                if place == rank:
                    content["model"][name] = torch.ones(3)
                torch.save(content, raw / f"checkpoint_last-model_part-{number}-shard{place}.pt")
        for file in raw.glob("reshard*.pt"):
            file.unlink()
        refused(raw, rf"part-0-shard{rank}\.pt: expected {name} in its shard_metadata, found no such entry")


def test_a_missing_file_of_hugging_face(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TCF_HOME", str(tmp_path / "home"))
    folder, model = tmp_path / "bin", small_opt()
    folder.mkdir()
    names = list(model.state_dict())
    for number in range(3):
        state = {name: model.state_dict()[name] for name in names[number::3]}
        torch.save(state, folder / f"pytorch_model-{number + 1:05d}-of-00003.bin")
    save_settings(model, folder, tokenizer="model")
    (folder / "pytorch_model-00003-of-00003.bin").rename(tmp_path / "aside")
    refused(folder, r"bin: expected 3 weight files, found no number 3; download it")
    content = (tmp_path / "aside").read_bytes()
    (folder / "pytorch_model-00003-of-00003.bin").write_bytes(content[: len(content) // 2])
    refused(folder, r"00003-of-00003\.bin: expected a complete file of torch\.save .*truncated")


def test_a_poisoned_pickle_does_not_run(raw: Path, tmp_path: Path) -> None:
    class Poison:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.system, (f"touch {tmp_path / 'ran'}",)

    class Hidden:
        def __reduce__(self) -> tuple[Any, ...]:
            return getattr, (dict, "fromkeys")

    for poison, name in ((Poison(), r"posix\.system"), (Hidden(), r"builtins\.getattr")):
        torch.save({"model": metaseq_parts(small_opt(), 2)[1], "args": poison}, raw / "reshard-model_part-1.pt")
        refused(raw, rf"reshard-model_part-1\.pt: expected tensors and settings, found {name}, .*nothing was run")
    file = raw / "reshard-model_part-1.pt"
    torch.save({"model": {}, "args": Poison()}, file, pickle_protocol=4)
    refused(raw, r"reshard-model_part-1\.pt: expected a complete file of torch\.save, found a damaged one")
    torch.save({"model": {}, "args": Poison()}, file, _use_new_zipfile_serialization=False)
    refused(raw, r"reshard-model_part-1\.pt: expected a complete file of torch\.save \(a zip archive, .*another format")
    assert not (tmp_path / "ran").exists()


def test_odd_shapes_by_name(raw: Path) -> None:
    name = "decoder.layers.1.fc1.weight"
    parts = metaseq_parts(small_opt(), 2)
    save_metaseq(raw, [parts[0], {**parts[1], name: parts[1][name][:-1].clone()}])
    refused(
        raw,
        rf"model_part-1\.pt: expected {name} as in rank 0, float16 of shape 32 x 32, found float16 of shape 31 x 32",
    )
    save_metaseq(raw, [{**part, name: part[name][:-1].clone()} for part in parts])
    refused(raw, rf"raw: expected {name} of shape 64 x 32, found 62 x 32")
    fused = "decoder.layers.0.self_attn.qkv_proj.bias"
    save_metaseq(raw, [{**part, fused: part[fused][:-1].clone()} for part in parts])
    refused(raw, rf"expected {fused} with equally many rows for keys, values and queries, found 47 rows")
    save_metaseq(raw, [{**part, name: part[name].int()} for part in parts])
    refused(raw, rf"model_part-0\.pt: expected {name} in float16, bfloat16 or float32, found int32")


def test_missing_and_left_over_tensors_by_name(raw: Path) -> None:
    name = "decoder.layers.1.fc2.bias"
    parts = metaseq_parts(small_opt(), 2)
    without = [{key: weight for key, weight in part.items() if key != name} for part in parts]
    save_metaseq(raw, [parts[0], without[1]])
    refused(raw, rf"rank 1: expected {name}, which other ranks have, found none")
    save_metaseq(raw, without)
    refused(raw, rf"raw: lacks 1 of 36 tensors, such as {name}")
    save_metaseq(raw, [{**part, "decoder.alibi": torch.ones(3)} for part in parts])
    refused(raw, r"raw: expected the 36 tensors of OPT, found 1 more, such as decoder\.alibi")
    save_metaseq(raw, [{**part, "decoder.output_projection.weight": torch.ones(200, 32).half()} for part in parts])
    refused(raw, r"expected decoder\.output_projection\.weight to equal decoder\.embed_tokens\.weight")
    save_metaseq(raw, [{"a": torch.ones(3)}])
    (raw / "reshard-model_part-1.pt").unlink()
    refused(raw, r"raw: expected OPT's tensors, found no decoder\.embed_tokens\.weight")


def test_a_geometry_that_settings_or_sizes_do_not_have(raw: Path) -> None:
    edit_json(raw / "config.json", hidden_size=64)
    refused(raw, r"config\.json: expected hidden_size 32, as in the weights, found 64")
    edit_json(raw / "config.json", hidden_size=32, num_attention_heads=7)
    refused(raw, r"config\.json: expected num_attention_heads to divide hidden_size 32, found 7")
    edit_json(raw / "config.json", model_type="gpt2")
    refused(raw, r"config\.json: expected model_type 'opt', found 'gpt2'")


def shapes_of(size: OptSize) -> dict[str, tuple[int, ...]]:
    """The shapes of a published size's tensors, from the sizes of table 1 and no other place."""
    width, hidden = size.width, 4 * size.width
    shapes: dict[str, tuple[int, ...]] = {
        "decoder.embed_tokens.weight": (50272, size.embedding_width),
        "decoder.embed_positions.weight": (2050, width),
    }
    if size.name == "350m":
        shapes |= {"decoder.project_in.weight": (1024, 512), "decoder.project_out.weight": (512, 1024)}
    else:
        shapes |= {"decoder.final_layer_norm.weight": (width,), "decoder.final_layer_norm.bias": (width,)}
    for number in range(size.blocks):
        at = f"decoder.layers.{number}."
        for layer in ("k_proj", "v_proj", "q_proj", "out_proj"):
            shapes |= {at + f"self_attn.{layer}.weight": (width, width), at + f"self_attn.{layer}.bias": (width,)}
        for norm in ("self_attn_layer_norm", "final_layer_norm"):
            shapes |= {at + f"{norm}.weight": (width,), at + f"{norm}.bias": (width,)}
        shapes |= {at + "fc1.weight": (hidden, width), at + "fc1.bias": (hidden,)}
        shapes |= {at + "fc2.weight": (width, hidden), at + "fc2.bias": (width,)}
    return shapes


@pytest.mark.parametrize("size", OPT_SIZES, ids=lambda size: size.name)
def test_the_nine_sizes_are_found_from_shapes(tmp_path: Path, size: OptSize) -> None:
    weights = {
        name: ConcatenatedTensor((TensorInFiles(torch.float16, shape, ()),)) for name, shape in shapes_of(size).items()
    }
    settings = opt_settings(tmp_path, weights)
    assert (settings["num_attention_heads"], settings["num_hidden_layers"]) == (size.heads, size.blocks)
    assert next(iter(check_tensors(tmp_path, settings, weights))) == "decoder.embed_tokens.weight"
    del weights[f"decoder.layers.{size.blocks - 1}.fc2.weight"]
    with pytest.raises(ModelError, match=rf"lacks 1 of \d+ tensors, such as decoder.layers.{size.blocks - 1}.fc2"):
        check_tensors(tmp_path, settings, weights)
    fewer = {name: pieces for name, pieces in weights.items() if f"layers.{size.blocks - 1}." not in name}
    with pytest.raises(ModelError, match=rf"nine sizes.*\(opt-{size.name} has num_hidden_layers {size.blocks}\)"):
        opt_settings(tmp_path, fewer)


def test_numpy_files_that_are_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TCF_HOME", str(tmp_path / "home"))
    folder = tmp_path / "numpy"
    save_flexgen(folder, small_opt())
    save_settings(small_opt(), folder)
    file = folder / "decoder.layers.0.fc1.weight"
    content = file.read_bytes()
    file.write_bytes(content[:-2])
    refused(folder, r"fc1\.weight: expected 4096 bytes of numbers for shape 64 x 32, found 4094; download it again")
    file.write_bytes(content[:20])
    refused(folder, r"fc1\.weight: expected a file of numpy\.save, found another format")
    with file.open("wb") as stream:
        np.save(stream, np.array([{"a": 1}], object), allow_pickle=True)
    refused(folder, r"fc1\.weight: expected float16 or float32 in row-major order, found object")
    with file.open("wb") as stream:
        np.save(stream, np.asfortranarray(np.zeros((64, 32), np.float16)))
    refused(folder, r"fc1\.weight: expected float16 or float32 in row-major order, found float16 in column-major")


def test_no_tokenizer_or_another_models(raw: Path, tmp_path: Path) -> None:
    (raw / "gpt2-merges.txt").rename(tmp_path / "merges.txt")
    refused(raw, r"raw: expected a tokenizer \(gpt2-vocab\.json \+ gpt2-merges\.txt, .*; pass --tokenizer FOLDER")
    (tmp_path / "merges.txt").rename(raw / "gpt2-merges.txt")
    (raw / "tokenizer_config.json").write_text('{"tokenizer_class": "GPT2Tokenizer", "add_bos_token": false}')
    with pytest.raises(
        ModelError, match=rf"^{re.escape(str(raw))}: expected a tokenizer that adds token 2 at the start"
    ):
        convert(raw, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    file = write_gguf(tmp_path / "tiny.gguf", SmallGguf(small_llama(), byte_pairs()))
    with pytest.raises(ConfigError, match=r"--tokenizer: expected raw weights of OPT, found the GGUF file"):
        convert(file, tmp_path / "gguf", tokenizer=raw)


def test_several_checkpoints_and_single_parts(raw: Path) -> None:
    with pytest.raises(ModelError, match=r"part-0\.pt: expected all parts of a checkpoint, found one; pass the folder"):
        convert(raw / "reshard-model_part-0.pt", raw.parent / "out")
    shutil.copy(raw / "reshard-model_part-0.pt", raw / "other-model_part-0.pt")
    refused(raw, r"raw: expected one checkpoint, found several \(other-model_part-0\.pt and reshard-model_part-1\.pt\)")
