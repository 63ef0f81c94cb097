"""Models from the Hugging Face hub, with its client and its local cache."""

import glob
import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tcf.assets.hub_internals import stated_checksum, transport_error
from tcf.assets.module_list import MODULES, first_module, is_within, lacks_settings, module_paths
from tcf.assets.source import SourceError
from tcf.assets.weight_index import INDEX, WEIGHTS, indexed_names
from tcf.common.errors import os_error_words
from tcf.common.manifest import sha256_file
from tcf.common.parsing import read_json

__all__ = ["HubSource", "cached_snapshot", "download_snapshot"]

# Patterns are matched against whole paths, so these match one folder only: no copies for ONNX or OpenVINO.
_TEXT_FILES = (
    "config.json",
    "tokenizer*",
    "vocab*",
    "merges.txt",
    "*_tokens.json",
    "special_tokens_map.json",
    "*.model",
    "sentence_*_config.json",
)
_MARKS_OF_SENTENCE_ENCODERS = (MODULES, "config_sentence_transformers.json", "1_Pooling/config.json")
_OFFLINE = "HF_HUB_OFFLINE is set and the model is not complete in the hub's local cache; unset it or pass a folder"
_TOKENIZER_FILES = ("tokenizer*", "vocab*", "*.model")


@dataclass(frozen=True)
class HubSource:
    """A model on the hub.

    Attributes:
        repo_id: owner and name.
    """

    repo_id: str

    def __str__(self) -> str:
        """Name of the source for messages."""
        return f"hub {self.repo_id}"


def cached_snapshot(repo_id: str) -> Path | None:
    """Return the model's folder if it is complete in the hub's local cache, else None; no network is used."""
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        return _complete_snapshot(repo_id, local_only=True)
    except (LocalEntryNotFoundError, HFValidationError):
        return None


def download_snapshot(repo_id: str) -> Path:
    """Download the missing files of a model and return its folder in the hub's local cache.

    Safetensors are preferred; pickled weights are downloaded only if a repository has nothing else.

    Raises:
        SourceError: the hub cannot be reached or has no such model, HF_HUB_OFFLINE is set, or the repository lacks a
            part of a language model.
    """
    from huggingface_hub import is_offline_mode

    try:
        folder = _complete_snapshot(repo_id, local_only=False)
    except (OSError, ValueError, transport_error()) as error:
        raise SourceError(_advice(repo_id, error)) from None
    if folder is None:
        weights = " or ".join(map(_one_or_several, WEIGHTS))
        lacking = f"the repository lacks config.json, a tokenizer, or complete weights ({weights})"
        raise SourceError(_OFFLINE if is_offline_mode() else lacking)
    _check_sums(folder)
    return folder


def _complete_snapshot(repo_id: str, *, local_only: bool) -> Path | None:
    from huggingface_hub import snapshot_download

    def snapshot(patterns: Sequence[str]) -> Path:
        return Path(snapshot_download(repo_id, allow_patterns=list(patterns), local_files_only=local_only))

    for whole in WEIGHTS:
        patterns = [*_TEXT_FILES, *_MARKS_OF_SENTENCE_ENCODERS, *_weight_patterns(whole)]
        folder = snapshot(patterns)
        if paths := module_paths(folder):
            names = (*_TEXT_FILES, *_weight_patterns(whole))
            patterns += [f"{glob.escape(path)}/{name}" for path in paths for name in names]
            folder = snapshot(patterns)
        if _holds_a_model(folder):
            return _with_pickled_modules(folder, patterns, snapshot)
    return None


def _with_pickled_modules(folder: Path, patterns: list[str], snapshot: Callable[[Sequence[str]], Path]) -> Path:
    """Add the pickled weights of modules that have no others, such as a dense layer beside a language model."""
    safetensors, pickled = WEIGHTS
    lacking = [path for path in module_paths(folder) if not any((folder / path).glob(_one_or_several(safetensors)))]
    return snapshot([*patterns, *(f"{glob.escape(path)}/{pickled}" for path in lacking)]) if lacking else folder


def _weight_patterns(whole: str) -> tuple[str, str]:
    return _one_or_several(whole), f"{whole}{INDEX}"


def _one_or_several(whole: str) -> str:
    """Return a pattern that matches a single weight file and the files of split weights."""
    name = Path(whole)
    return f"{name.stem}*{name.suffix}"


def _check_sums(folder: Path) -> None:
    """Compare every file with the checksum that the hub states for it.

    Raises:
        SourceError: a file differs; it is removed, so that the next attempt downloads it again.
    """
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        stated = stated_checksum(file)
        if stated is not None and _checksum(file, len(stated)) != stated:
            file.resolve().unlink()
            raise SourceError(f"{file.name} was damaged in transfer (its checksum differs from the hub's); run again")


def _checksum(file: Path, digits: int) -> str:
    """Return the checksum of a file of the kind that has this many digits."""
    if digits == 64:
        return sha256_file(file)
    content = file.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def _holds_a_model(folder: Path) -> bool:
    """Whether a folder has a configuration, a tokenizer and all weight files; they may be in the first module's.

    A copy that was made for the language model alone may lack the settings of the other modules.
    """
    if lacks_settings(folder):
        return False
    folder = folder / first_module(folder)
    tokenizer = any(True for pattern in _TOKENIZER_FILES for _ in folder.glob(pattern))
    return (folder / "config.json").is_file() and tokenizer and any(map(_all_there, _weights(folder)))


def _weights(folder: Path) -> Iterator[list[Path]]:
    """Yield the weight files of each format in the folder."""
    for whole in WEIGHTS:
        yield [folder / whole]
        index = folder / f"{whole}{INDEX}"
        if index.is_file():
            yield [folder / name for name in _indexed(index)]


def _indexed(index: Path) -> list[str]:
    """Return the files that an index of weights lists; none if it is damaged."""
    try:
        names = indexed_names(read_json(index)) or []
    except (OSError, ValueError):
        return []
    return names if all(map(is_within, names)) else []


def _all_there(files: list[Path]) -> bool:
    return bool(files) and all(file.is_file() for file in files)


def _advice(repo_id: str, error: BaseException) -> str:
    """Say on one line what went wrong and what to do."""
    from huggingface_hub import errors, is_offline_mode

    match error:
        case errors.GatedRepoError():
            return f"gated; accept its terms at huggingface.co/{repo_id} and log in with `hf auth login`"
        case errors.RepositoryNotFoundError():
            return "no such repository, or a private one; check the name, or log in with `hf auth login`"
        case errors.HFValidationError():
            return "expected a hub id (owner/name), found another form"
        case errors.LocalEntryNotFoundError() if is_offline_mode():
            return _OFFLINE
        case errors.LocalEntryNotFoundError():
            return "the hub cannot be reached; check the connection, the proxy or HF_ENDPOINT, or pass a local folder"
        case OSError():
            return f"the download failed ({os_error_words(error)[:300]}); run again, or pass a local folder"
        case _:
            return f"the download failed ({' '.join(str(error).split())[:300]}); run again, or pass a local folder"
