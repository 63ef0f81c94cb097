"""Every family, saved with its head in several shards, against transformers' own answer to one text after the other."""

import shutil
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from small.encoders.families import ENCODERS, FAMILIES, hidden_states, own_model
from small.encoders.models import TITLES, made_up_texts, token_ids
from tcf.encoders.encoder import TransformersEncoder, load_encoder
from tcf.encoders.folder.load_tokenizer import load_tokenizer
from tcf.encoders.folder.open_model_folder import open_model_folder
from tcf.encoders.folder.weight_files import weight_files
from tcf.encoders.tokenize import tokenize

CPU = torch.device("cpu")
Folders = Callable[[str], Path]


def layers_of(name: str) -> tuple[int, ...]:
    """Layers in no particular order; only the last one if the blocks cannot be identified."""
    return (1, -1, 0, 3) if FAMILIES[name].blocks else (-1,)


def states(path: Path, name: str, ids: list[int], rows: int, dtype: torch.dtype) -> dict[int, Tensor]:
    encoder = load_encoder(open_model_folder(path), dtype, CPU, layers=layers_of(name))
    with torch.inference_mode():
        return dict(zip(encoder.layers, encoder.states(torch.tensor([ids] * rows)), strict=True))


@pytest.mark.parametrize("name", FAMILIES)
def test_geometry_and_defaults(family_folder: Folders, name: str) -> None:
    folder = open_model_folder(family_folder(name))
    assert (folder.family, folder.max_positions) == FAMILIES[name].reads
    assert (folder.width, folder.n_blocks, folder.vocabulary) == (32, 3, 512)
    assert folder.poolings == (("first",) if name in ENCODERS else ("mean",))
    assert len(weight_files(folder.path)) > 2


@pytest.mark.parametrize("name", FAMILIES)
def test_states_are_those_of_transformers(family_folder: Folders, name: str) -> None:
    path = family_folder(name)
    encoder = load_encoder(open_model_folder(path), torch.float32, CPU, layers=layers_of(name))
    own = own_model(name, path)
    lengths = set()
    for text in TITLES:
        ids = token_ids(path, text, 30)
        if not ids:
            continue
        lengths.add(len(ids))
        expected = hidden_states(own, FAMILIES[name].blocks, ids)
        with torch.inference_mode():
            found = encoder.states(torch.tensor([ids, ids]))
        for layer, layer_BTD in zip(encoder.layers, found, strict=True):
            assert layer_BTD.shape == (2, len(ids), 32)
            for row in layer_BTD:
                torch.testing.assert_close(row, expected[layer], rtol=1e-5, atol=1e-5)
    assert max(lengths) == 30


@pytest.mark.parametrize("name", FAMILIES)
def test_states_in_bfloat16_are_within_its_rounding(family_folder: Folders, name: str) -> None:
    """Reading three texts at once rounds elsewhere than reading one, but must not be further off than that one is.

    How far bfloat16 is off is measured, not guessed: transformers' own bfloat16 forward against a float32 forward with
    the very same weights, those rounded to bfloat16. Two results that are each off by that much differ by twice that.
    """
    path, blocks = family_folder(name), FAMILIES[name].blocks
    ids = token_ids(path, TITLES[0], 30)
    found = states(path, name, ids, 3, torch.bfloat16)
    rounded = hidden_states(own_model(name, path, torch.bfloat16), blocks, ids)
    exact = hidden_states(own_model(name, path, torch.bfloat16, computes=torch.float32), blocks, ids)
    for layer, layer_BTD in found.items():
        assert layer_BTD.dtype == torch.bfloat16
        rounding = (rounded[layer].float() - exact[layer]).abs().max().item()
        assert rounding < 0.1 * exact[layer].abs().max().item()
        assert (layer_BTD.float() - rounded[layer].float()).abs().max().item() <= 2 * rounding


