"""Vectors of folders of sentence-transformers, against its own."""

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from small.encoders.models import TITLES, edit_json, edit_weights, save_dataset
from small.encoders.sentence_encoders import (
    Module,
    SentenceFolder,
    dense,
    encoded,
    layer_norm,
    save_sentence_encoder,
)
from small.extract.extractions import extracted, pooled, token_rows, vectors
from tcf.common.errors import CacheError, ConfigError, ModelError
from tcf.config.extract import ExtractConfig
from tcf.data import Dataset, VectorCache
from tcf.data.cache.caches import TokenStates
from tcf.encoders.folder.open_model_folder import open_model_folder
from tcf.extract.plan.planner import plan_for_data, plan_for_items
from tcf.extract.sentence_options import sentence_notes

FAMILIES = ("bert", "qwen3", "llama", "mpnet", "modernbert", "xlm-roberta", "distilbert", "gemma3", "t5")
POOLINGS = {
    "cls": "first",
    "max": "max",
    "mean": "mean",
    "mean_sqrt_len_tokens": "mean_sqrt_len",
    "weightedmean": "weighted_mean",
    "lasttoken": "last",
}
TEXTS = [*filter(None, TITLES[:8]), "zelda", "Super Mario World " * 4]
PROMPTS = {"prompts": {"query": "find: ", "passage": "Super Mario: "}}
NORMALIZE = Module("Normalize")
USUAL = SentenceFolder(modules=[dense(32, 16), NORMALIZE])

Save = Callable[[str, SentenceFolder], Path]


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return save_dataset(tmp_path_factory.mktemp("texts") / "d", TEXTS)


@pytest.fixture
def save(tmp_path: Path, family: Callable[[str], Path]) -> Save:
    return lambda name, content: save_sentence_encoder(family(name), tmp_path / "m", content)


def found(model: Path, dataset: Dataset, out: Path, **settings: Any) -> npt.NDArray[np.float32]:
    """The vectors of an extraction."""
    extracted(dataset, model, out, **{"max_tokens": 60, **settings})
    return np.asarray(vectors(out, dataset))


def check(own: npt.NDArray[np.float32], right: npt.NDArray[np.float32]) -> None:
    """Compare vectors with sentence-transformers' own, to 1e-5 of the largest number of each."""
    assert own.shape == right.shape
    assert (np.abs(own - right).max(axis=1) / np.maximum(1, np.abs(right).max(axis=1))).max() < 1e-5


@pytest.mark.parametrize("name", FAMILIES)
def test_every_pooling_of_every_family(tmp_path: Path, texts: Dataset, save: Save, name: str) -> None:
    content = SentenceFolder({"pooling_mode": list(POOLINGS)}, texts={"max_seq_length": 60})
    model = save(name, content)
    own, right = found(model, texts, tmp_path / "c"), encoded(model, TEXTS)
    check(own, right)
    assert len({row.tobytes() for row in own.reshape(len(TEXTS), 6, 32)[6]}) == 6
    assert VectorCache.open(tmp_path / "c").describe()["encoder"]["pooling"] == ",".join(POOLINGS.values())


@pytest.mark.parametrize("name", FAMILIES)
def test_everything_at_once_for_every_family(tmp_path: Path, texts: Dataset, save: Save, name: str) -> None:
    content = SentenceFolder(
        pooling={"pooling_mode": ["weightedmean", "cls", "max"], "include_prompt": False},
        modules=[
            dense(96, 40, "linear.Identity", bias=False, pickled=True),
            layer_norm(40),
            Module("Dropout", {"dropout": 0.5}),
            dense(40, 24, "activation.GELU", use_residual=True),
            NORMALIZE,
        ],
        own={**PROMPTS, "default_prompt_name": "passage", "truncate_dim": 20},
        texts={"max_seq_length": 17, "do_lower_case": True},
    )
    model = save(name, content)
    own = found(model, texts, tmp_path / "c")
    assert own.shape == (len(TEXTS), 20)
    check(own, encoded(model, TEXTS))


