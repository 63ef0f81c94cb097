import json
from pathlib import Path

import pytest
import torch
from transformers import OPTConfig, OPTModel

from small.encoders.models import edit_json, save_bert, save_opt
from tcf.common.errors import ConfigError, ModelError
from tcf.encoders.blocks import find_blocks
from tcf.encoders.encoder import layer_width
from tcf.encoders.folder.open_model_folder import open_model_folder
from tcf.encoders.folder.weight_files import weight_files, weights_digest


def bare_folder(path: Path, **settings: object) -> Path:
    path.mkdir()
    (path / "config.json").write_text(json.dumps(settings))
    return path


def test_opt_geometry_and_defaults(tmp_path: Path) -> None:
    folder = open_model_folder(save_opt(tmp_path / "m"))
    assert (folder.family, folder.width, folder.max_positions, folder.poolings) == ("opt", 32, 64, ("mean",))
    assert folder.bos_token_id == 2


def test_opt_with_projections_has_the_width_of_its_blocks(tmp_path: Path) -> None:
    assert open_model_folder(save_opt(tmp_path / "m", norm="post")).width == 32


def test_bert_reads_its_first_token(tmp_path: Path) -> None:
    folder = open_model_folder(save_bert(tmp_path / "m"))
    assert (folder.family, folder.width, folder.max_positions, folder.poolings) == ("bert", 32, 64, ("first",))


@pytest.mark.parametrize(
    ("on", "poolings"),
    [
        (["mean_tokens"], ["mean"]),
        (["cls_token"], ["first"]),
        (["lasttoken"], ["last"]),
        (["max_tokens"], ["max"]),
        (["mean_sqrt_len_tokens", "mean_tokens", "cls_token"], ["first", "mean", "mean_sqrt_len"]),
        ([], ["mean"]),
    ],
)
def test_a_sentence_encoder_pools_as_it_was_trained(tmp_path: Path, on: list[str], poolings: list[str]) -> None:
    folder = bare_folder(tmp_path / "m", model_type="bert", hidden_size=8, max_position_embeddings=16)
    modes = ["cls_token", "mean_tokens", "max_tokens", "mean_sqrt_len_tokens", "lasttoken"]
    (folder / "1_Pooling").mkdir()
    settings = {"word_embedding_dimension": 8, **{f"pooling_mode_{mode}": mode in on for mode in modes}}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(settings))
    assert open_model_folder(folder).poolings == tuple(poolings)


@pytest.mark.parametrize(
    ("mode", "poolings"),
    [
        ("mean", ["mean"]),
        ("cls", ["first"]),
        ("lasttoken", ["last"]),
        ("weightedmean", ["weighted_mean"]),
        (["max", "cls"], ["max", "first"]),
    ],
)
def test_a_sentence_encoder_that_names_its_pooling(tmp_path: Path, mode: str | list[str], poolings: list[str]) -> None:
    folder = bare_folder(tmp_path / "m", model_type="llama", hidden_size=8, num_attention_heads=2)
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"embedding_dimension": 8, "pooling_mode": mode}))
    assert open_model_folder(folder).poolings == tuple(poolings)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (None, "expected a model_type that this version of transformers knows, found nothing"),
        ("no_such_model", "found 'no_such_model'; choose another model, or update transformers"),
        ("clip", r"a model that reads only text, found model_type 'clip', which reads image, text \(input_ids\)"),
        ("llava", "which reads image, text"),
        ("gemma3", "which reads image, text"),
        ("vit", r"which reads image \(pixel_values\)"),
        ("wav2vec2", r"which reads audio \(input_values\)"),
        ("whisper", r"which reads audio, text \(input_features\)"),
        ("encodec", r"which reads text \(input_values\)"),
        ("bark", "expected an entry 'hidden_size', a whole number from 1, found nothing"),
        ("blip_2_vision_model", "expected a model that computes token states"),
    ],
)
def test_models_that_do_not_read_texts_alone_are_refused(tmp_path: Path, kind: str | None, message: str) -> None:
    with pytest.raises(ModelError, match=rf"config\.json: .*{message}"):
        open_model_folder(bare_folder(tmp_path / "m", model_type=kind))


