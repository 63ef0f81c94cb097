"""Texts that begin alike share states: the numbers are those of transformers' own forward on each text by itself."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from small.data.caches import content
from small.encoders.families import FAMILIES, hidden_states, own_model, stored_weights
from small.encoders.models import TITLES, edit_weights, save_dataset, save_opt, token_ids, vectors_one_by_one
from small.extract.extractions import extracted, token_rows, vectors
from tcf.common.errors import ModelError
from tcf.common.manifest import read_manifest
from tcf.config.extract import Pooling
from tcf.data import Dataset
from tcf.data.cache.cache_files import VECTORS
from tcf.encoders.tokenize import TokenSequences
from tcf.extract import share_prefixes
from tcf.extract.share_prefixes import compared_texts

# Empty texts, equal ones, some that are a prefix of others, some that are cut, and many that begin alike.
BEGIN_ALIKE = [f"super mario game boy {word} {number}" for word in ("gold", "star", "zelda") for number in range(5)]
TEXTS = [*TITLES, "super", "super mario", *BEGIN_ALIKE, "super mario game boy gold", "日", "日 star"]
CAUSAL = ("opt", "opt-post-norm", "gpt2", "gpt_neox", "llama", "qwen2", "mistral", "qwen3")
Folders = Callable[[str], Path]
SAYS = "extract: texts that begin alike are computed one by one, as this model cannot share them ("


def facts(cache: Path) -> list[Mapping[str, Any]]:
    return [read_manifest(shard, VECTORS.shard).facts for shard in sorted((cache / "shards").glob("[!.]*"))]


def shared(cache: Path) -> set[bool]:
    return {shard["shares_prefixes"] for shard in facts(cache)}


def numbers(cache: Path) -> dict[str, bytes]:
    """What a cache holds without the manifests of its shards, which say how it was computed."""
    return {file: bytes_ for file, bytes_ in content(cache).items() if not file.endswith("manifest.json")}


@pytest.fixture
def alike(tmp_path: Path) -> Dataset:
    return save_dataset(tmp_path / "alike", TEXTS)


def mean(states: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    found: npt.NDArray[np.float64] = states.sum(axis=0) / max(1, len(states))
    return found


@pytest.mark.parametrize("name", CAUSAL)
def test_vectors_and_token_states_are_those_of_each_text_by_itself(
    name: str, family: Folders, tmp_path: Path, alike: Dataset
) -> None:
    model, own = family(name), own_model(name, family(name))
    asked: dict[str, Any] = {"layers": (1, -1), "token_states": 3, "token_storage": "float32", "max_tokens": 16}
    extracted(alike, model, tmp_path / "c", tokens_per_batch=150, shard_rows=40, **asked)
    assert shared(tmp_path / "c" / "layer1") == {True}
    ids = {text: token_ids(model, text, 16) for text in TEXTS}
    states = {text: hidden_states(own, FAMILIES[name].blocks, ids[text]) if ids[text] else None for text in ids}
    assert max(map(len, ids.values())) == 16
    nothing = torch.zeros((0, 32))
    for layer in (1, -1):
        found = vectors(tmp_path / "c" / f"layer{layer}", alike)
        for text, vector in zip(TEXTS, found, strict=True):
            expected = mean((nothing if (own_text := states[text]) is None else own_text[layer]).double().numpy())
            np.testing.assert_allclose(vector, expected, rtol=0, atol=1e-5, err_msg=text)
    for text, row in zip(TEXTS, token_rows(tmp_path / "c" / "tokens3", alike), strict=True):
        expected = (nothing if (own_text := states[text]) is None else own_text[3]).double().numpy()
        np.testing.assert_allclose(row, expected, rtol=0, atol=1e-5, err_msg=text)


@pytest.mark.parametrize("pooling", get_args(Pooling))
def test_every_pooling_behind_an_instruction(pooling: Any, tmp_path: Path, alike: Dataset, opt: Path) -> None:
    prefix = "the legend of a world: "
    extracted(alike, opt, tmp_path / "c", pooling=pooling, prefix=prefix, max_tokens=25)
    assert shared(tmp_path / "c") == {True}
    own = vectors_one_by_one(opt, [prefix + text for text in TEXTS], pooling=pooling, max_tokens=25)
    np.testing.assert_allclose(vectors(tmp_path / "c", alike), own, rtol=0, atol=1e-5)


@pytest.mark.usefixtures("shown_log")
@pytest.mark.parametrize("name", ["bert", "t5"])
def test_models_that_look_ahead_never_share_and_nothing_is_tried(
    name: str, family: Folders, tmp_path: Path, alike: Dataset, capfd: Any
) -> None:
    extracted(alike, family(name), tmp_path / "c")
    assert shared(tmp_path / "c") == {False}
    assert "begin alike" not in capfd.readouterr().err


def test_word_vectors_never_share(tmp_path: Path, alike: Dataset) -> None:
    (tmp_path / "words.txt").write_text("super 1 2 3\nmario 4 5 6\n")
    extracted(alike, tmp_path / "words.txt", tmp_path / "c")
    assert shared(tmp_path / "c") == {False}


@pytest.mark.usefixtures("shown_log")
@pytest.mark.parametrize(("name", "why"), [("bloom", "sdpa"), ("gemma2", "its attention is eager, not sdpa")])
def test_models_whose_attention_cannot_follow_a_tree(
    name: str, why: str, family: Folders, tmp_path: Path, alike: Dataset, capfd: Any
) -> None:
    """One line says so, and every byte is that of a request not to share."""
    extracted(alike, family(name), tmp_path / "c")
    [line] = [line for line in capfd.readouterr().err.splitlines() if line.startswith(SAYS)]
    assert why in line
    extracted(alike, family(name), tmp_path / "plain", share_prefixes=False)
    assert "begin alike" not in capfd.readouterr().err
    assert shared(tmp_path / "c") == {False}
    assert content(tmp_path / "c") == content(tmp_path / "plain")


def test_not_sharing_on_request(tmp_path: Path, alike: Dataset, opt: Path) -> None:
    extracted(alike, opt, tmp_path / "c", share_prefixes=False)
    extracted(alike, opt, tmp_path / "shared")
    assert (shared(tmp_path / "c"), shared(tmp_path / "shared")) == ({False}, {True})
    np.testing.assert_allclose(vectors(tmp_path / "c", alike), vectors(tmp_path / "shared", alike), rtol=0, atol=1e-5)


@pytest.fixture
def spoilt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Tensor], Path]:
    """A model for which `日`, with which two texts begin, has this embedding; these texts are not compared."""
    model = save_opt(tmp_path / "m")
    letter = token_ids(model, "日", 30)[1:]

    def without_letter(sequences: TokenSequences) -> TokenSequences:
        rows = [row for row in range(len(sequences)) if letter[-1] not in sequences.block(np.array([row]))]
        return compared_texts(sequences.take(np.array(rows)))

    def spoil(embedding_D: Tensor) -> Path:
        weights = own_model("opt", model).get_input_embeddings().get_parameter("weight").detach().clone()
        weights[letter] = embedding_D
        edit_weights(model, {"decoder.embed_tokens.weight": weights})
        return model

    monkeypatch.setattr(share_prefixes, "compared_texts", without_letter)
    return spoil


@pytest.mark.parametrize("settings", [{}, {"schedule": "sweep"}, {"schedule": "pipeline", "devices": "cpu,cpu"}])
def test_states_that_are_not_finite_name_the_text_that_has_them(
    settings: dict[str, Any], tmp_path: Path, alike: Dataset, spoilt: Callable[[Tensor], Path]
) -> None:
    """Along a tree they spread to texts that are computed beside it, which must not be blamed."""
    with pytest.raises(ModelError, match=r"\('日( star)?'\): the states of layer 0 are not finite; pass --dtype"):
        extracted(alike, spoilt(torch.full((32,), torch.nan)), tmp_path / "c", **settings)
    assert not (tmp_path / "c").exists()
    assert not list(tmp_path.glob(".c.*"))


@pytest.mark.parametrize("schedule", ["resident", "sweep"])
def test_an_overflow_within_attention_names_the_text_that_has_it(
    schedule: str, tmp_path: Path, alike: Dataset, spoilt: Callable[[Tensor], Path]
) -> None:
    """Its values are infinite, so that the first states that are not finite are those of a whole block of nodes."""
    # After the norm, the first number is nearly the root of 32 in that text, and at most 4 in others.
    model = spoilt(torch.eye(32)[0] * 300)
    weights = stored_weights(model)
    value = weights["decoder.layers.0.self_attn.v_proj.weight"]
    value[0] = torch.eye(32)[0] * 13_000
    norm = "decoder.layers.0.self_attn_layer_norm"
    plain: dict[str, Tensor | None] = {f"{norm}.weight": torch.ones(32), f"{norm}.bias": torch.zeros(32)}
    edit_weights(model, {"decoder.layers.0.self_attn.v_proj.weight": value, **plain})
    with pytest.raises(ModelError, match=r"\('日( star)?'\): the states of layer 1 are not finite; pass --dtype"):
        extracted(alike, model, tmp_path / "c", dtype="float16", schedule=schedule)


@pytest.mark.usefixtures("shown_log")
def test_a_comparison_with_states_that_are_not_finite_is_not_the_models_fault(
    tmp_path: Path, alike: Dataset, capfd: Any
) -> None:
    model = save_opt(tmp_path / "m")
    edit_weights(model, {"decoder.final_layer_norm.bias": torch.full((32,), torch.nan)})
    with pytest.raises(ModelError, match="the states of layer -1 are not finite"):
        extracted(alike, model, tmp_path / "c")
    assert "(one of the texts that were tried has states that are not finite)" in capfd.readouterr().err


def test_compared_texts_by_hand() -> None:
    """Of three texts, sorted: all of them as neighbours, then of the first two their halves, first tokens, turned."""
    texts = [[7, 1, 2, 3], [], [5, 5, 6, 6, 9], [5, 5, 6, 8]]
    tokens = np.array([token for text in texts for token in text], np.int32)
    found = compared_texts(TokenSequences(tokens, np.cumsum([0, *map(len, texts)]), 0))
    assert [found.tokens[start:end].tolist() for start, end in zip(found.offsets, found.offsets[1:], strict=False)] == [
        [5, 5, 6, 6, 9], [5, 5, 6, 8], [7, 1, 2, 3], [5, 5], [5], [5, 5, 9, 6, 6], [5, 5, 8, 6],
    ]  # fmt: skip


@pytest.mark.parametrize(("n", "length", "most"), [(1, 3, 3), (5000, 30, 64), (40, 4000, 5), (40, 6, 64)])
def test_compared_texts_are_few_and_distinct(n: int, length: int, most: int) -> None:
    tokens = np.random.default_rng(0).integers(0, 5, n * length).astype(np.int32)
    found = compared_texts(TokenSequences(tokens, np.arange(n + 1) * length, 0))
    assert 1 < len(found) <= most
    distinct = {found.tokens[start:end].tobytes() for start, end in zip(found.offsets, found.offsets[1:], strict=False)}
    assert len(distinct) == len(found)
    assert found.lengths.sum() <= 16_384 and found.lengths.min() >= 1
    assert len(compared_texts(TokenSequences(tokens[:0], np.zeros(3, np.int64), 0))) == 0
