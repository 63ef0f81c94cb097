import re
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import AutoTokenizer

import tcf.encoders.tokenize as module
from small.encoders.models import TITLES, edit_json, made_up_texts, save_bert, save_opt, token_ids
from tcf.common.errors import ConfigError, ModelError
from tcf.encoders.folder.load_tokenizer import load_tokenizer
from tcf.encoders.folder.open_model_folder import open_model_folder
from tcf.encoders.tokenize import TextTokenizer, TokenSequences, tokenize


def tokenized(path: Path, texts: list[str], max_tokens: int) -> TokenSequences:
    folder = open_model_folder(path)
    return tokenize(load_tokenizer(folder), texts, max_tokens=max_tokens)


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
    with pytest.raises(ModelError, match="the tokenizer cannot be read"):
        load_tokenizer(open_model_folder(path))


@pytest.mark.parametrize("settings", ["[]", "{", '{"tokenizer_class": 3}', '{"tokenizer_class": "NoSuchTokenizer"}'])
def test_damaged_settings_of_a_tokenizer(tmp_path: Path, settings: str) -> None:
    path = save_bert(tmp_path / "m")
    (path / "tokenizer_config.json").write_text(settings)
    with pytest.raises(ModelError, match="the tokenizer cannot be read") as caught:
        load_tokenizer(open_model_folder(path))
    assert "\n" not in str(caught.value)


def begins_with_its_token(path: Path) -> bool:
    return bool(tokenized(path, ["super"], 9).tokens[0] == 2)


@pytest.mark.parametrize("settings", [{"add_bos_token": False}, {"bos_token": "<pad>"}, None])
def test_an_opt_tokenizer_of_pairs_follows_add_bos_token(tmp_path: Path, settings: dict[str, Any] | None) -> None:
    path = save_opt(tmp_path / "m")
    file = path / "tokenizer_config.json"
    if settings is None:
        file.unlink()
    else:
        edit_json(file, **settings)
    found = "1" if settings == {"bos_token": "<pad>"} else "none"
    advice = 'set "add_bos_token": true and "bos_token": "</s>" in tokenizer_config.json'
    with pytest.raises(ModelError, match=f"adds token 2 at the start, .*, found one that adds {found}; {advice}"):
        begins_with_its_token(path)
    file.write_text('{"add_bos_token": true, "bos_token": "</s>"}')
    assert begins_with_its_token(path)


@pytest.mark.parametrize("pairs", [True, False])
def test_an_opt_tokenizer_in_json_has_its_own_rule(tmp_path: Path, pairs: bool) -> None:
    """transformers 5 ignores `add_bos_token` where there is a `tokenizer.json`, as the hint must say."""
    path, good = save_opt(tmp_path / "m"), save_opt(tmp_path / "good")
    AutoTokenizer.from_pretrained(str(path)).save_pretrained(path)
    assert begins_with_its_token(path)
    edit_json(path / "tokenizer.json", post_processor=None)
    edit_json(path / "tokenizer_config.json", add_bos_token=True)
    files = ("vocab.json", "merges.txt", "tokenizer_config.json")
    if not pairs:
        (path / "vocab.json").unlink()
    advice = "remove tokenizer.json, which overrides" if pairs else r"put vocab\.json, merges\.txt and tokenizer_config"
    with pytest.raises(ModelError, match=advice):
        begins_with_its_token(path)
    (path / "tokenizer.json").unlink()
    for name in files if not pairs else ():
        shutil.copy(good / name, path / name)
    assert begins_with_its_token(path)


def test_a_tokenizer_of_another_model(tmp_path: Path) -> None:
    path = save_bert(tmp_path / "m")
    edit_json(path / "config.json", vocab_size=30)
    with pytest.raises(ModelError, match=re.escape("expected token ids below 30")):
        tokenized(path, ["super mario"], 30)


def test_the_digest_is_of_the_vocabulary_not_of_the_limit(tmp_path: Path) -> None:
    path, other = save_bert(tmp_path / "m"), save_bert(tmp_path / "other")
    tokenizer = load_tokenizer(open_model_folder(path))
    before = tokenizer.digest
    tokenize(tokenizer, ["a text"], max_tokens=3)
    assert tokenizer.digest == before == load_tokenizer(open_model_folder(other)).digest
    (other / "vocab.txt").write_text((path / "vocab.txt").read_text() + "zzz\n")
    assert load_tokenizer(open_model_folder(other)).digest != before


