"""Checkpoints of OPT geometries with random weights, written tensor by tensor, so that they may be larger than memory.

The layout is that of an OPTForCausalLM saved by transformers: several safetensors files, their index, the configuration
and the tokenizer.
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
_FILE = 4 * 2**30  # approximate bytes of tensors per file
# Number of random values, which are then repeated. Odd, so that the rows of a matrix differ.
_DRAWN = 2**24 + 43
_TIED = "lm_head.weight"  # tied to the embeddings

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint of a geometry, whether it has been written or not.

    Attributes:
        folder: its folder.
        geometry: geometry of the model.
        dtype: type of all its weights.
    """

    folder: Path
    geometry: Geometry
    dtype: torch.dtype

    @cached_property
    def shapes(self) -> dict[str, Shape]:
        """Shapes of all saved weights, by name."""
        with torch.device("meta"):
            model = OPTForCausalLM(geometry_config(self.geometry, geometry_tokenizer()))
        return {name: tuple(weight.shape) for name, weight in model.state_dict().items() if name != _TIED}

    def nbytes(self, *, first_block: int = 0) -> int:
        """Bytes of all weights except those of the blocks before `first_block`."""
        before = tuple(f"model.decoder.layers.{number}." for number in range(first_block))
        return sum(
            math.prod(shape) * self.dtype.itemsize
            for name, shape in self.shapes.items()
            if not (before and name.startswith(before))
        )

    @property
    def files(self) -> dict[Path, dict[str, Shape]]:
        """The files, with the names and shapes of the weights in each."""
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
        """The content of its `config.json`."""
        config = geometry_config(self.geometry, geometry_tokenizer())
        config.dtype = self.dtype
        return str(config.to_json_string())

    @property
    def is_there(self) -> bool:
        """Whether it is complete; the configuration is written last."""
        config = self.folder / "config.json"
        if not config.is_file() or config.read_text(encoding="utf-8") != self.settings:
            return False
        sizes = {
            file: len(_header(shapes, self.dtype)) + _size(shapes, self.dtype) for file, shapes in self.files.items()
        }
        return all(file.is_file() and file.stat().st_size == size for file, size in sizes.items())


def check_space(folder: Path, needed: int) -> None:
    """Exit if a folder's disk has fewer free bytes than needed."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        sys.exit(
            f"{folder}: expected {needed / 1e9:.1f} GB of free disk space, found {free / 1e9:.1f}; free some, or name "
            "a folder on another disk"
        )


def write_checkpoint(checkpoint: Checkpoint) -> None:
    """Write a checkpoint, unless it is already complete; exits if there is no disk space for it."""
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
    """The header of a safetensors file: its length, then JSON."""
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
    """Normally distributed numbers as bytes, repeated; small enough that a model's states stay finite."""

    def __init__(self, dtype: torch.dtype, width: int) -> None:
        drawn = torch.randn(_DRAWN, generator=torch.Generator().manual_seed(0)) / math.sqrt(width)
        self._drawn, self._ones = _as_bytes(drawn.to(dtype)), _as_bytes(torch.ones(2**16, dtype=dtype))
        self._itemsize, self._next = dtype.itemsize, 0

    def take(self, n: int, *, ones: bool) -> Iterator[memoryview]:
        """Yield the bytes of `n` numbers in pieces; with `ones`, every number is one."""
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
