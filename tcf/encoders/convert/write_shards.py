"""Writing a model's weights tensor by tensor, in safetensors files of a few gigabytes, so that it can be resumed.

Each file is published when it is complete, and beside it a mark with its checksum. Existing files were written by an
earlier attempt at the same conversion; those that are as their marks say are kept, the others are written again.
"""

import json
import logging
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import torch

from tcf.assets.weight_index import INDEX, SAFETENSORS
from tcf.common.errors import RunError
from tcf.common.files import publish_file, publishing_file
from tcf.common.manifest import sha256_file
from tcf.common.progress import Progress
from tcf.encoders.convert.file_ranges import ConcatenatedTensor

__all__ = ["SHARD", "WeightShard", "check_space", "in_shards", "mark_of", "write_shards"]

SHARD = 4 * 2**30  # maximum bytes of weights per file, unless a single tensor is larger
_NAMES = {torch.float16: "F16", torch.bfloat16: "BF16", torch.float32: "F32"}
_BLOCK = 2**24  # numbers in memory at once
_SPARE = 64 * 2**20  # bytes for everything besides weights: headers, tokenizer, index
_MIB = 2**20

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class WeightShard:
    """A weight file.

    Attributes:
        name: name of the file.
        weights: its weights, in order.
    """

    name: str
    weights: Mapping[str, ConcatenatedTensor]

    @property
    def nbytes(self) -> int:
        """Size of the weights in bytes."""
        return sum(pieces.nbytes for pieces in self.weights.values())


def in_shards(weights: Mapping[str, ConcatenatedTensor], largest: int) -> list[WeightShard]:
    """Distribute weights over files, keeping their order.

    Args:
        weights: all weights of a model.
        largest: maximum bytes per file, unless a single tensor is larger.
    """
    groups: list[dict[str, ConcatenatedTensor]] = [{}]
    size = 0
    for name, pieces in weights.items():
        if groups[-1] and size + pieces.nbytes > largest:
            groups.append({})
            size = 0
        groups[-1][name] = pieces
        size += pieces.nbytes
    if len(groups) == 1:
        return [WeightShard(SAFETENSORS, groups[0])]
    whole, n = Path(SAFETENSORS), len(groups)
    return [
        WeightShard(f"{whole.stem}-{place:05d}-of-{n:05d}{whole.suffix}", group)
        for place, group in enumerate(groups, start=1)
    ]


def write_shards(shards: Sequence[WeightShard], into: Path) -> None:
    """Write the missing weight files and the index into a folder.

    A few rows of one tensor are in memory at a time.

    Raises:
        ModelError: a source cannot be read.
        RunError: there is too little space.
        OSError: the folder cannot be written.
    """
    missing = [shard for shard in shards if not _is_whole(into, shard)]
    check_space(sum(shard.nbytes for shard in missing), into)
    total = sum(shard.nbytes for shard in shards)
    done = total - sum(shard.nbytes for shard in missing)
    with Progress("convert", total / _MIB, "MiB", done=done / _MIB) as progress:
        for shard in missing:
            with publishing_file(into / shard.name) as file, file.open("wb") as stream:
                _write(shard, stream, progress)
            publish_file(into / mark_of(shard), sha256_file(into / shard.name).encode())
    if len(shards) > 1:
        publish_file(into / f"{SAFETENSORS}{INDEX}", _index(shards))


def mark_of(shard: WeightShard) -> str:
    """Name of the file that holds the checksum of a weight file while a conversion is unfinished."""
    return f"{shard.name}.sha256"


def _is_whole(folder: Path, shard: WeightShard) -> bool:
    """Whether an earlier attempt has written a weight file that is as it was; a damaged one is counted as missing."""
    file, mark = folder / shard.name, folder / mark_of(shard)
    if not (file.is_file() and mark.is_file()):
        return False
    whole = mark.read_bytes() == sha256_file(file).encode()
    if not whole:
        logger.warning(f"{file}: changed since an earlier attempt wrote it; it is written again")
    return whole


def check_space(nbytes: int, place: Path) -> None:
    """Check that a disk has enough free space for weights.

    Args:
        nbytes: size of the weights still to be written.
        place: an existing folder on the disk.

    Raises:
        RunError: there is too little space.
    """
    needed, free = nbytes + _SPARE, shutil.disk_usage(place).free
    if free < needed:
        raise RunError(
            f"{place}: expected {needed / 2**30:.1f} GiB of free space for the weights still to be written, found "
            f"{free / 2**30:.1f} GiB; free space or choose another path"
        )


def _write(shard: WeightShard, stream: BinaryIO, progress: Progress) -> None:
    """Write a weight file: the length of the JSON header, the header, and the data."""
    stream.write(_header(shard))
    for name, pieces in shard.weights.items():
        for numbers in pieces.blocks(_BLOCK):
            stream.write(numbers.view(-1).view(torch.uint8).numpy().data)
            progress.advance(numbers.nbytes / _MIB, name)


def _header(shard: WeightShard) -> bytes:
    entries: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    start = 0
    for name, pieces in shard.weights.items():
        end = start + pieces.nbytes
        entries[name] = {"dtype": _NAMES[pieces.dtype], "shape": pieces.shape, "data_offsets": (start, end)}
        start = end
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _index(shards: Sequence[WeightShard]) -> bytes:
    content = {
        "metadata": {"total_size": sum(shard.nbytes for shard in shards)},
        "weight_map": {name: shard.name for shard in shards for name in shard.weights},
    }
    return (json.dumps(content, indent=2) + "\n").encode()
