"""Resolving a named dataset or model to a folder on this machine, downloading it if necessary.

They are kept below `TCF_HOME` (default `~/.cache/tcf`), except for downloads from the Hugging Face hub, which are kept
in the hub's own cache.
"""

import re
import shlex
from pathlib import Path
from typing import Literal

from tcf.assets.datasets import DATASET_GROUPS, DATASETS
from tcf.assets.hub import cached_snapshot, download_snapshot
from tcf.assets.models import MODEL_NAMES, MODELS, OPT_175B, model_label
from tcf.assets.module_list import MARKS_OF_MODELS
from tcf.assets.source import SourceError
from tcf.assets.store import Asset, find, obtain
from tcf.common.errors import DataError, ModelError, did_you_mean
from tcf.config.libraries import require_library
from tcf.config.toml_files import user_path

__all__ = [
    "DATASET_NAMES",
    "describe_assets",
    "fetch_dataset",
    "find_model",
    "prepare_words",
    "raw_format",
    "resolve_model",
]

_HUB_ID = re.compile(r"[\w-][\w.-]*/[\w.-]+")
_WORD_VECTORS = (".txt", ".vec", ".txt.gz", ".vec.gz")
DATASET_NAMES = tuple(asset.name for asset in DATASETS)


def describe_assets(kind: Literal["dataset", "model"]) -> list[str]:
    """Return one line for each dataset or model: name, summary, licence."""
    assets = DATASETS if kind == "dataset" else MODELS
    return [f"{asset.label}: {asset.summary} ({asset.licence})" for asset in assets]


def fetch_dataset(name: str, *, accept_licence: bool = False) -> Path:
    """Return the folder of a named dataset in its raw format, downloading it if necessary.

    Args:
        name: one of `DATASET_NAMES`.
        accept_licence: whether the user accepts the dataset's terms, if it has terms that restrict its use.

    Raises:
        DataError: the name is unknown, the terms are not accepted, every source failed, or the folder is damaged.
    """
    return obtain(_dataset(name), accept_terms=accept_licence)


def find_dataset(name: str) -> Path | None:
    """Return the folder of a named dataset in its raw format if it is on this machine; nothing is downloaded.

    Raises:
        DataError: the name is unknown, or the folder is damaged.
    """
    return find(_dataset(name))


def raw_format(name: str) -> str:
    """Return the raw format of a named dataset, by its name in `tcf data prepare`.

    Raises:
        DataError: the name is unknown.
    """
    return _dataset(name).raw


def prepare_words(name: str, folder: Path) -> str:
    """Return the command that prepares a named dataset from its folder, up to where the result goes.

    Raises:
        DataError: the name is unknown.
    """
    asset = _dataset(name)
    words = ["tcf data prepare", asset.raw, shlex.quote(str(folder)), asset.prepare_options]
    return " ".join(word for word in words if word)


def _dataset(name: str) -> Asset:
    for asset in DATASETS:
        if asset.name == name:
            return asset
    hint = did_you_mean(name, DATASET_NAMES)
    raise DataError(f"{name}: unknown dataset{hint} (known: {_known_datasets(name)})")


def _known_datasets(requested: str) -> str:
    """Return the known names for a message; of the groups, only the requested one in full."""
    named = [group for group in DATASET_GROUPS if requested.startswith(group)]
    if named:
        return ", ".join(name for name in DATASET_NAMES if name.startswith(named[0]))
    single = [name for name in DATASET_NAMES if not name.startswith(DATASET_GROUPS)]
    return ", ".join([*single, *(f"{group}CATEGORY" for group in DATASET_GROUPS)])


def find_model(name_or_path: str) -> Path | None:
    """Return the path of a model if it is on this machine; nothing is downloaded.

    Args:
        name_or_path: as in `resolve_model`.

    Returns:
        The path that `resolve_model` returns; None if the model would have to be downloaded.

    Raises:
        ModelError: this cannot be a model, or its folder is damaged or has none.
    """
    for asset in MODELS:
        if asset.name == name_or_path:
            return find(asset)
    if user_path(name_or_path).exists() or not _HUB_ID.fullmatch(name_or_path):
        return resolve_model(name_or_path)
    return find_model(OPT_175B) if name_or_path == f"facebook/{OPT_175B}" else cached_snapshot(name_or_path)


def resolve_model(name_or_path: str) -> Path:
    """Return the path of a model on this machine, downloading it if necessary.

    Args:
        name_or_path: a name that tcf knows, an existing folder in Hugging Face layout, a text file of word vectors, or
            a hub id (owner/name). For a folder with the name of a known model, write `./` before it.

    Returns:
        A folder in Hugging Face layout; a text file of word vectors; or, for a known name whose source has nothing
        else, a folder with one GGUF file (`tcf.encoders.folder.local_model` converts it).

    Raises:
        ModelError: there is no such model, every source failed, or the folder is damaged or has no model.
    """
    for asset in MODELS:
        if asset.name == name_or_path:
            if find(asset) is None and any(file.endswith(".gguf") for file in asset.needs):
                require_library("gguf", asset.name)  # the download is followed by a conversion
            return obtain(asset)
    path = user_path(name_or_path)
    if path.is_dir():
        return _checked_folder(path)
    if path.is_file():
        return _checked_file(path)
    if _HUB_ID.fullmatch(name_or_path):
        return _from_hub(name_or_path)
    raise ModelError(
        f"{name_or_path}: expected an existing folder or file, a hub id (owner/name) or a known model, found none of "
        f"them{did_you_mean(name_or_path, MODEL_NAMES)} (known: {', '.join(map(model_label, MODEL_NAMES))})"
    )


def _checked_folder(folder: Path) -> Path:
    if any((folder / name).is_file() for name in MARKS_OF_MODELS):
        return folder
    files = sorted(folder.glob("*.gguf"))
    if files:
        raise _convert_first(files[0])
    raise ModelError(f"{folder}: expected a model in Hugging Face layout, found no config.json; name its folder")


def _checked_file(file: Path) -> Path:
    if file.name.lower().endswith(_WORD_VECTORS):
        return file
    if file.suffix.lower() == ".gguf":
        raise _convert_first(file)
    raise ModelError(
        f"{file}: expected a folder in Hugging Face layout or a text file of word vectors "
        f"({', '.join(_WORD_VECTORS)}), found another file; name the model's folder"
    )


def _convert_first(file: Path) -> ModelError:
    return ModelError(
        f"{file}: expected a model in Hugging Face layout, found a GGUF file; "
        f"run `tcf convert {shlex.quote(str(file))} --out FOLDER` once and pass that folder"
    )


def _from_hub(repo_id: str) -> Path:
    if repo_id == f"facebook/{OPT_175B}":
        return resolve_model(OPT_175B)
    try:
        return cached_snapshot(repo_id) or download_snapshot(repo_id)
    except SourceError as error:
        raise ModelError(f"{repo_id}: no such folder, and the hub's model cannot be used: {error}") from None
