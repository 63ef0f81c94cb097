"""Reading the structure of PyTorch files, without running code in them and without reading tensor data.

Such a file is a zip archive with one pickle and the raw data of its tensors. Torch's restricted unpickler accepts
tensors and containers; settings objects that training programs save with them are replaced by empty placeholders, by
the names of their classes, which are never imported. Anything else is refused by name.
"""

import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.serialization import get_unsafe_globals_in_checkpoint, safe_globals

from tcf.common.errors import ModelError, os_error_words, shape_words
from tcf.common.torch_internals import file_offset
from tcf.encoders.convert.file_ranges import FileRange, TensorInFiles
from tcf.encoders.torch_archive import UnfitArchiveError, archive_members

__all__ = ["read_torch_file"]

# Packages whose objects are settings: a checkpoint's `args` is an argparse.Namespace, its `cfg` is made of omegaconf's
# containers or of metaseq's and fairseq's dataclasses and enums (metaseq, metaseq/checkpoint_utils.py). omegaconf keeps
# the types of its entries, of which Python saves `Dict[str, Any]` as a call of `operator.getitem`, and an empty
# defaultdict (omegaconf 2.0.6, base.py, ContainerMetadata); numpy's numbers are among the metrics of a training.
_SETTINGS = ("omegaconf", "metaseq", "fairseq", "typing")
_DEFAULTDICT = "collections.defaultdict"
_PLAIN = {
    _DEFAULTDICT,
    "_operator.getitem",
    "argparse.Namespace",
    "numpy.dtype",
    "numpy.core.multiarray.scalar",
    "numpy._core.multiarray.scalar",
    "pathlib.PosixPath",
    "pathlib.Path",
    *(f"builtins.{name}" for name in ("bool", "dict", "float", "frozenset", "int", "list", "object", "str", "tuple")),
}
_LOCAL_HEADER = 30  # bytes of a zip member's own header before its name
_FETCH = "download it again"


class _SettingsPlaceholder:
    """Placeholder for a settings object, which ignores its arguments and its state."""

    def __init__(self, *_: object) -> None:
        """Accept and ignore the object's arguments."""

    def __setstate__(self, _: object) -> None:
        """Accept and ignore the object's state."""


def _empty(*_: object) -> dict[Any, Any]:
    """Replace `defaultdict`: torch's unpickler adds entries only to a plain dict."""
    return {}


def read_torch_file(file: Path) -> Any:
    """Return the content of a file of `torch.save`, with the places of its tensors in the file.

    Args:
        file: a file of torch 1.6 or newer.

    Returns:
        The saved object, with a `TensorInFiles` for each tensor and empty placeholders for settings objects.

    Raises:
        ModelError: the file is damaged or in the older format, or has objects that are neither tensors nor settings.
    """
    starts = _members(file)
    with safe_globals(_placeholders(file)):
        try:
            content = torch.load(file, map_location="meta", weights_only=True)
        except (
            pickle.UnpicklingError,
            RuntimeError,
            EOFError,
            KeyError,
            ValueError,
            AssertionError,
            TypeError,
            AttributeError,
            MemoryError,
        ):
            raise ModelError(
                f"{file}: expected tensors and settings, found other objects or a damaged file; {_FETCH} from its "
                "publisher"
            ) from None
    return _with_places(content, file, starts)


def _members(file: Path) -> dict[int, int]:
    """Return the size in bytes of each tensor's storage by its offset in the file."""
    try:
        members = archive_members(file)
        with file.open("rb") as stream:
            return {_start(member, stream): member.file_size for member in members if "/data/" in member.filename}
    except OSError as error:
        raise ModelError(f"{file}: cannot be read ({os_error_words(error)}); fix it or download it again") from None
    except UnfitArchiveError as error:
        raise ModelError(f"{file}: expected uncompressed little-endian data, found {error}; {_FETCH}") from None
    except (zipfile.BadZipFile, NotImplementedError, ValueError, EOFError):
        raise ModelError(
            f"{file}: expected a complete file of torch.save (a zip archive, torch 1.6 or newer), found one that is "
            f"truncated or of another format; {_FETCH}"
        ) from None


def _start(member: zipfile.ZipInfo, stream: Any) -> int:
    """Return the offset of a member's data, after its header, name and padding."""
    stream.seek(member.header_offset)
    header = stream.read(_LOCAL_HEADER)
    if len(header) < _LOCAL_HEADER:
        raise zipfile.BadZipFile
    return int(
        member.header_offset
        + _LOCAL_HEADER
        + int.from_bytes(header[26:28], "little")
        + int.from_bytes(header[28:30], "little")
    )


def _placeholders(file: Path) -> list[Any]:
    """Return a placeholder for each settings class of a file."""
    try:
        names = get_unsafe_globals_in_checkpoint(file)
    except (
        pickle.UnpicklingError,
        RuntimeError,
        EOFError,
        ValueError,
        IndexError,
        LookupError,
        AssertionError,
    ):
        raise ModelError(f"{file}: expected a complete file of torch.save, found a damaged one; {_FETCH}") from None
    refused = sorted(name for name in names if not _is_settings(name))
    if refused:
        raise ModelError(
            f"{file}: expected tensors and settings, found {', '.join(refused[:3])}, which would be run on loading; "
            "nothing was run: do not load this file with other programs unless you trust its author"
        )
    return [
        (_empty if name == _DEFAULTDICT else type("_SettingsPlaceholder", (_SettingsPlaceholder,), {}), name)
        for name in names
    ]


def _is_settings(name: str) -> bool:
    return name in _PLAIN or name.split(".", 1)[0] in _SETTINGS


def _with_places(value: Any, file: Path, starts: Mapping[int, int], name: str = "") -> Any:
    """Return a value in which tensors are replaced by their places in the file."""
    match value:
        case Tensor():
            return _stored(value, file, starts, name)
        case torch.Size():
            return tuple(value)
        case dict():
            return {key: _with_places(entry, file, starts, str(key)) for key, entry in value.items()}
        case list() | tuple():
            return type(value)(_with_places(entry, file, starts, name) for entry in value)
        case _:
            return value


def _stored(tensor: Tensor, file: Path, starts: Mapping[int, int], name: str) -> TensorInFiles:
    """Return the place of a tensor in the file."""
    storage = tensor.untyped_storage()
    start = file_offset(tensor)  # checked against the archive's own list below
    size = storage.nbytes()
    if not tensor.is_contiguous():
        raise ModelError(
            f"{file}: expected {name} contiguous in row-major order, found strides {shape_words(tensor.stride())}; "
            "save it contiguously"
        )
    offset, end = tensor.storage_offset(), tensor.storage_offset() + tensor.numel()
    if (size and (start is None or starts.get(start, -1) < size)) or end * tensor.dtype.itemsize > size:
        raise ModelError(f"{file}: expected {size} bytes for {name}, found fewer; {_FETCH}")
    begin = (start or 0) + int(offset) * tensor.dtype.itemsize
    return TensorInFiles(tensor.dtype, tuple(tensor.shape), (FileRange(file, begin, tensor.numel()),))
