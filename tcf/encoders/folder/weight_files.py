"""The files that hold a model's weights."""

import json
import re
from pathlib import Path
from typing import Any

from tcf.assets.weight_index import INDEX, WEIGHTS, indexed_names
from tcf.common.errors import ModelError
from tcf.common.files import home
from tcf.common.manifest import digest
from tcf.encoders.folder.checksums import remembered_checksums

__all__ = ["indexed_files", "read_json", "shown", "weight_files", "weights_digest", "weights_or_index"]

# In order of preference: the file itself, or the index that lists the shards.
_WEIGHTS = tuple(name for whole in WEIGHTS for name in (whole, f"{whole}{INDEX}"))
# What transformers would read instead of the files above, or on top of them.
_RIVALS = re.compile(r"shard-\d{5}-model-\d{5}-of-\d{5}\.safetensors|adapter_config\.json")


def weight_files(path: Path) -> list[Path]:
    """The files that hold a model's weights, sorted by name.

    Raises:
        ModelError: there are none, one that the index lists is missing, the index is damaged, or the folder holds an
            adapter or a distributed checkpoint.
    """
    rivals = sorted(file.name for file in path.glob("*") if _RIVALS.fullmatch(file.name))
    if rivals:
        raise ModelError(
            f"{path / rivals[0]}: expected one plain set of weights, found an adapter or a distributed checkpoint; "
            "merge it and save the model with transformers' save_pretrained"
        )
    found = weights_or_index(path)
    match found:
        case None:
            raise ModelError(f"{path}: expected weights ({', '.join(_WEIGHTS)}), found none; fetch them")
        case Path() if found.name.endswith(INDEX):
            return _all_there(found)
        case _:
            return [found]


def weights_or_index(path: Path) -> Path | None:
    """What a model is loaded from: its one file of weights, or the index of several; None where neither is there."""
    return next((path / name for name in _WEIGHTS if (path / name).is_file()), None)


def _all_there(index: Path) -> list[Path]:
    """The files that an index lists, at least one."""
    files = indexed_files(index)
    missing = [file.name for file in files if not file.is_file()]
    if missing or not files:
        raise ModelError(f"{index}: lists weights that are missing ({', '.join(missing)}); fetch them")
    return files


def indexed_files(index: Path) -> list[Path]:
    """The files that an index of weights lists, sorted by name; they may be missing.

    Raises:
        ModelError: the index is missing or damaged.
    """
    content = read_json(index)
    names = indexed_names(content)
    if names is None:
        found = shown(content.get("weight_map"))
        raise ModelError(
            f"{index}: expected weight_map, a mapping from weights to files, found {found}; fetch the model anew"
        )
    return [index.parent / name for name in names]


def weights_digest(path: Path) -> str:
    """Digest of the bytes of a model's weight files, or of the single file that a model is.

    Checksums of large files are remembered below `TCF_HOME`; see `tcf.encoders.folder.checksums`.

    Raises:
        ModelError: there are no weights, or they cannot be read.
    """
    remembered = home() / "digests"
    if path.is_file():
        return remembered_checksums([path], remembered)[0]
    files = weight_files(path)
    sums = remembered_checksums(files, remembered)
    return digest([[file.name, checksum] for file, checksum in zip(files, sums, strict=True)])


def read_json(file: Path) -> dict[str, Any]:
    """A JSON object of a model folder.

    Raises:
        ModelError: the file is missing, damaged or holds something else.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{file}: expected a model folder's JSON file ({error}); fetch the model anew") from None
    if not isinstance(content, dict):
        raise ModelError(f"{file}: expected a JSON object, found {type(content).__name__}; fetch the model anew")
    return content


def shown(value: Any) -> str:
    """A value of a JSON file, short enough for a message."""
    return "nothing" if value is None else repr(value)[:60]