@pytest.mark.parametrize("name", ["bert", "qwen3"])
def test_a_dense_layer_and_unit_length_as_most_have_them(tmp_path: Path, texts: Dataset, save: Save, name: str) -> None:
    model = save(name, USUAL)
    own = found(model, texts, tmp_path / "c")
    check(own, encoded(model, TEXTS))
    np.testing.assert_allclose(np.linalg.norm(own, axis=1), 1, atol=1e-5)


@pytest.mark.parametrize(
    ("texts_of", "settings", "arguments"),
    [
        ({}, {"prompt": "passage"}, {"prompt_name": "passage"}),
        ({}, {"prefix": "find the "}, {"prompt": "find the "}),
        ({}, {"prefix": ""}, {"prompt": ""}),
        ({"include_prompt": False}, {}, {}),
        ({"include_prompt": False}, {"prefix": "find the"}, {"prompt": "find the"}),
    ],
)
def test_prompts(
    tmp_path: Path,
    texts: Dataset,
    save: Save,
    texts_of: dict[str, Any],
    settings: dict[str, Any],
    arguments: dict[str, Any],
) -> None:
    own = {**PROMPTS, "default_prompt_name": "query"}
    model = save("bert", SentenceFolder({"pooling_mode": ["mean", "cls"], **texts_of}, own=own))
    check(found(model, texts, tmp_path / "c", **settings), encoded(model, TEXTS, **arguments))


@pytest.mark.parametrize(("name", "end"), [("llama", "</s>"), ("qwen3", "<|endoftext|>")])
def test_a_prompt_that_ends_with_a_special_token(
    tmp_path: Path, texts: Dataset, save: Save, name: str, end: str
) -> None:
    model = save(name, SentenceFolder({"pooling_mode": "mean", "include_prompt": False}))
    prompt = f"find {end}"
    check(found(model, texts, tmp_path / "c", prefix=prompt), encoded(model, TEXTS, prompt=prompt))


@pytest.mark.parametrize(
    "content",
    [
        SentenceFolder({"pooling_mode_mean_tokens": False, "pooling_mode_weightedmean_tokens": True}),
        SentenceFolder({"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": True}, root="0_BERT"),
        SentenceFolder(texts={"max_seq_length": 7}, texts_file="sentence_roberta_config.json", root="0_Transformer"),
        SentenceFolder({"pooling_mode": "max"}, pooling_folder="first/pool"),
        SentenceFolder(texts={"max_seq_length": None, "tokenizer_args": {"model_max_length": 6}}),
    ],
    ids=["flags", "two flags", "old names", "other folder", "arguments"],
)
def test_layouts(tmp_path: Path, texts: Dataset, save: Save, content: SentenceFolder) -> None:
    model = save("bert", content)
    check(found(model, texts, tmp_path / "c"), encoded(model, TEXTS))


def test_a_tokenizer_that_limits_texts_and_cuts_their_start(tmp_path: Path, texts: Dataset, save: Save) -> None:
    model = save("bert", SentenceFolder({"pooling_mode": ["mean", "cls", "lasttoken"]}, texts=None))
    edit_json(model / "tokenizer_config.json", model_max_length=9, truncation_side="left")
    own = found(model, texts, tmp_path / "c")
    check(own, encoded(model, TEXTS))
    edit_json(model / "tokenizer_config.json", truncation_side="right")
    assert np.abs(found(model, texts, tmp_path / "d") - own).max() > 0.1


def test_capital_letters(tmp_path: Path, texts: Dataset, save: Save) -> None:
    model = save("xlm-roberta", SentenceFolder(texts={"do_lower_case": True, "max_seq_length": 60}))
    own = found(model, texts, tmp_path / "c")
    check(own, encoded(model, TEXTS))
    edit_json(model / "sentence_bert_config.json", do_lower_case=False)
    assert np.abs(found(model, texts, tmp_path / "d") - own).max() > 0.1


def test_what_sentence_transformers_itself_saves(tmp_path: Path, texts: Dataset, save: Save) -> None:
    from sentence_transformers import SentenceTransformer

    content = SentenceFolder({"pooling_mode": ["mean", "max"]}, [dense(64, 8), NORMALIZE], own=PROMPTS)
    SentenceTransformer(str(save("mpnet", content)), device="cpu").save(str(tmp_path / "saved"))
    check(found(tmp_path / "saved", texts, tmp_path / "c"), encoded(tmp_path / "saved", TEXTS))


