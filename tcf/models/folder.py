"""A language model's folder before its weights are loaded: geometry, family, and what identifies it."""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tcf.errors import ModelError
from tcf.manifest import digest, sha256_file

__all__ = ["ModelFolder", "Pooling", "open_model_folder", "weight_files", "weights_digest"]

Pooling = Literal["mean", "first", "last"]

_BOS = 2  # of OPT, where config.json does not say
# In order of preference: the file itself, or the index that lists the shards.
_WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
# Entries of config.json that say how a model was saved or is to be run, not what it computes.
_INCIDENTAL = ("_name_or_path", "transformers_version", "torch_dtype", "dtype", "use_cache", "architectures")


@dataclass(frozen=True)
class ModelFolder:
    """A local model folder in Hugging Face layout.

    Attributes:
        path: the folder.
        settings: its `config.json`.
        family: which model family it is of.
        width: numbers a token state.
        max_positions: longest token sequence that the model can read.
        pooling: how this encoder's token states become one vector unless told otherwise; None for a sentence encoder
            that was trained with a pooling which is not supported.
    """

    path: Path
    settings: dict[str, Any]
    family: Literal["opt", "bert"]
    width: int
    max_positions: int
    pooling: Pooling | None

    @property
    def architecture(self) -> str:
        """Digest of the entries of `config.json` that decide what the model computes."""
        return digest({key: value for key, value in self.settings.items() if key not in _INCIDENTAL})

    @property
    def bos_token_id(self) -> int:
        """The token that OPT reads first (study, section on text encoders: `</s>`, id 2)."""
        return int(self.settings.get("bos_token_id", _BOS))


def open_model_folder(path: Path) -> ModelFolder:
    """Read a model folder's configuration.

    Raises:
        ModelError: there is no readable `config.json`, the model's family is not supported, or a number is none.
    """
    file = path / "config.json"
    settings = _read_json(file)
    family = settings.get("model_type")
    match family:
        case "opt":
            pooling: Pooling | None = "mean"
            _whole({"bos_token_id": _BOS, **settings}, "bos_token_id", 0, file)
        case "bert":
            pooling = _sentence_pooling(path)
        case _:
            raise ModelError(
                f"{file}: expected model_type opt or bert, found {family!r}; choose a model of these families"
            )
    if "vocab_size" in settings:
        _whole(settings, "vocab_size", 1, file)
    width, max_positions = (_whole(settings, key, 1, file) for key in ("hidden_size", "max_position_embeddings"))
    return ModelFolder(path, settings, family, width, max_positions, pooling)


def weight_files(path: Path) -> list[Path]:
    """The files that hold a model's weights, sorted by name.

    Raises:
        ModelError: there are none, one that the index lists is missing, or the index is damaged.
    """
    for name in _WEIGHTS:
        if not (path / name).is_file():
            continue
        if not name.endswith(".index.json"):
            return [path / name]
        files = [path / shard for shard in _indexed_files(path / name)]
        missing = [file.name for file in files if not file.is_file()]
        if missing or not files:
            raise ModelError(f"{path / name}: lists weights that are missing ({', '.join(missing)}); fetch them")
        return files
    raise ModelError(f"{path}: expected weights ({', '.join(_WEIGHTS)}), found none; fetch them")


def _indexed_files(index: Path) -> list[str]:
    """The names of the files that an index of weights lists, sorted.

    Raises:
        ModelError: the index is damaged.
    """
    names = _read_json(index).get("weight_map")
    if not isinstance(names, dict) or not all(isinstance(name, str) for name in names.values()):
        raise ModelError(
            f"{index}: expected weight_map, a mapping from weights to files, found {_shown(names)}; "
            "fetch the model anew"
        )
    return sorted(set(names.values()))


def weights_digest(path: Path) -> str:
    """Digest of the bytes of a model's weight files."""
    files = weight_files(path)
    with ThreadPoolExecutor() as pool:
        sums = pool.map(sha256_file, files)
        try:
            return digest([[file.name, checksum] for file, checksum in zip(files, sums, strict=True)])
        finally:
            pool.shutdown(cancel_futures=True)  # an interruption does not wait for the files not begun yet


def _sentence_pooling(path: Path) -> Pooling | None:
    """How a sentence encoder was trained to pool, where its folder says so; else BERT's first token."""
    file = path / "1_Pooling" / "config.json"
    if not file.is_file():
        return "first"
    modes = [key for key, value in _read_json(file).items() if key.startswith("pooling_mode_") and value]
    match modes:
        case ["pooling_mode_mean_tokens"]:
            return "mean"
        case ["pooling_mode_cls_token"]:
            return "first"
        case ["pooling_mode_lasttoken"]:
            return "last"
        case _:
            return None


def _whole(settings: dict[str, Any], key: str, least: int, file: Path) -> int:
    value = settings.get(key)
    if type(value) is not int or value < least:
        raise ModelError(
            f"{file}: expected an entry '{key}', a whole number from {least}, found {_shown(value)}; "
            "fetch the model anew"
        )
    return value


def _shown(value: Any) -> str:
    return "nothing" if value is None else repr(value)[:60]


def _read_json(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{file}: expected a model folder's JSON file ({error}); fetch the model anew") from None
    if not isinstance(content, dict):
        raise ModelError(f"{file}: expected a JSON object, found {type(content).__name__}; fetch the model anew")
    return content
