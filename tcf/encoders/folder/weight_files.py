"""Finding and reading the weight files of a model folder."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tcf.assets.module_list import is_within
from tcf.assets.weight_index import INDEX, WEIGHTS, indexed_names
from tcf.common.errors import ModelError, os_error_words, value_words
from tcf.common.integrity.checksums import SMALL, Reading, checksums, memory
from tcf.common.manifest import digest
from tcf.common.parsing import read_json
from tcf.common.untrusted.lfs_pointer import refuse_pointers
from tcf.encoders.folder.converted import verify_conversion
from tcf.encoders.safetensors_header import check_headers

__all__ = [
    "checksums_of_weights",
    "indexed_files",
    "read_json_list",
    "read_json_object",
    "weight_files",
    "weights_digest",
    "weights_or_index",
]

# In order of preference: the single file, or the index that lists the shards.
_WEIGHTS = tuple(name for whole in WEIGHTS for name in (whole, f"{whole}{INDEX}"))
# Files that transformers would read instead of the files above, or in addition.
_RIVALS = re.compile(r"shard-\d{5}-model-\d{5}-of-\d{5}\.safetensors|adapter_config\.json")
_NAMED = 5  # missing files that a message lists


def weight_files(path: Path) -> list[Path]:
    """Return the weight files of a model, sorted by name.

    Raises:
        ModelError: there are none, a file of the index is missing or a git-LFS pointer, the index is damaged, or the
            folder has an adapter or a distributed checkpoint.
    """
    rivals = sorted(file.name for file in path.glob("*") if _RIVALS.fullmatch(file.name))
    if rivals:
        raise ModelError(
            f"{path / rivals[0]}: expected a plain set of weights, found an adapter or a distributed checkpoint; "
            "merge it and save the model with transformers' save_pretrained"
        )
    found = weights_or_index(path)
    match found:
        case None:
            raise ModelError(f"{path}: expected weights ({', '.join(_WEIGHTS)}), found none; download them")
        case Path() if found.name.endswith(INDEX):
            files = _all_there(found)
        case _:
            files = [found]
    refuse_pointers(files)
    return files


def weights_or_index(path: Path) -> Path | None:
    """Return the single weight file of a model, or the index of several files; None if there is neither."""
    return next((path / name for name in _WEIGHTS if (path / name).is_file()), None)


def _all_there(index: Path) -> list[Path]:
    """Return the files that an index lists, after checking that they exist."""
    files = indexed_files(index)
    missing = [file.name for file in files if not file.is_file()]
    if missing or not files:
        found = f"no {_some(missing)}" if missing else "no entries"
        raise ModelError(f"{index}: expected the weight files that it lists, found {found}; download the model again")
    return files


def indexed_files(index: Path) -> list[Path]:
    """Return the files that an index of weights lists, sorted by name; they may be missing.

    Raises:
        ModelError: the index is missing or damaged.
    """
    content = read_json_object(index)
    names = indexed_names(content)
    if names is None:
        found = value_words(content.get("weight_map"))
        raise ModelError(
            f"{index}: expected weight_map, a mapping from weights to files, found {found}; download the model again"
        )
    outside = [name for name in names if not is_within(name)]
    if outside:
        raise ModelError(
            f"{index}: expected weight files within the folder, found {value_words(outside[0])}; choose another model"
        )
    return [index.parent / name for name in names]


def _some(names: Sequence[str]) -> str:
    """The first names of a list that may be long."""
    return ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")


def weights_digest(path: Path) -> str:
    """Return the digest of a model's weight files, or of the file of word vectors.

    Raises:
        ModelError: there are no weights, they cannot be read, or the model was converted and has changed since.
    """
    if path.is_file():
        return checksums_of_weights([path])[0]
    verify_conversion(path)
    files = weight_files(path)
    check_headers(files)  # what claims to have no end is not read to it
    sums = checksums_of_weights(files)
    return digest([[file.name, checksum] for file, checksum in zip(files, sums, strict=True)])


def checksums_of_weights(files: Sequence[Path]) -> list[str]:
    """Return the sha256 of each file of weights; those of large files are remembered below `TCF_HOME`.

    Raises:
        ModelError: a file cannot be read.
    """
    return checksums(files, memory(), Reading("the weights", ModelError, "fix it or download it again", SMALL))


def read_json_object(file: Path) -> dict[str, Any]:
    """Read a JSON object of a model folder.

    Raises:
        ModelError: the file is missing, damaged, a git-LFS pointer, or has other content.
    """
    content = _parsed(file)
    if not isinstance(content, dict):
        raise ModelError(f"{file}: expected a JSON object, found {value_words(content)}; download the model again")
    return content


def read_json_list(file: Path) -> list[Any]:
    """Read a JSON array of a model folder.

    Raises:
        ModelError: the file is missing, damaged or has other content.
    """
    content = _parsed(file)
    if not isinstance(content, list):
        raise ModelError(f"{file}: expected a JSON array, found {value_words(content)}; download the model again")
    return content


def _parsed(file: Path) -> Any:
    refuse_pointers([file])
    try:
        return read_json(file)
    except OSError as error:
        raise ModelError(f"{file}: cannot be read ({os_error_words(error)}); download the model again") from None
    except ValueError as error:
        raise ModelError(f"{file}: expected a JSON file, found invalid JSON ({error}); download it again") from None
