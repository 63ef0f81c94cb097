"""Finding the place of every tensor of a checkpoint from the headers of its files."""

import math
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from tcf.common.errors import ModelError, os_error_words, shape_words, value_words
from tcf.common.torch_internals import file_offset, tensors_without_data
from tcf.encoders.failures import failures, reason
from tcf.encoders.folder.weight_files import weight_files
from tcf.encoders.safetensors_header import damaged, read_header
from tcf.encoders.torch_archive import UnfitArchiveError, archive_members

__all__ = ["StoredTensor", "stored_tensors"]

_LARGEST_SIZE, _MOST_DIMENSIONS = 2**63 - 1, 64  # as torch has them
_SAVE_AGAIN = "load the model with transformers and save it again with save_pretrained"
_TYPES = {
    "BOOL": torch.bool,
    "U8": torch.uint8,
    "I8": torch.int8,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E4M3FNUZ": torch.float8_e4m3fnuz,
    "F8_E5M2": torch.float8_e5m2,
    "F8_E8M0": torch.float8_e8m0fnu,
    "F8_E5M2FNUZ": torch.float8_e5m2fnuz,
    "U16": torch.uint16,
    "I16": torch.int16,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "U32": torch.uint32,
    "I32": torch.int32,
    "F32": torch.float32,
    "U64": torch.uint64,
    "I64": torch.int64,
    "F64": torch.float64,
    "C64": torch.complex64,
}


@dataclass(frozen=True)
class StoredTensor:
    """A tensor in a weight file: contiguous, little-endian, in row-major order.

    Attributes:
        name: name in the checkpoint.
        file: the file.
        offset: offset of its first byte in the file.
        dtype: stored dtype.
        shape: shape.
    """

    name: str
    file: Path
    offset: int
    dtype: torch.dtype
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Size in bytes."""
        return math.prod(self.shape) * self.dtype.itemsize


def stored_tensors(folder: Path) -> list[StoredTensor]:
    """Return all tensors of a model folder's checkpoint, without reading their data.

    Args:
        folder: a model folder whose weights are safetensors, or were saved by `torch.save`, in one file or several.

    Raises:
        ModelError: there are no weights, a file cannot be read, is damaged or truncated, its tensors cannot be read in
            place, or two files have a tensor with the same name.
    """
    found: dict[str, StoredTensor] = {}
    for file in weight_files(folder):
        for tensor in _of_safetensors(file) if file.suffix == ".safetensors" else _of_archive(file):
            if tensor.name in found:
                raise ModelError(
                    f"{file}: expected every weight in one file, found {tensor.name} also in "
                    f"{found[tensor.name].file.name}; download the model again"
                )
            found[tensor.name] = tensor
    return list(found.values())


def _of_safetensors(file: Path) -> Iterator[StoredTensor]:
    """Yield the tensors of a safetensors file: 8 bytes with the length of the header, the header in JSON, the data."""
    header, start, end = read_header(file)
    tensors = [_described(file, name, entry, start) for name, entry in header.items() if name != "__metadata__"]
    position = start
    for tensor in sorted(tensors, key=lambda tensor: (tensor.offset, tensor.nbytes)):
        if tensor.offset != position:
            raise damaged(file, f"{tensor.name} at byte {position}", f"byte {tensor.offset} in its header")
        position += tensor.nbytes
    if position != end:
        raise damaged(file, f"{position} bytes, as its header says", f"{end}")
    yield from tensors


def _described(file: Path, name: str, entry: Any, start: int) -> StoredTensor:
    """Return the tensor that an entry of the header describes."""
    match entry:
        case {"dtype": str(kind), "shape": [*shape], "data_offsets": [int(begin), int(end)]} if _are_sizes(shape):
            pass
        case _:
            raise damaged(file, f"dtype, shape and data_offsets of {name}", value_words(entry))
    if kind not in _TYPES:
        raise ModelError(
            f"{file}: expected {name} in a type that torch has ({', '.join(_TYPES)}), found {kind}; {_SAVE_AGAIN}"
        )
    tensor = StoredTensor(name, file, start + begin, _TYPES[kind], tuple(shape))
    if begin < 0 or end - begin != tensor.nbytes:
        expected = f"{tensor.nbytes} bytes of {name}, {kind} of shape {shape_words(tensor.shape)}"
        raise damaged(file, expected, f"{begin} to {end}")
    return tensor


def _are_sizes(shape: Sequence[Any]) -> bool:
    return len(shape) <= _MOST_DIMENSIONS and all(type(size) is int and 0 <= size <= _LARGEST_SIZE for size in shape)


def _of_archive(file: Path) -> Iterator[StoredTensor]:
    """Yield the tensors of a file of `torch.save`: a zip archive with a pickle that refers to uncompressed members.

    Torch's own unpickler for weights reads it without the data: tensors are fakes that know the offset of their storage
    in the file.
    """
    _check_archive(file)
    try:
        with tensors_without_data():
            content = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    except failures() as error:
        raise ModelError(f"{file}: cannot be read ({reason(error)}); download the model again") from None
    if not isinstance(content, dict):
        raise ModelError(f"{file}: expected a dictionary of weights, found another object; {_SAVE_AGAIN}")
    for name, tensor in content.items():
        yield _in_archive(file, name, tensor)


def _in_archive(file: Path, name: Any, tensor: Any) -> StoredTensor:
    match tensor:
        case torch.Tensor() if tensor.layout is torch.strided and not tensor.is_quantized and isinstance(name, str):
            pass
        case _:
            raise ModelError(
                f"{file}: expected a dictionary of plain tensors by name, found another entry under {name!r}; "
                f"{_SAVE_AGAIN}"
            )
    begin = file_offset(tensor)
    if begin is None or not tensor.is_contiguous():
        found = "it at an unknown place" if begin is None else f"strides {shape_words(tensor.stride())}"
        raise ModelError(f"{file}: expected {name} contiguous in row-major order, found {found}; {_SAVE_AGAIN}")
    offset = begin + int(tensor.storage_offset()) * tensor.element_size()
    return StoredTensor(name, file, offset, tensor.dtype, tuple(tensor.shape))


def _check_archive(file: Path) -> None:
    """Refuse what cannot be read in place: torch's format before 1.6, compressed members, big-endian data."""
    expected = f"{file}: expected a complete, uncompressed archive of torch.save (torch 1.6 or newer)"
    try:
        archive_members(file)
    except OSError as error:
        raise ModelError(f"{file}: cannot be read ({os_error_words(error)}); check the disk and its mount") from None
    except UnfitArchiveError as error:
        raise ModelError(f"{expected}, found {error}; {_SAVE_AGAIN}") from None
    except (EOFError, ValueError, NotImplementedError, zipfile.BadZipFile, zipfile.LargeZipFile) as error:
        raise ModelError(f"{expected}, found another file ({error}); download it again, or {_SAVE_AGAIN}") from None