def test_a_missing_entry_is_that_of_the_family(tmp_path: Path) -> None:
    folder = open_model_folder(bare_folder(tmp_path / "m", model_type="gpt2"))
    assert (folder.width, folder.n_blocks, folder.max_positions, folder.vocabulary) == (768, 12, 1024, 50257)


@pytest.mark.parametrize(("padding", "positions"), [(1, 512), (0, 513)])
def test_roberta_has_no_position_for_its_padding(tmp_path: Path, padding: int, positions: int) -> None:
    settings = {"model_type": "roberta", "max_position_embeddings": 514, "pad_token_id": padding}
    assert open_model_folder(bare_folder(tmp_path / "m", **settings)).max_positions == positions


# Name, blocks, heads, width, width of the embeddings (OPT's paper, arXiv 2205.01068), and parameters in millions:
# 12 d^2 + 13 d a block of width d, (50272 + 2050) d for tokens and positions, 2 d for the final norm; the 350M has its
# tokens and two projections at 512 instead, and no final norm.
GEOMETRIES = [
    ("125m", 12, 12, 768, 768, 125),
    ("350m", 24, 16, 1024, 512, 331),
    ("1.3b", 24, 32, 2048, 2048, 1_316),
    ("2.7b", 32, 32, 2560, 2560, 2_652),
    ("6.7b", 32, 32, 4096, 4096, 6_658),
    ("13b", 40, 40, 5120, 5120, 12_853),
    ("30b", 48, 56, 7168, 7168, 29_975),
    ("66b", 64, 72, 9216, 9216, 65_720),
    ("175b", 96, 96, 12288, 12288, 174_604),
]


@pytest.mark.parametrize(("name", "blocks", "heads", "width", "embedded", "millions"), GEOMETRIES)
def test_geometries_of_opt(
    tmp_path: Path, name: str, blocks: int, heads: int, width: int, embedded: int, millions: int
) -> None:
    path = bare_folder(
        tmp_path / name,
        model_type="opt",
        hidden_size=width,
        num_hidden_layers=blocks,
        num_attention_heads=heads,
        ffn_dim=4 * width,
        word_embed_proj_dim=embedded,
        do_layer_norm_before=name != "350m",
    )
    folder = open_model_folder(path)
    assert (folder.family, folder.width, folder.n_blocks, folder.max_positions) == ("opt", width, blocks, 2048)
    with torch.device("meta"):
        model = OPTModel(OPTConfig.from_pretrained(str(path)))
    stack = find_blocks(model, folder.n_blocks)
    assert stack is not None and [type(block).__name__ for block in stack] == ["OPTDecoderLayer"] * blocks
    assert round(sum(weight.numel() for weight in model.parameters()) / 1e6) == millions
    assert layer_width(folder, -1, project_out=False) == layer_width(folder, 0, project_out=False) == width
    if embedded == width:
        with pytest.raises(ConfigError, match="--project-out: .*without one; leave --project-out out"):
            layer_width(folder, -1, project_out=True)
    else:
        assert layer_width(folder, -1, project_out=True) == embedded
        assert layer_width(folder, blocks, project_out=True) == width


@pytest.mark.parametrize("content", [None, "{", "[1]", '"text"'])
def test_an_unreadable_configuration_is_named(tmp_path: Path, content: str | None) -> None:
    (tmp_path / "m").mkdir()
    if content is not None:
        (tmp_path / "m" / "config.json").write_text(content)
    with pytest.raises(ModelError, match=r"m/config\.json: (expected|cannot be read)"):
        open_model_folder(tmp_path / "m")