def test_a_saved_limit_and_saved_padding_are_no_part_of_a_tokenizer(tmp_path: Path) -> None:
    path = save_bert(tmp_path / "m", vocabulary="json")
    before = load_tokenizer(open_model_folder(path)).digest
    saved = Tokenizer.from_file(str(path / "tokenizer.json"))
    saved.enable_truncation(4)
    saved.enable_padding(length=9)
    saved.save(str(path / "tokenizer.json"))
    assert load_tokenizer(open_model_folder(path)).digest == before
    assert as_lists(tokenized(path, ["super mario world"], 30)) == [
        token_ids(save_bert(tmp_path / "n"), "super mario world", 30)
    ]


def test_fewer_tokens_than_the_special_ones(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--max-tokens: expected at least 2, the number of special tokens .* found 1"):
        tokenized(save_bert(tmp_path / "m"), ["x"], 1)


@pytest.mark.parametrize("name", ["t5", "roberta", "gpt2"])
def test_a_text_that_is_cut_keeps_the_special_tokens_at_its_end(
    family_folder: Callable[[str], Path], name: str
) -> None:
    path = family_folder(name)
    whole = token_ids(path, TITLES[6], 1000)
    (cut,) = as_lists(tokenized(path, [TITLES[6]], 9))
    match name:
        case "t5" | "roberta":
            assert cut == [*whole[:8], whole[-1]]
        case "gpt2":
            assert cut == whole[:9]


def test_no_limit_where_a_model_has_none(family_folder: Callable[[str], Path]) -> None:
    path = family_folder("t5")
    (sequence,) = as_lists(tokenized(path, ["mario " * 900], 5000))
    assert len(sequence) > 1800
    assert sequence == token_ids(path, "mario " * 900, 5000)


def words(tmp_path: Path, *, ends: bool = False) -> TextTokenizer:
    """Words are a (0) to d (3), `unk` is 4; `ends` puts `</s>` (5) at the end of every text."""
    vocabulary = {"a": 0, "b": 1, "c": 2, "d": 3, "unk": 4, "</s>": 5}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="unk"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    if ends:
        backend.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 5)])
    return TextTokenizer(backend, open_model_folder(save_opt(tmp_path / "m")), unknown=4)


def test_unknown_words_are_left_out_and_counted(tmp_path: Path) -> None:
    texts = ["a x b", "", "x y", "c", "x a b c d", "a x b x c x", "d"]
    sequences = tokenize(words(tmp_path), texts, max_tokens=3)
    assert as_lists(sequences) == [[0, 1], [], [], [2], [0, 1, 2], [0, 1, 2], [3]]
    assert (sequences.unknown, sequences.cut) == (7, 1)
    assert sequences.tokens.dtype == np.int32


def test_unknown_words_and_special_tokens(tmp_path: Path) -> None:
    sequences = tokenize(words(tmp_path, ends=True), ["a x b", "x", "a b x c d"], max_tokens=3)
    assert as_lists(sequences) == [[0, 1, 5], [5], [0, 1, 5]]
    assert (sequences.unknown, sequences.cut) == (3, 1)


def test_every_word_known_by_another_tokenizer(tmp_path: Path) -> None:
    """Without an `unknown` the same words stay in."""
    tokenizer = replace(words(tmp_path), unknown=None)
    sequences = tokenize(tokenizer, ["a x b", "x"], max_tokens=3)
    assert as_lists(sequences) == [[0, 4, 1], [4]]
    assert (sequences.unknown, sequences.cut) == (0, 0)


def test_threads_may_share_a_tokenizer(tmp_path: Path) -> None:
    path = save_bert(tmp_path / "m")
    tokenizer = load_tokenizer(open_model_folder(path))
    texts = [*TITLES, *made_up_texts(200)]
    limits = [3, 30, 5, 12, 4, 25] * 4
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda limit: as_lists(tokenize(tokenizer, texts, max_tokens=limit)), limits))
    for limit, lists in zip(limits, found, strict=True):
        assert [len(ids) for ids in lists] == [min(len(ids), limit) for ids in found[1]]
    assert found[1] == as_lists(tokenize(tokenizer, texts, max_tokens=30))
