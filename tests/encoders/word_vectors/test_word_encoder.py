"""Static word vectors: what texts become, by hand."""

from pathlib import Path

import numpy as np
import pytest
import torch

from tcf.common.errors import ConfigError, ModelError
from tcf.common.manifest import sha256_file
from tcf.encoders.encoder import check_layers, load_encoder, resolve_dtype
from tcf.encoders.folder.load_tokenizer import load_tokenizer
from tcf.encoders.folder.model_folder import ModelFolder
from tcf.encoders.folder.open_model_folder import open_model_folder
from tcf.encoders.folder.weight_files import weights_digest
from tcf.encoders.pooling import pool
from tcf.encoders.tokenize import tokenize
from tcf.encoders.word_vectors.word_encoder import WordEncoder

CPU = torch.device("cpu")
GLOVE = 'the 1 2\nzelda 3 -4\n: 0.5 0.25\n" 9 9\n. . . 7 7\n64 -1 1e-3\n'


def words_of(folder: Path, content: str, name: str = "words.txt") -> ModelFolder:
    file = folder / name
    file.write_text(content, encoding="utf-8")
    return open_model_folder(file)


def ids(folder: ModelFolder, *texts: str, max_tokens: int = 30) -> tuple[list[list[int]], int, int]:
    """Token ids of texts, how many words were unknown, how many texts were cut."""
    found = tokenize(load_tokenizer(folder), texts, max_tokens=max_tokens)
    return [part.tolist() for part in np.split(found.tokens, found.offsets[1:-1])], found.unknown, found.cut


def test_the_folder_is_the_file(tmp_path: Path) -> None:
    folder = words_of(tmp_path, GLOVE)
    assert folder.path == tmp_path / "words.txt"
    assert (folder.family, folder.width, folder.n_blocks) == ("words", 2, 0)
    assert (folder.max_positions, folder.poolings) == (None, ("mean",))
    assert weights_digest(folder.path) == sha256_file(folder.path)
    wider = words_of(tmp_path, "a 1 2 3\n", "wider.vec")
    assert folder.architecture != wider.architecture


def test_texts_become_their_known_words(tmp_path: Path) -> None:
    folder = words_of(tmp_path, GLOVE)
    texts = ("The Legend of ZELDA: 64", "the,the", '"zelda"', "", "Pokémon . . .", "zelda64")
    expected = [[0, 1, 2, 5], [0, 0], [3, 1, 3], [], [], []]
    assert ids(folder, *texts) == (expected, 2 + 1 + 4 + 1, 0)


def test_a_limit_is_one_on_known_words(tmp_path: Path) -> None:
    folder = words_of(tmp_path, GLOVE)
    assert ids(folder, "what the zelda : 64", "the zelda", max_tokens=2) == ([[0, 1], [0, 1]], 1, 1)


def test_case_is_kept_where_the_file_has_it(tmp_path: Path) -> None:
    folder = words_of(tmp_path, "zelda 1\nZelda 2\nÉcole 3\n")
    assert ids(folder, "Zelda zelda ZELDA École école") == ([[1, 0, 2]], 2, 0)
    lower = words_of(tmp_path, "zelda 1\nécole 3\n", "lower.txt")
    assert ids(lower, "Zelda ÉCOLE") == ([[0, 1]], 0, 0)


def test_two_vocabularies_have_two_digests(tmp_path: Path) -> None:
    one, other = (words_of(tmp_path, f"{word} 1\nb 2\n", f"{word}.txt") for word in "ac")
    assert load_tokenizer(one).digest != load_tokenizer(other).digest
    assert load_tokenizer(one).digest == load_tokenizer(one).digest


@pytest.mark.parametrize("layers", [(-1,), (0,), (0, -1)])
def test_a_vector_is_the_mean_over_known_words(tmp_path: Path, layers: tuple[int, ...]) -> None:
    folder = words_of(tmp_path, GLOVE)
    encoder = load_encoder(folder, torch.float32, CPU, layers=layers)
    assert isinstance(encoder, WordEncoder)
    assert (encoder.layers, encoder.device, encoder.folder) == (layers, CPU, folder)
    states = encoder.states(torch.tensor([[0, 1, 5], [2, 2, 2]]))
    assert len(states) == len(layers)
    for found in states:
        assert found[0].tolist() == [[1, 2], [3, -4], [-1, np.float32(1e-3)]]
        expected = [[1.0, (2 - 4 + 1e-3) / 3], [0.5, 0.25]]
        np.testing.assert_allclose(pool(found, "mean").numpy(), expected, rtol=1e-6)
    assert load_encoder(folder, torch.bfloat16, CPU).states(torch.tensor([[0]]))[0].dtype is torch.bfloat16


def test_layers_and_types(tmp_path: Path) -> None:
    folder = words_of(tmp_path, GLOVE)
    for layers in ((1,), (), (-2,)):
        with pytest.raises(ConfigError, match="--layers: expected -1 or 0, which are the same"):
            check_layers(folder, layers)
    assert resolve_dtype("auto", folder, torch.device("cuda")) is torch.float32


def test_what_is_no_file_of_word_vectors(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"words\.txt:1: expected word vectors as text .*found 'Dear reader'"):
        words_of(tmp_path, "Dear reader\n")
    with pytest.raises(ModelError, match=r"words\.txt: expected word vectors as text, found an empty file"):
        words_of(tmp_path, "")