def test_architecture_ignores_how_a_model_was_saved(tmp_path: Path) -> None:
    folder = save_opt(tmp_path / "m")
    before = open_model_folder(folder).architecture
    edit_json(folder / "config.json", transformers_version="4.21.0", torch_dtype="float16", _name_or_path="elsewhere")
    edit_json(folder / "config.json", use_cache=False, architectures=["OPTForCausalLM"])
    assert open_model_folder(folder).architecture == before
    edit_json(folder / "config.json", num_attention_heads=2)
    assert open_model_folder(folder).architecture != before


def test_weights_in_one_file_and_in_several(tmp_path: Path) -> None:
    one, several = save_opt(tmp_path / "one"), save_opt(tmp_path / "several", shard="20KB")
    assert [file.name for file in weight_files(one)] == ["model.safetensors"]
    names = [file.name for file in weight_files(several)]
    assert len(names) > 2
    assert names == sorted(file.name for file in several.glob("model-*.safetensors"))


def test_safetensors_are_preferred(tmp_path: Path) -> None:
    folder = save_opt(tmp_path / "m")
    (folder / "pytorch_model.bin").write_bytes(b"not read")
    assert [file.name for file in weight_files(folder)] == ["model.safetensors"]


def test_a_missing_file_of_weights_is_named(tmp_path: Path) -> None:
    folder = save_opt(tmp_path / "m", shard="20KB")
    gone = weight_files(folder)[1]
    gone.unlink()
    with pytest.raises(ModelError, match=rf"expected the weight files that it lists, found no {gone.name}"):
        weight_files(folder)


def test_a_model_that_is_one_file_is_known_by_its_bytes(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"abc")
    (tmp_path / "b.txt").write_bytes(b"abc")
    # Of FIPS 180-2, the standard's own example.
    assert weights_digest(tmp_path / "a.txt").endswith(
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )
    assert weights_digest(tmp_path / "b.txt") == weights_digest(tmp_path / "a.txt")


def test_no_weights_at_all(tmp_path: Path) -> None:
    folder = save_opt(tmp_path / "m")
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="expected weights"):
        weights_digest(folder)


@pytest.mark.parametrize("shard", ["1GB", "20KB"])
def test_one_changed_bit_changes_the_digest(tmp_path: Path, shard: str) -> None:
    folder = save_opt(tmp_path / "m", shard=shard)
    before = weights_digest(folder)
    assert weights_digest(folder) == before
    last = weight_files(folder)[-1]
    content = bytearray(last.read_bytes())
    content[-1] ^= 1
    last.write_bytes(content)
    assert weights_digest(folder) != before


@pytest.mark.parametrize("value", ["abc", None, [], 0, -1, 7.5, True])
@pytest.mark.parametrize("key", ["hidden_size", "max_position_embeddings", "vocab_size", "bos_token_id"])
def test_a_number_that_is_none_is_named(tmp_path: Path, key: str, value: object) -> None:
    settings: dict[str, object] = {"hidden_size": 8, "max_position_embeddings": 16, "vocab_size": 9}
    folder = bare_folder(tmp_path / "m", model_type="opt", **{**settings, key: value})
    if (key, value) == ("bos_token_id", 0) and value is not False:
        assert open_model_folder(folder).bos_token_id == 0
        return
    with pytest.raises(ModelError, match=rf"config\.json: (expected an entry|cannot be read) .*'{key}'"):
        open_model_folder(folder)


def test_bert_begins_without_a_token_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    settings = {"model_type": "bert", "hidden_size": 8, "max_position_embeddings": 16, "bos_token_id": None}
    (tmp_path / "m" / "config.json").write_text(json.dumps(settings))
    assert open_model_folder(tmp_path / "m").width == 8


@pytest.mark.parametrize("weight_map", [["a"], "a", 3, {"a": 3}, {"a": ["b"]}, None])
def test_a_damaged_index_of_weights_is_named(tmp_path: Path, weight_map: object) -> None:
    folder = save_opt(tmp_path / "m", shard="20KB")
    edit_json(folder / "model.safetensors.index.json", weight_map=weight_map)
    with pytest.raises(ModelError, match=r"model\.safetensors\.index\.json: expected weight_map, a mapping"):
        weight_files(folder)