@pytest.mark.parametrize("settings", [{"schedule": "sweep"}, {"schedule": "pipeline", "devices": "cpu,cpu"}])
def test_every_schedule_applies_the_modules(
    tmp_path: Path, texts: Dataset, save: Save, settings: dict[str, Any]
) -> None:
    model = save("llama", USUAL)
    own = found(model, texts, tmp_path / "c")
    again = found(model, texts, tmp_path / "d", **settings, shard_rows=3)
    np.testing.assert_allclose(again, own, rtol=0, atol=1e-6)


def test_other_layers_and_token_states_are_without_modules(
    tmp_path: Path, texts: Dataset, save: Save, caplog: pytest.LogCaptureFixture
) -> None:
    content = SentenceFolder({"pooling_mode": "mean"}, USUAL.modules, own={**PROMPTS, "default_prompt_name": "query"})
    model = save("bert", content)
    with caplog.at_level(logging.INFO, "tcf"):
        extracted(texts, model, tmp_path / "c", layers=(3, -1), token_states=-1, token_storage="float32", max_tokens=60)
    # The last block of BERT gives the last states.
    last, states = vectors(tmp_path / "c" / "layer3", texts), token_rows(tmp_path / "c" / "tokens-1", texts)
    check(np.stack([pooled(rows, "mean") for rows in states]), last)
    check(vectors(tmp_path / "c" / "layer-1", texts), encoded(model, TEXTS))
    file = model / "modules.json"
    assert f"extract: the modules after the pooling in {file} are applied to layer -1 only" in caplog.messages
    assert f"extract: token states come before the pooling and the modules after it in {file}" in caplog.messages
    assert "modules" not in TokenStates.open(tmp_path / "c" / "tokens-1").manifest.config
    assert "modules" not in VectorCache.open(tmp_path / "c" / "layer3").manifest.config


