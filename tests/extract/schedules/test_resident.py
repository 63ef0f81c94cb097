from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pytest
import torch

from small.encoders.models import TITLES, made_up_texts, save_bert, save_opt, vectors_one_by_one
from small.extract.sweeps import encoded, silent
from tcf.common.errors import ModelError
from tcf.encoders.encoder import Encoder, load_encoder
from tcf.encoders.folder.load_tokenizer import load_tokenizer
from tcf.encoders.folder.open_model_folder import open_model_folder
from tcf.encoders.pooling import VectorHead
from tcf.encoders.tokenize import TokenSequences, tokenize
from tcf.extract.schedules.engine import ProgressCallback
from tcf.extract.schedules.resident import ResidentEngine
from tcf.extract.sinks import Sink, TokenSink, VectorSink

CPU = torch.device("cpu")
TEXTS = [*TITLES, *made_up_texts(25)]


def loaded(path: Path, max_tokens: int = 30, layers: tuple[int, ...] = (-1,)) -> tuple[Encoder, TokenSequences]:
    folder = open_model_folder(path)
    sequences = tokenize(load_tokenizer(folder), TEXTS, max_tokens=max_tokens)
    return load_encoder(folder, torch.float32, CPU, layers=layers), sequences


def vectors_of(
    encoder: Encoder,
    sequences: TokenSequences,
    tokens_per_batch: int = 2048,
    pooling: Literal["mean", "first", "last"] = "mean",
    advance: ProgressCallback = silent,
) -> npt.NDArray[Any]:
    sink = VectorSink(len(sequences), encoder.folder.width, torch.float32, VectorHead([pooling]), CPU)
    engine = ResidentEngine(encoder, tokens_per_batch, {})
    order = encoded(engine, sequences, {-1: [sink]}, scratch=Path("unused"), advance=advance)
    return sink.vectors(order)


@pytest.mark.parametrize("pooling", ["mean", "first", "last"])
@pytest.mark.parametrize("save", [save_opt, lambda path: save_opt(path, norm="post", head=True), save_bert])
def test_vectors_are_those_of_texts_read_one_by_one(
    tmp_path: Path, save: Callable[[Path], Path], pooling: Literal["mean", "first", "last"]
) -> None:
    path = save(tmp_path / "m")
    vectors = vectors_of(*loaded(path), pooling=pooling)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, vectors_one_by_one(path, TEXTS, pooling=pooling), rtol=0, atol=1e-5)


@pytest.mark.parametrize("tokens_per_batch", [1, 13, 64, 100_000])
def test_vectors_come_back_in_the_order_asked_for(opt: Path, tokens_per_batch: int) -> None:
    encoder, sequences = loaded(opt)
    rows = np.random.default_rng(0).permutation(len(TEXTS))[:20]
    some = sequences.take(rows)
    done: list[tuple[float, float]] = []
    vectors = vectors_of(
        encoder,
        some,
        tokens_per_batch,
        advance=lambda *words, **_: done.append(words[:2]),
    )
    alone = [vectors_of(encoder, some.take(np.array([row])), 1) for row in range(20)]
    np.testing.assert_allclose(vectors, np.concatenate(alone), rtol=0, atol=1e-5)
    assert sum(texts for texts, _ in done) == 20
    assert sum(tokens for _, tokens in done) == some.lengths.sum()
    assert max(tokens for _, tokens in done) <= max(tokens_per_batch, 30)


def test_every_sink_gets_the_states_of_its_layer(opt: Path) -> None:
    encoder, sequences = loaded(opt, layers=(1, -1))
    n, width = len(sequences), 32
    sinks = {layer: VectorSink(n, width, torch.float32, VectorHead(["mean"]), CPU) for layer in (1, -1)}
    tokens = TokenSink(sequences.lengths, width, torch.float32, CPU)
    by_layer: dict[int, list[Sink]] = {1: [sinks[1], tokens], -1: [sinks[-1]]}
    order = encoded(ResidentEngine(encoder, 64, {}), sequences, by_layer, scratch=Path("unused"))
    states, offsets = tokens.states(order)
    means = np.stack([states[a:b].mean(axis=0) for a, b in pairwise(offsets)])
    np.testing.assert_allclose(sinks[1].vectors(order), means, rtol=0, atol=1e-5)
    assert np.abs(sinks[-1].vectors(order) - means).max() > 0.1
    np.testing.assert_allclose(sinks[-1].vectors(order), vectors_of(*loaded(opt)), rtol=0, atol=1e-5)


def test_the_same_call_gives_the_same_bytes(opt: Path) -> None:
    encoder, sequences = loaded(opt)
    assert vectors_of(encoder, sequences, 64).tobytes() == vectors_of(encoder, sequences, 64).tobytes()


def test_texts_without_tokens_are_not_read(opt: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder, _ = loaded(opt)
    sequences = TokenSequences(np.array([2, 7], np.int32), np.array([0, 0, 2, 2]), 0)
    done: list[tuple[float, float]] = []
    vectors = vectors_of(encoder, sequences, advance=lambda *words, **_: done.append(words[:2]))
    assert not vectors[[0, 2]].any()
    assert vectors[1].any()
    assert done == [(1, 2), (2, 0)]
    monkeypatch.setattr(encoder.model, "forward", None)  # type: ignore[attr-defined]
    assert not vectors_of(encoder, sequences.take(np.array([0]))).any()


def test_too_little_memory_is_an_error_with_a_way_out(opt: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder, sequences = loaded(opt)

    def out_of_memory(*arguments: object, **named: object) -> None:
        raise torch.OutOfMemoryError("none left")

    monkeypatch.setattr(encoder.model, "forward", out_of_memory)  # type: ignore[attr-defined]
    with pytest.raises(ModelError, match="out of memory with up to 99 tokens at once; lower --tokens-per-batch"):
        vectors_of(encoder, sequences, 99)
