from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch

from small_models import TITLES, made_up_texts, save_bert, save_opt, vectors_one_by_one
from tcf.errors import ModelError
from tcf.extract.resident import default_tokens_per_batch, encode
from tcf.models.encoder import Encoder, load_encoder
from tcf.models.folder import open_model_folder
from tcf.models.tokens import TokenSequences, load_tokenizer, tokenize

CPU = torch.device("cpu")
TEXTS = [*TITLES, *made_up_texts(25)]


def loaded(path: Path, max_tokens: int = 30) -> tuple[Encoder, TokenSequences]:
    folder = open_model_folder(path)
    sequences = tokenize(load_tokenizer(folder), TEXTS, folder=folder, max_tokens=max_tokens)
    return load_encoder(folder, torch.float32, CPU), sequences


@pytest.mark.parametrize("pooling", ["mean", "first", "last"])
@pytest.mark.parametrize("save", [save_opt, lambda path: save_opt(path, norm="post", head=True), save_bert])
def test_vectors_are_those_of_texts_read_one_by_one(
    tmp_path: Path, save: Callable[[Path], Path], pooling: Literal["mean", "first", "last"]
) -> None:
    path = save(tmp_path / "m")
    encoder, sequences = loaded(path)
    rows = np.arange(len(TEXTS))
    vectors = encode(
        encoder, sequences, rows, pooling=pooling, tokens_per_batch=2048, advance=lambda texts, tokens: None
    )
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, vectors_one_by_one(path, TEXTS, pooling=pooling), rtol=0, atol=1e-5)


@pytest.mark.parametrize("tokens_per_batch", [1, 13, 64, 100_000])
def test_rows_come_back_in_the_order_asked_for(tmp_path: Path, tokens_per_batch: int) -> None:
    encoder, sequences = loaded(save_opt(tmp_path / "m"))
    rows = np.random.default_rng(0).permutation(len(TEXTS))[:20]
    done: list[tuple[int, int]] = []
    vectors = encode(
        encoder,
        sequences,
        rows,
        pooling="mean",
        tokens_per_batch=tokens_per_batch,
        advance=lambda texts, tokens: done.append((texts, tokens)),
    )
    alone = [
        encode(
            encoder, sequences, rows[i : i + 1], pooling="mean", tokens_per_batch=1, advance=lambda texts, tokens: None
        )
        for i in range(len(rows))
    ]
    np.testing.assert_allclose(vectors, np.concatenate(alone), rtol=0, atol=1e-5)
    assert sum(texts for texts, _ in done) == 20
    assert sum(tokens for _, tokens in done) == sequences.lengths[rows].sum()


def test_the_same_call_gives_the_same_bytes(tmp_path: Path) -> None:
    encoder, sequences = loaded(save_opt(tmp_path / "m"))
    rows = np.arange(len(TEXTS))
    first, second = (
        encode(encoder, sequences, rows, pooling="mean", tokens_per_batch=64, advance=lambda texts, tokens: None)
        for _ in range(2)
    )
    assert first.tobytes() == second.tobytes()


def test_too_little_memory_is_an_error_with_a_way_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder, sequences = loaded(save_opt(tmp_path / "m"))

    def out_of_memory(*arguments: object, **named: object) -> None:
        raise torch.OutOfMemoryError("none left")

    monkeypatch.setattr(encoder.model, "forward", out_of_memory)
    with pytest.raises(ModelError, match=r"out of memory with \d+ tokens at once; lower --tokens-per-batch \(now 99\)"):
        encode(
            encoder,
            sequences,
            np.arange(3),
            pooling="mean",
            tokens_per_batch=99,
            advance=lambda texts, tokens: None,
        )


def test_default_micro_batches() -> None:
    assert default_tokens_per_batch(CPU) < default_tokens_per_batch(torch.device("cuda"))
