"""The tokenizer files of raw OPT weights, as those of a model folder."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

from tcf.common.errors import ModelError
from tcf.common.manifest import digest, sha256_file

__all__ = ["copy_tokenizer", "tokenizer_digest", "tokenizer_files"]

# Files that metaseq puts beside its weights, with their names in a model folder (facebookresearch/metaseq,
# projects/OPT/download_opt175b.md, "Run the API").
_BYTE_PAIRS = (("gpt2-vocab.json", "vocab.json"), ("gpt2-merges.txt", "merges.txt"))
_SETTINGS = "tokenizer_config.json"
_ASIDE = (_SETTINGS, "special_tokens_map.json", "added_tokens.json")
# Settings of the tokenizer of every published size: `</s>` is token 2 and starts each text (transformers 5.23,
# models/opt/modeling_opt.py accepts no other). metaseq (at 21b2019, metaseq/tasks/language_modeling.py,
# LanguageModelingTask) has `<s>`, `<pad>`, `</s>`, `<unk>` as tokens 0 to 3, and starts each text with `</s>`.
_OF_OPT = {
    "tokenizer_class": "GPT2Tokenizer",
    "add_bos_token": True,
    "add_prefix_space": False,
    "errors": "replace",
    "bos_token": "</s>",
    "eos_token": "</s>",
    "unk_token": "</s>",
    "pad_token": "<pad>",
}


def tokenizer_files(source: Path, given: Path | None) -> dict[str, Path]:
    """Return the files of a tokenizer by their names in a model folder.

    Args:
        source: file or folder of the weights.
        given: a folder with a tokenizer; None if it is beside the weights.

    Raises:
        ModelError: there is none.
    """
    folder = given or (source if source.is_dir() else source.parent)
    aside = {name: folder / name for name in _ASIDE if (folder / name).is_file()}
    for names in (_BYTE_PAIRS, tuple((name, name) for _, name in _BYTE_PAIRS), (("tokenizer.json", "tokenizer.json"),)):
        if all((folder / name).is_file() for name, _ in names):
            return {new: folder / name for name, new in names} | aside
    raise ModelError(
        f"{folder}: expected a tokenizer (gpt2-vocab.json + gpt2-merges.txt, vocab.json + merges.txt, or "
        "tokenizer.json), found none; pass --tokenizer FOLDER, for instance that of facebook/opt-125m, as all sizes of "
        "OPT have the same tokenizer"
    )


def tokenizer_digest(files: Mapping[str, Path]) -> str:
    """Return the digest of a tokenizer's files."""
    return digest([[name, sha256_file(file)] for name, file in sorted(files.items())])


def copy_tokenizer(files: Mapping[str, Path], into: Path) -> None:
    """Copy a tokenizer's files into a model folder; if its settings are missing, OPT's are written."""
    for name, file in files.items():
        shutil.copyfile(file, into / name)
    if _SETTINGS not in files:
        (into / _SETTINGS).write_text(json.dumps(_OF_OPT, indent=2) + "\n", encoding="utf-8")
