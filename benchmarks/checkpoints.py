"""Checkpoints of OPT geometries with random weights, written tensor by tensor: they may be larger than the memory.

They look as transformers saves an OPTForCausalLM: several safetensors files, their index, configuration and tokenizer.
"""

import json
import math
import shutil
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from geometries import Geometry, geometry_config, geometry_tokenizer
from transformers import OPTForCausalLM

__all__ = ["Checkpoint", "check_space", "write_checkpoint"]

_TYPES = {torch.float32: "F32", torch.bfloat16: "BF16", torch.float16: "F16"}
_FILE = 4 * 2**30  # bytes of tensors in a file, about
# Numbers that are drawn; then they come again. Odd, so that the rows of a matrix differ.
_DRAWN = 2**24 + 43
_TIED = "lm_head.weight"  # the embeddings once more

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint of a geometry has to be.

    Attributes:
        folder: where it is.
        geometry: of the model.
        dtype: type of all its weights.
    """

    folder: Path
    geometry: Geometry
    dtype: torch.dtype

    @cached_property
    def shapes(self) -> dict[str, Shape]:
        """Of all weights that are saved, by name."""
        with torch.device("meta"):
            model = OPTForCausalLM(geometry_config(self.geometry, geometry_tokenizer()))
        return {name: tuple(weight.shape) for name, weight in model.state_dict().items() if name != _TIED}

    def nbytes(self, *, first_block: int = 0) -> int:
        """Bytes of all weights but those of the blocks before one."""
        before = tuple(f"model.decoder.layers.{number}." for number in range(first_block))
        return sum(
            math.prod(shape) * self.dtype.itemsize
            for name, shape in self.shapes.items()
            if not (before and name.startswith(before))
        )

    @property
    def files(self) -> dict[Path, dict[str, Shape]]:
        """The files, and what is in each."""
        parts: list[dict[str, Shape]] = [{}]
        filled = 0
        for name, shape in self.shapes.items():
            size = math.prod(shape) * self.dtype.itemsize
            if filled and filled + size > _FILE:
                parts.append({})
                filled = 0
            parts[-1][name] = shape
            filled += size
        n = len(parts)
        return {self.folder / f"model-{i:05}-of-{n:05}.safetensors": part for i, part in enumerate(parts, start=1)}

    @cached_property
    def settings(self) -> str:
        """Its `config.json`."""
        config = geometry_config(self.geometry, geometry_tokenizer())
        config.dtype = self.dtype
        return str(config.to_json_string())

    @property
    def is_there(self) -> bool:
        """Whether it was written to its end; its configuration was written last."""
        config = self.folder / "config.json"
        if not config.is_file() or config.read_text(encoding="utf-8") != self.settings:
            return False
        sizes = {
            file: len(_header(shapes, self.dtype)) + _size(shapes, self.dtype) for file, shapes in self.files.items()
        }
        return all(file.is_file() and file.stat().st_size == size for file, size in sizes.items())


def check_space(folder: Path, needed: int) -> None:
    """End this program if a folder's disk has not so many bytes left."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        sys.exit(
            f"{folder}: expected {needed / 1e9:.1f} GB of free disk space, found {free / 1e9:.1f}; free some, or name "
            "a folder on another disk"
        )


def write_checkpoint(checkpoint: Checkpoint) -> None:
    """Write a checkpoint, unless it is there; ends this program if there is no room for it."""
    folder = checkpoint.folder
    if checkpoint.is_there:
        return
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    check_space(folder, checkpoint.nbytes())
    files, numbers = checkpoint.files, _Numbers(checkpoint.dtype, checkpoint.geometry.width)
    for file, shapes in files.items():
        print(f"writing {file}", file=sys.stderr)
        _write(file, shapes, checkpoint.dtype, numbers)
    places = {name: file.name for file, shapes in files.items() for name in shapes}
    index = {"metadata": {"total_size": checkpoint.nbytes()}, "weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2), encoding="utf-8")
    geometry_tokenizer().save_pretrained(folder)
    (folder / "config.json").write_text(checkpoint.settings, encoding="utf-8")


def _write(file: Path, shapes: Mapping[str, Shape], dtype: torch.dtype, numbers: "_Numbers") -> None:
    with file.open("wb") as stream:
        stream.write(_header(shapes, dtype))
        for name, shape in shapes.items():
            for piece in numbers.take(math.prod(shape), ones=name.endswith("layer_norm.weight")):
                stream.write(piece)


def _header(shapes: Mapping[str, Shape], dtype: torch.dtype) -> bytes:
    """The beginning of a safetensors file: its length, then JSON."""
    entries: dict[str, object] = {"__metadata__": {"format": "pt"}}
    begin = 0
    for name, shape in shapes.items():
        end = begin + math.prod(shape) * dtype.itemsize
        entries[name] = {"dtype": _TYPES[dtype], "shape": list(shape), "data_offsets": [begin, end]}
        begin = end
    text = json.dumps(entries).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _size(shapes: Mapping[str, Shape], dtype: torch.dtype) -> int:
    return sum(math.prod(shape) for shape in shapes.values()) * dtype.itemsize


class _Numbers:
    """Normal numbers as bytes, over and over: small enough that a model's states stay finite."""

    def __init__(self, dtype: torch.dtype, width: int) -> None:
        drawn = torch.randn(_DRAWN, generator=torch.Generator().manual_seed(0)) / math.sqrt(width)
        self._drawn, self._ones = _as_bytes(drawn.to(dtype)), _as_bytes(torch.ones(2**16, dtype=dtype))
        self._itemsize, self._next = dtype.itemsize, 0

    def take(self, n: int, *, ones: bool) -> Iterator[memoryview]:
        """The bytes of `n` numbers, in pieces; all of them one if asked for."""
        source = self._ones if ones else self._drawn
        start, left = (0 if ones else self._next), n * self._itemsize
        while left:
            piece = source[start : start + left]
            yield piece.data
            left -= len(piece)
            start = (start + len(piece)) % len(source)
        if not ones:
            self._next = start


def _as_bytes(numbers: torch.Tensor) -> npt.NDArray[np.uint8]:
    return numbers.view(torch.uint8).numpy()
