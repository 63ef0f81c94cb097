from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import (
    AutoModel,
    BertForNextSentencePrediction,
    BertForPreTraining,
    BertForQuestionAnswering,
    BertForSequenceClassification,
    OPTForQuestionAnswering,
    OPTForSequenceClassification,
)

from small.encoders.models import TITLES, edit_json, edit_weights, save_bert, save_opt, token_ids, token_states
from tcf.common.errors import ModelError
from tcf.encoders.encoder import Encoder, TransformersEncoder, load_encoder, resolve_dtype
from tcf.encoders.folder.open_model_folder import open_model_folder

CPU = torch.device("cpu")
KINDS: dict[str, Callable[[Path], Path]] = {
    "opt": save_opt,
    "opt-with-head": lambda path: save_opt(path, head=True),
    "opt-in-shards": lambda path: save_opt(path, head=True, shard="20KB"),
    "opt-post-norm": lambda path: save_opt(path, norm="post"),
    "opt-post-norm-with-head-in-shards": lambda path: save_opt(path, norm="post", head=True, shard="20KB"),
    "bert": save_bert,
    "bert-with-head-in-shards": lambda path: save_bert(path, head=True, shard="20KB"),
}


def loaded(path: Path, dtype: torch.dtype = torch.float32) -> TransformersEncoder:
    encoder = load_encoder(open_model_folder(path), dtype, CPU)
    assert isinstance(encoder, TransformersEncoder)
    return encoder


def last(encoder: Encoder, tokens_BT: Tensor) -> Tensor:
    (states_BTD,) = encoder.states(tokens_BT)
    return states_BTD


@pytest.mark.parametrize("kind", ["opt", "opt-post-norm-with-head-in-shards", "bert"])
def test_states_are_those_of_transformers(tmp_path: Path, kind: str) -> None:
    path = KINDS[kind](tmp_path / "m")
    encoder = loaded(path)
    own = AutoModel.from_pretrained(str(path), dtype=torch.float32, local_files_only=True).eval()
    for text in TITLES:
        ids = token_ids(path, text, 30)
        states = last(encoder, torch.tensor([ids, ids]))
        assert states.shape == (2, len(ids), 32)
        for row in states:
            torch.testing.assert_close(row, token_states(own, ids), rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", ["opt", "opt-post-norm"])
def test_states_in_bfloat16_are_within_its_rounding(tmp_path: Path, kind: str) -> None:
    """Reading three texts at once rounds elsewhere than reading one, but must not be further off than that one is.

    How far bfloat16 is off is measured, not guessed: transformers' own bfloat16 forward against a float32 forward with
    the very same weights, those rounded to bfloat16. Two results that are each off by that much differ by twice that.
    """
    path = KINDS[kind](tmp_path / "m")
    encoder = loaded(path, torch.bfloat16)
    rounded = AutoModel.from_pretrained(str(path), dtype=torch.bfloat16, local_files_only=True).eval()
    exact = AutoModel.from_pretrained(str(path), dtype=torch.bfloat16, local_files_only=True).eval().float()
    for text in (TITLES[0], TITLES[5], TITLES[6]):
        ids = token_ids(path, text, 30)
        states = last(encoder, torch.tensor([ids] * 3))
        assert states.dtype == torch.bfloat16
        own = token_states(rounded, ids).float()
        rounding = (own - token_states(exact, ids)).abs().max().item()
        assert 0 < rounding < 0.2
        assert (states.float() - own).abs().max().item() <= 2 * rounding


def test_no_cache_comes_out_of_opt_even_if_its_configuration_asks_for_one(tmp_path: Path) -> None:
    path = save_opt(tmp_path / "m")
    edit_json(path / "config.json", use_cache=True)
    encoder = loaded(path)
    outputs: list[Any] = []
    encoder.model.register_forward_hook(lambda module, arguments, output: outputs.append(output))
    last(encoder, torch.tensor([[2, 7]]))
    assert outputs[0].past_key_values is None


def test_opt_350m_gives_states_from_before_its_projection(tmp_path: Path) -> None:
    path = save_opt(tmp_path / "m", norm="post")
    own = AutoModel.from_pretrained(str(path), local_files_only=True).eval()
    after = own(input_ids=torch.tensor([[2, 7, 9]])).last_hidden_state
    states = last(loaded(path), torch.tensor([[2, 7, 9]]))
    assert after.shape[-1] == 16
    assert states.shape[-1] == 32
    torch.testing.assert_close(own.decoder.project_out(states), after, rtol=0, atol=1e-5)


def test_a_loaded_model_neither_trains_nor_drops_out(tmp_path: Path) -> None:
    encoder = loaded(save_opt(tmp_path / "m"))
    assert not encoder.model.training
    assert not any(weight.requires_grad for weight in encoder.model.parameters())
    tokens = torch.tensor([[2, 7, 9]])
    assert torch.equal(last(encoder, tokens), last(encoder, tokens))


def test_a_pooler_may_be_missing(tmp_path: Path) -> None:
    path = save_bert(tmp_path / "m")
    with_pooler = last(loaded(path), torch.tensor([[2, 7, 3]]))
    edit_weights(path, {"pooler.dense.weight": None, "pooler.dense.bias": None})
    assert torch.equal(last(loaded(path), torch.tensor([[2, 7, 3]])), with_pooler)


@pytest.mark.parametrize(
    ("kind", "lost"),
    [("opt", "decoder.layers.1.fc2.bias"), ("bert", "encoder.layer.0.attention.self.query.weight")],
)
def test_any_other_weight_must_be_there(tmp_path: Path, kind: str, lost: str) -> None:
    path = KINDS[kind](tmp_path / "m")
    edit_weights(path, {lost: None})
    with pytest.raises(ModelError, match=rf"lacks 1 weights, such as {lost}"):
        loaded(path)


def test_a_final_norm_that_is_missing_is_noticed(tmp_path: Path) -> None:
    path = save_opt(tmp_path / "m")
    edit_weights(path, {"decoder.final_layer_norm.weight": None, "decoder.final_layer_norm.bias": None})
    with pytest.raises(ModelError, match="lacks 2 weights"):
        loaded(path)


def test_weights_of_another_shape(tmp_path: Path) -> None:
    path = save_opt(tmp_path / "m")
    edit_weights(path, {"decoder.layers.0.fc1.bias": torch.zeros(3)})
    message = r"found 1 others, such as decoder.layers.0.fc1.bias with shape 3 instead of 64; download"
    with pytest.raises(ModelError, match=message):
        loaded(path)


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        ("opt", {"hidden_size": 64}, r"decoder\.\S+ with shape 66 x 32 instead of 66 x 64"),
        ("bert", {"hidden_size": 64}, r"embeddings\.LayerNorm\.bias with shape 32 instead of 64"),
        ("opt", {"max_position_embeddings": 32}, r"embed_positions\.weight with shape 66 x 32 instead of 34 x 32"),
        ("bert", {"hidden_size": 33}, "weights cannot be loaded"),
        ("opt", {"activation_function": "nope"}, "it needs 'nope', which transformers does not know"),
        ("bert", {"hidden_act": "nope"}, "it needs 'nope', which transformers does not know"),
        ("bert", {"num_attention_heads": 0}, "weights cannot be loaded"),
        ("opt", {"pad_token_id": 4000}, "weights cannot be loaded"),
        ("opt", {"num_hidden_layers": "two"}, "'num_hidden_layers'"),
        ("opt", {"num_hidden_layers": 3}, "lacks 16 weights, such as decoder.layers.2"),
    ],
)
def test_a_configuration_that_does_not_fit(tmp_path: Path, kind: str, settings: dict[str, Any], message: str) -> None:
    path = KINDS[kind](tmp_path / "m")
    edit_json(path / "config.json", **settings)
    with pytest.raises(ModelError, match=message) as caught:
        loaded(path)
    assert "ignore_mismatched_sizes" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        ("opt", {"num_hidden_layers": 1}, r"has 16 weights that do not belong .*, such as decoder\.layers\.1\."),
        ("opt-with-head", {"num_hidden_layers": 1}, r"has 16 weights .* such as model\.decoder\.layers\.1\."),
        ("opt-in-shards", {"num_hidden_layers": 1}, "has 16 weights"),
        ("opt", {"enable_bias": False}, "has 12 weights"),
        ("opt", {"do_layer_norm_before": False}, r"has 2 weights .* decoder\.final_layer_norm\.bias"),
        ("bert", {"num_hidden_layers": 1}, r"has 16 weights .* such as encoder\.layer\.1\."),
        ("bert-with-head-in-shards", {"num_hidden_layers": 1}, r"16 weights .* such as bert\.encoder\.layer\.1\."),
    ],
)
def test_weights_that_the_configuration_leaves_out(
    tmp_path: Path, kind: str, settings: dict[str, Any], message: str
) -> None:
    path = KINDS[kind](tmp_path / "m")
    edit_json(path / "config.json", **settings)
    with pytest.raises(ModelError, match=message):
        loaded(path)


