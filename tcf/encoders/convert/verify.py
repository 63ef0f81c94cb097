"""`tcf convert --verify`: checks checksums, tensors and finiteness of a converted model."""

import json
import math
from dataclasses import dataclass
from pathlib import Path

import torch

from tcf.common.errors import ModelError
from tcf.common.integrity.verified_files import verify_files
from tcf.common.manifest import read_manifest
from tcf.common.progress import Progress
from tcf.encoders.convert.convert import CONVERTED
from tcf.encoders.convert.file_ranges import FileRange, TensorInFiles
from tcf.encoders.convert.opt_geometry import check_tensors
from tcf.encoders.folder.weight_files import read_json, weight_files

__all__ = ["VerifiedConversion", "verify_converted"]

_TYPES = {"F16": torch.float16, "BF16": torch.bfloat16, "F32": torch.float32}
_CHUNK = 2**22  # numbers checked at once
_MIB = 2**20


@dataclass(frozen=True)
class VerifiedConversion:
    """Counts of a successful verification.

    Attributes:
        files: number of files with correct checksums.
        tensors: number of tensors.
        numbers: number of finite numbers in them.
    """

    files: int
    tensors: int
    numbers: int


def verify_converted(folder: Path) -> VerifiedConversion:
    """Check a folder made by `tcf convert`, with a few megabytes in memory at once.

    Raises:
        ModelError: a file has changed, a tensor is missing or of the wrong shape, or a number is not finite.
    """
    manifest = read_manifest(folder, CONVERTED)
    verify_files(folder, manifest, CONVERTED)
    tensors = {name: tensor for file in weight_files(folder) for name, tensor in _tensors(file).items()}
    settings = read_json(folder / "config.json")
    if settings.get("model_type") == "opt":
        check_tensors(folder, settings, {name.removeprefix("model."): tensor for name, tensor in tensors.items()})
    with Progress(
        "verify", sum(tensor.count * tensor.dtype.itemsize for tensor in tensors.values()) / _MIB, "MiB"
    ) as bar:
        for name, tensor in tensors.items():
            _check_finite(name, tensor)
            bar.advance(tensor.count * tensor.dtype.itemsize / _MIB, name)
    return VerifiedConversion(len(manifest.files), len(tensors), sum(tensor.count for tensor in tensors.values()))


def _tensors(file: Path) -> dict[str, TensorInFiles]:
    """Return the tensors of a safetensors file from its header."""
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        header = json.loads(stream.read(length))
    found = {}
    for name, entry in header.items():
        if name != "__metadata__":
            start, shape = 8 + length + entry["data_offsets"][0], tuple(entry["shape"])
            found[name] = TensorInFiles(_TYPES[entry["dtype"]], shape, (FileRange(file, start, math.prod(shape)),))
    return found


def _check_finite(name: str, tensor: TensorInFiles) -> None:
    wrong = 0
    for start in range(0, tensor.count, _CHUNK):
        numbers = tensor.cut(start, (min(_CHUNK, tensor.count - start),)).read()
        wrong += int(torch.count_nonzero(~torch.isfinite(numbers)))
    if wrong:
        raise ModelError(
            f"{tensor.files[0]}: expected finite numbers in {name}, found {wrong} of {tensor.count} that are not, as "
            "in the source; download the source and convert it again"
        )
