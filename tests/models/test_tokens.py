import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import tcf.models.tokens as module
from small_models import TITLES, edit_json, made_up_texts, save_bert, save_opt, token_ids
from tcf.errors import ConfigError, ModelError
from tcf.models.folder import open_model_folder
from tcf.models.tokens import TokenSequences, load_tokenizer, tokenize, tokenizer_digest


def tokenized(path: Path, texts: list[str], max_tokens: int) -> TokenSequences:
    folder = open_model_folder(path)
    return tokenize(load_tokenizer(folder), texts, folder=folder, max_tokens=max_tokens)


def as_lists(sequences: TokenSequences) -> list[list[int]]:
    parts = np.split(sequences.tokens, sequences.offsets[1:-1])
    return [part.tolist() for part in parts]


@pytest.mark.parametrize("max_tokens", [2, 3, 7, 30])
@pytest.mark.parametrize("save", [save_opt, save_bert, lambda path: save_bert(path, vocabulary="json")])
def test_tokens_are_those_of_the_models_own_tokenizer(
    tmp_path: Path, save: Callable[[Path], Path], max_tokens: int
) -> None:
    path = save(tmp_path / "m")
    texts = [*TITLES, *made_up_texts(20)]
    sequences = tokenized(path, texts, max_tokens)
    assert as_lists(sequences) == [token_ids(path, text, max_tokens) for text in texts]
    whole = [len(token_ids(path, text, 1000)) for text in texts]
    assert sequences.cut == sum(length > max_tokens for length in whole) > 0
    assert sequences.lengths.tolist() == [min(length, max_tokens) for length in whole]
    assert len(sequences) == len(texts)


def test_opt_reads_its_end_token_first_and_keeps_the_front(tmp_path: Path) -> None:
    path = save_opt(tmp_path / "m")
    whole, cut = as_lists(tokenized(path, ["super mario", "super mario " * 30], 5))
    assert whole[0] == cut[0] == 2
    assert len(cut) == 5
    assert cut[1:] == as_lists(tokenized(path, ["super mario " * 30], 50))[0][1:5]


def test_bert_keeps_both_special_tokens_of_a_text_that_is_cut(tmp_path: Path) -> None:
    (cut,) = as_lists(tokenized(save_bert(tmp_path / "m"), ["super mario " * 30], 6))
    assert (cut[0], cut[-1], len(cut)) == (2, 3, 6)


def test_an_empty_text_has_special_tokens_only(tmp_path: Path) -> None:
    assert as_lists(tokenized(save_opt(tmp_path / "o"), [""], 30)) == [[2]]
    assert as_lists(tokenized(save_bert(tmp_path / "b"), [""], 30)) == [[2, 3]]


def test_no_texts(tmp_path: Path) -> None:
    assert len(tokenized(save_opt(tmp_path / "m"), [], 30)) == 0


def test_many_texts_are_read_in_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save_opt(tmp_path / "m")
    at_once = tokenized(path, list(TITLES), 12)
    monkeypatch.setattr(module, "_CHUNK", 3)
    in_chunks = tokenized(path, list(TITLES), 12)
    assert as_lists(in_chunks) == as_lists(at_once)
    assert in_chunks.cut == at_once.cut


def test_block_is_a_matrix_of_texts_of_one_length() -> None:
    sequences = TokenSequences(np.array([5, 6, 7, 8, 9, 1], np.int32), np.array([0, 2, 3, 5, 6]), 0)
    block = sequences.block(np.array([2, 0]))
    assert block.dtype == np.int64
    assert block.tolist() == [[8, 9], [5, 6]]


def test_more_tokens_than_the_model_can_read(tmp_path: Path) -> None:
    path = save_opt(tmp_path / "m")
    assert len(tokenized(path, ["x"], 64)) == 1
    with pytest.raises(ConfigError, match=r"--max-tokens: expected at most 64, .* found 65"):
        tokenized(path, ["x"], 65)


@pytest.mark.parametrize("save", [save_opt, save_bert])
def test_a_folder_without_a_vocabulary(tmp_path: Path, save: Callable[[Path], Path]) -> None:
    path = save(tmp_path / "m")
    for name in ("vocab.txt", "merges.txt"):
        (path / name).unlink(missing_ok=True)
    with pytest.raises(ModelError, match="expected a tokenizer .* found none"):
        load_tokenizer(open_model_folder(path))


def test_a_damaged_tokenizer(tmp_path: Path) -> None:
    path = save_bert(tmp_path / "m", vocabulary="json")
    content = (path / "tokenizer.json").read_text()
    (path / "tokenizer.json").write_text(content[: len(content) // 2])
    with pytest.raises(ModelError, match="no usable tokenizer"):
        load_tokenizer(open_model_folder(path))


@pytest.mark.parametrize("settings", ["[]", "{", '{"tokenizer_class": 3}', '{"tokenizer_class": "NoSuchTokenizer"}'])
def test_damaged_settings_of_a_tokenizer(tmp_path: Path, settings: str) -> None:
    path = save_bert(tmp_path / "m")
    (path / "tokenizer_config.json").write_text(settings)
    with pytest.raises(ModelError, match="no usable tokenizer") as caught:
        load_tokenizer(open_model_folder(path))
    assert "\n" not in str(caught.value)


def test_an_opt_tokenizer_that_does_not_put_its_token_first(tmp_path: Path) -> None:
    path = save_opt(tmp_path / "m")
    edit_json(path / "tokenizer_config.json", add_bos_token=False)
    with pytest.raises(ModelError, match="OPT reads token 2 first"):
        load_tokenizer(open_model_folder(path))


def test_a_tokenizer_of_another_model(tmp_path: Path) -> None:
    path = save_bert(tmp_path / "m")
    edit_json(path / "config.json", vocab_size=30)
    with pytest.raises(ModelError, match=re.escape("expected tokens below 30")):
        tokenized(path, ["super mario"], 30)


def test_the_digest_is_of_the_vocabulary_not_of_the_limit(tmp_path: Path) -> None:
    path, other = save_bert(tmp_path / "m"), save_bert(tmp_path / "other")
    folder = open_model_folder(path)
    tokenizer = load_tokenizer(folder)
    before = tokenizer_digest(tokenizer)
    tokenize(tokenizer, ["a text"], folder=folder, max_tokens=3)
    assert tokenizer_digest(tokenizer) == before == tokenizer_digest(load_tokenizer(open_model_folder(other)))
    (other / "vocab.txt").write_text((path / "vocab.txt").read_text() + "zzz\n")
    assert tokenizer_digest(load_tokenizer(open_model_folder(other))) != before