@pytest.mark.parametrize("max_tokens", [4, 30])
@pytest.mark.parametrize("name", FAMILIES)
def test_tokens_are_those_of_the_models_own_tokenizer(family_folder: Folders, name: str, max_tokens: int) -> None:
    path = family_folder(name)
    texts = [*TITLES, *made_up_texts(20)]
    tokenizer = load_tokenizer(open_model_folder(path))
    sequences = tokenize(tokenizer, texts, max_tokens=max_tokens)
    ends = sequences.offsets.tolist()
    found = [sequences.tokens[start:end].tolist() for start, end in pairwise(ends)]
    assert found == [token_ids(path, text, max_tokens) for text in texts]
    whole = [len(token_ids(path, text, 1000)) for text in texts]
    assert sequences.cut == sum(length > max_tokens for length in whole) > 0


@pytest.mark.parametrize("name", FAMILIES)
def test_the_longest_sequence_that_a_model_reads(family_folder: Folders, name: str) -> None:
    """A model reads as many tokens as `max_positions` says; those that learn a vector a position read no more."""
    folder = open_model_folder(family_folder(name))
    if folder.max_positions is None:
        return
    encoder = load_encoder(folder, torch.float32, CPU)
    (last_BTD,) = encoder.states(torch.full((1, folder.max_positions), 7))
    assert last_BTD.shape == (1, folder.max_positions, 32)
    if name in ("gpt2", "bert", "roberta", "distilbert", "xlm-roberta", "albert", "bart", "opt"):
        with pytest.raises((RuntimeError, IndexError)):
            encoder.states(torch.full((1, folder.max_positions + 1), 7))


@pytest.mark.parametrize("name", [name for name in FAMILIES if name != "albert"])
def test_neither_a_mask_nor_a_cache_is_made(family_folder: Folders, name: str) -> None:
    encoder = load_encoder(open_model_folder(family_folder(name)), torch.float32, CPU)
    assert isinstance(encoder, TransformersEncoder) and encoder.blocks is not None
    calls: list[dict[str, Any]] = []
    for block in encoder.blocks:
        block.register_forward_pre_hook(lambda _, __, named: calls.append(named), with_kwargs=True)
    inputs: list[dict[str, Any]] = []
    outputs: list[Any] = []
    encoder.model.register_forward_pre_hook(lambda _, __, named: inputs.append(named), with_kwargs=True)
    encoder.model.register_forward_hook(lambda _, __, output: outputs.append(output))
    encoder.states(torch.tensor([[2, 7, 9], [2, 8, 5]]))
    assert len(calls) == 3
    assert all(call.get("past_key_values") is None and call.get("layer_past") is None for call in calls)
    assert set(inputs[0]) <= {"input_ids", "use_cache"}
    assert outputs[0].get("past_key_values") is None


def test_an_encoder_without_a_class_token_is_pooled_by_the_mean(family_folder: Folders, tmp_path: Path) -> None:
    path = Path(shutil.copytree(family_folder("distilbert"), tmp_path / "m"))
    assert open_model_folder(path).poolings == ("first",)
    for name in ("vocab.txt", "tokenizer_config.json"):
        (path / name).unlink()
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(family_folder("t5") / name, path / name)
    assert open_model_folder(path).poolings == ("mean",)


def test_a_sliding_window_shorter_than_the_text_matters(family_folder: Folders) -> None:
    """The small Mistral sees 5 tokens back; its states differ from those of the same weights without a window."""
    path = family_folder("mistral")
    ids = token_ids(path, TITLES[6], 30)
    own = own_model("mistral", path)
    with_window = hidden_states(own, "layers", ids)[-1]
    own.config.sliding_window = None
    without = hidden_states(own, "layers", ids)[-1]
    torch.testing.assert_close(states(path, "mistral", ids, 1, torch.float32)[-1][0], with_window, rtol=0, atol=1e-5)
    assert (with_window - without).abs().max() > 1e-3