@pytest.mark.parametrize(
    ("stated", "message"),
    [
        (
            {"word_embedding_dimension": 64},
            "config.json: word_embedding_dimension: expected 32, the .* found 64; correct",
        ),
        (
            {"embedding_dimension": 16},
            "config.json: embedding_dimension: expected 32, the width of .*, found 16; correct",
        ),
    ],
)
def test_a_pooling_for_another_width(save: Save, stated: dict[str, int], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        open_model_folder(save("bert", SentenceFolder({"pooling_mode": "mean", **stated})))


@pytest.mark.parametrize(
    ("settings", "name", "value", "message"),
    [
        ({"max_seq_length": 1}, "max_seq_length", 30, "at least 2, the number of special .*, found 1; correct it, or"),
        (
            {"max_seq_length": 500},
            "max_seq_length",
            600,
            "at most 64, the positions .*, found 500; pass --max-tokens 64",
        ),
        ({"tokenizer_args": {"model_max_length": 1}}, "model_max_length", 30, "at least 2, .*, found 1; correct it"),
    ],
)
def test_a_limit_of_the_folder_that_does_not_suit_the_model(
    tmp_path: Path, texts: Dataset, save: Save, settings: dict[str, Any], name: str, value: int, message: str
) -> None:
    model = save("bert", SentenceFolder(texts=settings))
    with pytest.raises(ModelError, match=rf"^.*sentence_bert_config\.json: {name}: expected {message}"):
        extracted(texts, model, tmp_path / "c", max_tokens=value)


def test_an_option_is_not_blamed_on_the_folder(tmp_path: Path, texts: Dataset, save: Save) -> None:
    model = save("bert", SentenceFolder(texts={"max_seq_length": 500}))
    with pytest.raises(ConfigError, match="--max-tokens: expected at most 64, the positions .*, found 80"):
        extracted(texts, model, tmp_path / "c", max_tokens=80)


def test_texts_with_nothing_besides_a_prompt_that_is_not_pooled(
    tmp_path: Path, save: Save, caplog: pytest.LogCaptureFixture
) -> None:
    dataset = save_dataset(tmp_path / "d", ["zelda", "", "super mario", ""])
    model = save("llama", SentenceFolder({"pooling_mode": "mean", "include_prompt": False}))
    done = extracted(dataset, model, tmp_path / "c", prefix="find: ")
    assert (done.only_prompt, done.without_tokens, done.texts) == (1, 0, 3)
    assert vectors(tmp_path / "c", dataset).any(axis=1).tolist() == [True, False, True, False]
    said = "extract: nothing is pooled of 1 text whose tokens are all those of the prompt 'find: '"
    assert sum(message.startswith(said) for message in caplog.messages) == 1
    assert "1 text with nothing besides the prompt, which is not pooled" in done.summary()
    again = extracted(dataset, model, tmp_path / "c", prefix="find: ")
    assert (again.computed, again.only_prompt) == (0, 1)
    assert extracted(dataset, model, tmp_path / "all", prefix="").only_prompt == 0


def test_a_limit_that_is_no_longer_than_a_prompt_that_is_not_pooled(tmp_path: Path, texts: Dataset, save: Save) -> None:
    own = {**PROMPTS, "default_prompt_name": "query"}
    model = save("bert", SentenceFolder({"pooling_mode": "mean", "include_prompt": False}, own=own))
    message = (
        "expected more than 7, the tokens of the prompt 'find: ', which are not pooled, found 7"  # [CLS] ... [SEP]
    )
    with pytest.raises(ConfigError, match=f"--max-tokens: {message}"):
        extracted(texts, model, tmp_path / "c", max_tokens=7)
    with pytest.raises(ConfigError, match=f"--max-tokens: {message}"):
        plan_for_data(str(model), texts.path, None, ExtractConfig(devices="cpu", max_tokens=7))
    extracted(texts, model, tmp_path / "tokens", max_tokens=7, layers=(), token_states=-1)  # nothing is pooled
    assert extracted(texts, model, tmp_path / "c", max_tokens=8).only_prompt == 0
    edit_json(model / "sentence_bert_config.json", max_seq_length=7)
    with pytest.raises(ModelError, match=f"sentence_bert_config.json: max_seq_length: {message}; pass a shorter"):
        extracted(texts, model, tmp_path / "e")


def test_a_plan_says_what_holds(texts: Dataset, save: Save, caplog: pytest.LogCaptureFixture) -> None:
    own = {**PROMPTS, "default_prompt_name": "query"}
    model = save("bert", SentenceFolder(own=own, texts={"max_seq_length": 7}))
    said = [
        f"plan: 'find: ' comes before every text, the default prompt 'query' of {model}",
        f"plan: texts are cut at 7 tokens, the limit of {model}, not at --max-tokens 30",
    ]
    with caplog.at_level(logging.INFO, "tcf"):
        plan_for_data(str(model), texts.path, None, ExtractConfig(devices="cpu"))
        plan_for_items(str(model), 10, None, None, ExtractConfig(devices="cpu"))
    assert [message for message in caplog.messages if message.startswith("plan: ")] == said * 2


def test_what_holds_is_said(save: Save) -> None:
    own = {**PROMPTS, "default_prompt_name": "query", "matryoshka": [8]}
    model = save("bert", SentenceFolder(own=own, texts={"max_seq_length": 7}))

    def said(**settings: Any) -> list[str]:
        return list(sentence_notes(ExtractConfig(**settings), open_model_folder(model)))

    limit = f"texts are cut at 7 tokens, the limit of {model}, not at --max-tokens 30"
    unused = f"not used: matryoshka of config_sentence_transformers.json in {model}"
    default = f"'find: ' comes before every text, the default prompt 'query' of {model}"
    assert said() == [default, limit, unused]
    prefix = f"--prefix holds, not the default prompt 'query' of {model}"
    assert said(prefix="a ", max_tokens=5) == [prefix, unused]
    pooling = f"--pooling max holds, not mean of {model / 'modules.json'}"
    assert said(prompt="passage", max_tokens=5, pooling="max") == [pooling, unused]
    edit_json(model / "config_sentence_transformers.json", default_prompt_name=None, matryoshka=None)
    choice = f"no prompt comes before the texts; {model} has query, passage for --prompt"
    assert said(max_tokens=5) == [choice]


@pytest.mark.parametrize("pooling", ["1_Pooling", "elsewhere"])
def test_files_that_are_not_read_without_a_list_of_modules(save: Save, pooling: str) -> None:
    model = save("bert", SentenceFolder(own=PROMPTS, pooling_folder=pooling))
    (model / "modules.json").unlink()
    names = "config_sentence_transformers.json, sentence_bert_config.json"
    assert list(sentence_notes(ExtractConfig(), open_model_folder(model))) == [
        f"not used: {names} of {model}, which has no modules.json"
    ]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"prompt": "qery"}, r"--prompt: expected a prompt of .* \(query, passage\), found 'qery'; did you mean query"),
        ({"prompt": "query", "prefix": ""}, "--prompt: expected no --prefix as well"),
        ({"pooling": "first"}, "--pooling: expected auto or mean, which .*2_Dense was trained after, found first; "
                               "leave --pooling out, or take the states before the modules with --layers 3"),
    ],
)  # fmt: skip
def test_contradictions(tmp_path: Path, texts: Dataset, save: Save, settings: dict[str, Any], message: str) -> None:
    model = save("bert", SentenceFolder(modules=USUAL.modules, own=PROMPTS))
    with pytest.raises(ConfigError, match=message):
        extracted(texts, model, tmp_path / "c", **settings)


