"""A git-LFS pointer in place of any file of a model is named, with what to do."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from small.encoders.families import save_family, store_weights, stored_weights
from small.encoders.gguf import SmallGguf, byte_pairs, small_llama, write_gguf
from small.encoders.models import save_bert, save_opt
from small.encoders.raw_opt import metaseq_parts, save_flexgen, save_metaseq, save_settings, small_opt
from tcf.common.errors import ModelError
from tcf.encoders.convert.convert import convert
from tcf.encoders.encoder import load_encoder
from tcf.encoders.folder.load_tokenizer import load_tokenizer
from tcf.encoders.folder.open_model_folder import open_model_folder
from tcf.encoders.folder.weight_files import weights_digest

POINTER = (
    "version https://git-lfs.github.com/spec/v1\n"
    "oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 12345\n"
)


def refused(file: Path, use: Callable[[], object]) -> None:
    """Check that the file, replaced by a pointer, is refused by name."""
    content = file.read_bytes()
    file.write_text(POINTER)
    with pytest.raises(ModelError) as caught:
        use()
    assert str(caught.value) == (
        f"{file}: expected the file itself, found a git-LFS pointer to its 12345 bytes; run `git lfs pull` in the "
        "repository, or download the file again"
    )
    file.write_bytes(content)


def use(path: Path) -> None:
    folder = open_model_folder(path)
    load_tokenizer(folder)
    weights_digest(path)
    load_encoder(folder, torch.float32, torch.device("cpu"))


def bert_in_two_bins(path: Path) -> Path:
    save_bert(path)
    store_weights(path, stored_weights(path), kind="bin", files=2)
    return path


@pytest.mark.parametrize(
    ("save", "files"),
    [
        (save_opt, "config.json model.safetensors vocab.json merges.txt tokenizer_config.json"),
        (bert_in_two_bins, "vocab.txt pytorch_model-1.bin pytorch_model-2.bin pytorch_model.bin.index.json"),
        (lambda path: save_family("llama", path, shard="1GB"), "tokenizer.json"),
    ],
)
def test_every_file_of_a_model_folder(tmp_path: Path, save: Callable[[Path], Path], files: str) -> None:
    path = save(tmp_path / "m")
    use(path)
    for name in files.split():
        refused(path / name, lambda: use(path))
    (path / "README.md").write_text(POINTER)  # is not read
    use(path)


def test_pieces_beside_a_tokenizer(tmp_path: Path) -> None:
    path = save_bert(tmp_path / "m")
    (path / "spiece.model").touch()
    refused(path / "spiece.model", lambda: use(path))


def test_what_is_converted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TCF_HOME", str(tmp_path / "home"))
    gguf = write_gguf(tmp_path / "tiny.gguf", SmallGguf(small_llama(), byte_pairs()))
    raw, numpy = tmp_path / "raw", tmp_path / "numpy"
    save_metaseq(raw, metaseq_parts(small_opt(), 2))
    save_flexgen(numpy, small_opt())
    for folder in (raw, numpy):
        save_settings(small_opt(), folder)
    for source, file in (
        (gguf, gguf),
        (raw, raw / "reshard-model_part-1.pt"),
        (raw, raw / "gpt2-merges.txt"),
        (numpy, numpy / "decoder.layers.1.fc1.weight"),
    ):
        refused(file, lambda source=source: convert(source, tmp_path / "out"))  # type: ignore[misc]


def test_word_vectors(tmp_path: Path) -> None:
    file = tmp_path / "words.txt"
    file.write_text("a 1 2\nb 3 4\n")
    refused(file, lambda: open_model_folder(file))
