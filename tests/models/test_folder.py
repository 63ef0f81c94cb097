import json
from pathlib import Path

import pytest

from small_models import edit_json, save_bert, save_opt
from tcf.errors import ModelError
from tcf.models.folder import open_model_folder, weight_files, weights_digest


def bare_folder(path: Path, **settings: object) -> Path:
    path.mkdir()
    (path / "config.json").write_text(json.dumps(settings))
    return path


def test_opt_geometry_and_defaults(tmp_path: Path) -> None:
    folder = open_model_folder(save_opt(tmp_path / "m"))
    assert (folder.family, folder.width, folder.max_positions, folder.pooling) == ("opt", 32, 64, "mean")
    assert folder.bos_token_id == 2


def test_opt_with_projections_has_the_width_of_its_blocks(tmp_path: Path) -> None:
    assert open_model_folder(save_opt(tmp_path / "m", norm="post")).width == 32


def test_bert_reads_its_first_token(tmp_path: Path) -> None:
    folder = open_model_folder(save_bert(tmp_path / "m"))
    assert (folder.family, folder.width, folder.max_positions, folder.pooling) == ("bert", 32, 64, "first")


@pytest.mark.parametrize(
    ("on", "pooling"),
    [
        (["mean_tokens"], "mean"),
        (["cls_token"], "first"),
        (["lasttoken"], "last"),
        (["max_tokens"], None),
        (["mean_tokens", "cls_token"], None),
    ],
)
def test_a_sentence_encoder_pools_as_it_was_trained(tmp_path: Path, on: list[str], pooling: str | None) -> None:
    folder = bare_folder(tmp_path / "m", model_type="bert", hidden_size=8, max_position_embeddings=16)
    modes = ["cls_token", "mean_tokens", "max_tokens", "mean_sqrt_len_tokens", "lasttoken"]
    (folder / "1_Pooling").mkdir()
    settings = {"word_embedding_dimension": 8, **{f"pooling_mode_{mode}": mode in on for mode in modes}}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(settings))
    assert open_model_folder(folder).pooling == pooling


def test_another_family_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"config\.json: expected model_type opt or bert, found 'gpt2'"):
        open_model_folder(bare_folder(tmp_path / "m", model_type="gpt2"))


def test_a_missing_entry_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="expected an entry 'hidden_size'"):
        open_model_folder(bare_folder(tmp_path / "m", model_type="opt"))


@pytest.mark.parametrize("content", [None, "{", "[1]", '"text"'])
def test_an_unreadable_configuration_is_named(tmp_path: Path, content: str | None) -> None:
    (tmp_path / "m").mkdir()
    if content is not None:
        (tmp_path / "m" / "config.json").write_text(content)
    with pytest.raises(ModelError, match=r"m/config\.json: expected"):
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
    with pytest.raises(ModelError, match=rf"lists weights that are missing \({gone.name}\)"):
        weight_files(folder)


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
    with pytest.raises(ModelError, match=rf"config\.json: expected an entry '{key}', a whole number from [01], found"):
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