def test_another_pooling_of_another_layer_is_no_contradiction(tmp_path: Path, texts: Dataset, save: Save) -> None:
    model = save("bert", USUAL)
    assert found(model, texts, tmp_path / "c", layers=(2,), pooling="weighted_mean").shape == (len(TEXTS), 32)


def test_a_model_without_prompts(tmp_path: Path, texts: Dataset, bert: Path) -> None:
    with pytest.raises(
        ConfigError, match="--prompt: expected a model with named prompts, .* text itself with --prefix"
    ):
        extracted(texts, bert, tmp_path / "c", prompt="query")


def test_all_of_it_is_in_the_identity(tmp_path: Path, texts: Dataset, save: Save) -> None:
    own = {**PROMPTS, "default_prompt_name": "query"}
    content = SentenceFolder({"include_prompt": False}, USUAL.modules, own, {"max_seq_length": 20})
    model = save("bert", content)
    extracted(texts, model, tmp_path / "c")
    config = VectorCache.open(tmp_path / "c").manifest.config
    assert (config["prefix"], config["max_tokens"], config["pooling"]) == ("find: ", 20, "mean")
    assert config["unpooled_tokens"] == 6  # [CLS], four letters and a colon
    first, second = config["modules"].split(", ")
    assert first.startswith("dense 16 Tanh ")
    assert second == "normalize"
    (model / "3_Normalize" / "config.json").write_text("{}")
    extracted(texts, model, tmp_path / "c")  # the same
    edit_json(model / "2_Dense" / "config.json", activation_function="torch.nn.ReLU")
    with pytest.raises(CacheError, match="modules: dense 16 .* found, dense 16 .* requested"):
        extracted(texts, model, tmp_path / "c")
    edit_json(model / "2_Dense" / "config.json", activation_function=None)
    edit_weights(model / "2_Dense", {"linear.bias": torch.ones(16)})
    with pytest.raises(CacheError, match="modules: .* found, .* requested"):
        extracted(texts, model, tmp_path / "c")


def test_the_identity_of_other_models_is_as_it_was(tmp_path: Path, texts: Dataset, bert: Path) -> None:
    extracted(texts, bert, tmp_path / "c")
    names = "architecture compute family layer max_tokens model pooling prefix project_out storage tokenizer weights"
    config = VectorCache.open(tmp_path / "c").manifest.config
    assert sorted(config) == names.split()
    assert (config["prefix"], config["pooling"], config["max_tokens"]) == ("", "first", 30)


def test_a_plan_counts_the_vectors_that_come_out(tmp_path: Path, texts: Dataset, save: Save) -> None:
    config = ExtractConfig(devices="cpu", storage="float32")
    content = SentenceFolder({"pooling_mode": ["mean", "max"]}, [dense(64, 400)])
    model = save("bert", content)
    wide = plan_for_data(str(model), texts.path, None, config)
    (model / "modules.json").write_text(json.dumps(json.loads((model / "modules.json").read_text())[:2]))
    both = plan_for_data(str(model), texts.path, None, config)
    assert wide.output_bytes - both.output_bytes == wide.sequences * 4 * (400 - 64)