@pytest.mark.parametrize(
    "kind",
    [
        BertForPreTraining,
        BertForNextSentencePrediction,
        BertForSequenceClassification,
        BertForQuestionAnswering,
        OPTForSequenceClassification,
        OPTForQuestionAnswering,
    ],
)
def test_heads_of_all_kinds_are_left_out(tmp_path: Path, kind: type[Any]) -> None:
    base = (save_bert if kind.__name__.startswith("Bert") else save_opt)(tmp_path / "base")
    kind.from_pretrained(str(base), local_files_only=True).save_pretrained(tmp_path / "m")
    tokens = torch.tensor([[2, 7, 9]])
    assert torch.equal(last(loaded(tmp_path / "m"), tokens), last(loaded(base), tokens))


@pytest.mark.parametrize(
    ("stored", "device", "expected"),
    [
        (None, "cpu", torch.float32),
        ("float16", "cpu", torch.float32),
        ("float16", "cuda", torch.float16),
        ("bfloat16", "cuda", torch.bfloat16),
        ("float32", "cuda", torch.bfloat16),
        (None, "cuda", torch.bfloat16),
    ],
)
def test_the_type_to_compute_in(tmp_path: Path, stored: str | None, device: str, expected: torch.dtype) -> None:
    path = save_opt(tmp_path / "m")
    for name in ("dtype", "torch_dtype"):
        edit_json(path / "config.json", dtype=None, torch_dtype=None)
        edit_json(path / "config.json", **{name: stored})
        folder = open_model_folder(path)
        assert resolve_dtype("auto", folder, torch.device(device)) == expected
        assert resolve_dtype("float16", folder, torch.device(device)) == torch.float16
        assert resolve_dtype("float32", folder, torch.device(device)) == torch.float32
