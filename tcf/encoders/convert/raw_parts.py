"""Reading the names and places of raw weights from the headers of the files of each published format."""

import math
import tokenize
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tcf.common.errors import ModelError, os_error_words, shape_words
from tcf.encoders.convert.compare_ranks import check_shards_not_copied
from tcf.encoders.convert.file_ranges import FileRange, TensorInFiles, joined
from tcf.encoders.convert.recognise import CheckpointLayout
from tcf.encoders.convert.torch_pickles import read_torch_file

__all__ = ["RankTensors", "RawTensors", "read_raw_tensors"]

RankTensors = dict[str, TensorInFiles]
Shards = Sequence[tuple[Path, RankTensors, Mapping[str, Any]]]

_NUMPY_TYPES = {"<f2": torch.float16, "<f4": torch.float32}
_FETCH = "download it again"


@dataclass(frozen=True)
class RawTensors:
    """Tensors of raw weights.

    Attributes:
        ranks: the tensors of each model-parallel rank; a format without ranks has one.
        other_tensors: names of other tensors in the files, such as those of an optimizer.
    """

    ranks: tuple[RankTensors, ...]
    other_tensors: tuple[str, ...] = ()


def read_raw_tensors(layout: CheckpointLayout) -> RawTensors:
    """Return the tensors of raw weights by their names.

    Raises:
        ModelError: a file is damaged, has other content, or does not describe its flattened parameters.
    """
    if layout.kind == "numpy":
        return RawTensors(({file.name: _numpy_tensor(file) for file in layout.files},))
    contents = [[(file, read_torch_file(file)) for file in files] for files in layout.ranks]
    ranks = tuple(_rank(files) for files in contents)
    return RawTensors(
        ranks, tuple(dict.fromkeys(name for files in contents for _, it in files for name in _other_tensors(it)))
    )


def _state(content: Any, file: Path) -> RankTensors:
    """Return the tensors of a checkpoint: under `model` in metaseq's files, otherwise at the top level.

    huggingface/transformers 4.40.0, src/transformers/models/opt/convert_opt_original_pytorch_checkpoint_to_pytorch.py,
    lines 33-35.
    """
    state = content.get("model", content) if isinstance(content, dict) else None
    if not isinstance(state, dict) or not any(isinstance(value, TensorInFiles) for value in state.values()):
        raise ModelError(f"{file}: expected tensors by name, at the top level or under 'model', found none; {_FETCH}")
    return {str(name): value for name, value in state.items() if isinstance(value, TensorInFiles)}


def _merged(states: Sequence[tuple[Path, RankTensors]]) -> RankTensors:
    merged: RankTensors = {}
    for file, state in states:
        twice = sorted(merged.keys() & state.keys())
        if twice:
            raise ModelError(f"{file}: expected each tensor in one file, found {twice[0]} again; remove the other copy")
        merged.update(state)
    return merged


def _other_tensors(content: Any) -> Iterator[str]:
    """Yield the names of tensors outside the model, by their paths in the file."""
    if isinstance(content, dict) and "model" in content:
        yield from (name for key, value in content.items() if key != "model" for name in _names(value, str(key)))


def _names(value: Any, place: str) -> Iterator[str]:
    match value:
        case TensorInFiles():
            yield place
        case dict():
            yield from (name for key, entry in value.items() for name in _names(entry, f"{place}.{key}"))
        case list() | tuple():
            yield from (name for number, entry in enumerate(value) for name in _names(entry, f"{place}.{number}"))


def _rank(contents: Sequence[tuple[Path, Any]]) -> RankTensors:
    """Return the tensors of a model-parallel rank's files."""
    states = [(file, _state(content, file)) for file, content in contents]
    if not any("flat_param" in name for name in states[0][1]):
        return _merged(states)
    return _unflattened(
        [(file, state, _metadata(content, file)) for (file, state), (_, content) in zip(states, contents, strict=True)]
    )


def _metadata(content: Mapping[str, Any], file: Path) -> Mapping[str, Any]:
    """Return a file's description of its flattened parameters: `param_metadata` and `buffer_names`.

    The keys are those of facebookresearch/fairscale 0.4.13, fairscale/nn/data_parallel/fully_sharded_data_parallel.py,
    lines 2117-2158.
    """
    found = content.get("shard_metadata")
    if not isinstance(found, dict) or not found.get("param_metadata"):
        # metaseq at 13351b2, metaseq/scripts/reshard_mp.py, reshard_mp, drops them: state.pop("shard_metadata").
        raise ModelError(
            f"{file}: expected shard_metadata, which describes its flattened parameters, found none; pass the folder "
            "of the files that it was made from (checkpoint_last-model_part-N-shardM.pt), which have it, or use "
            "facebook/opt-... from Hugging Face, which has all sizes but 175b"
        )
    return found


def _unflattened(shards: Shards) -> RankTensors:
    """Return the tensors of flattened parameters that are spread over shards.

    Without the padding of each shard they are one vector, which is split in the order of the names: fairscale 0.4.13,
    fully_sharded_data_parallel.py, lines 2204-2226; shared parameters and buffers: lines 2228-2240.
    """
    found: RankTensors = {}
    used: set[str] = set()
    try:
        for number, owner in enumerate(shards[0][2]["param_metadata"]):
            for name, entry in owner["params"].items():
                used.add(_below(owner["fsdp_path"], name))
                whole = _whole(shards, number, name)
                found.update(_cut_up(whole, entry, owner["fsdp_path"], shards[0][0]))
        for owner in shards[0][2]["param_metadata"]:
            found.update({copy: found[original] for original, copy in owner.get("shared_param_info", ())})
    except (KeyError, TypeError, IndexError, AttributeError, ValueError):
        raise ModelError(
            f"{shards[0][0]}: expected shard_metadata as fairscale writes it, found another structure; {_FETCH}"
        ) from None
    return {**_buffers(shards, used), **found}


def _buffers(shards: Shards, used: set[str]) -> RankTensors:
    """Return the tensors that every shard has as a whole, from the first shard."""
    buffers = {name: tensor for name, tensor in shards[0][1].items() if name not in used}
    for file, state, _ in shards:
        for name in sorted(state.keys() - used):
            if "flat_param" in name or name not in buffers:
                raise ModelError(f"{file}: expected {name} in its shard_metadata, found no such entry; {_FETCH}")
    return buffers


def _whole(shards: Shards, number: int, name: str) -> TensorInFiles:
    """Return a flattened parameter, without padding, from all shards that have a range of it."""
    owner = shards[0][2]["param_metadata"][number]
    key = _below(owner["fsdp_path"], name)
    unpadded = []
    for file, state, metadata in shards[:1] if owner.get("no_broadcast_optim_state") else shards:
        if key not in state:
            raise ModelError(f"{file}: expected {key}, which its shard_metadata names, found none; {_FETCH}")
        padding = metadata["param_metadata"][number]["params"][name]["padding"]
        unpadded.append(state[key].cut(0, (state[key].count - padding,)))
    check_shards_not_copied(key, unpadded)
    return joined(unpadded)


def _cut_up(
    whole: TensorInFiles, entry: Mapping[str, Any], path: str, file: Path
) -> Iterator[tuple[str, TensorInFiles]]:
    shapes = [tuple(shape) for shape in entry["shapes"]]
    if [math.prod(shape) for shape in shapes] != list(entry["numels"]) or sum(entry["numels"]) != whole.count:
        raise ModelError(
            f"{file}: expected {sum(entry['numels'])} flattened numbers from {_below(path, entry['names'][0])}, found "
            f"{whole.count} in all shards; download the shards again"
        )
    start = 0
    for name, shape in zip(entry["names"], shapes, strict=True):
        yield _below(path, name), whole.cut(start, shape)
        start += math.prod(shape)


def _below(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _numpy_tensor(file: Path) -> TensorInFiles:
    """Return the tensor of a file of `numpy.save`, without unpickling objects.

    One file per tensor, with its name: alpa-projects/alpa at 7da1e69, examples/llm_serving/scripts/
    step_3_convert_to_numpy_weights.py, lines 11-17; FlexGen 0.1.8, flexgen/opt_config.py, lines 242-254.
    """
    try:
        with file.open("rb") as stream:
            version = np.lib.format.read_magic(stream)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, column_major, dtype = read(stream)
            start, size = stream.tell(), file.stat().st_size
    except OSError as error:
        raise ModelError(f"{file}: cannot be read ({os_error_words(error)}); fix it or download it again") from None
    except (ValueError, TypeError, SyntaxError, LookupError, RecursionError, MemoryError, tokenize.TokenError):
        raise ModelError(f"{file}: expected a file of numpy.save, found another format; {_FETCH}") from None
    if dtype.str not in _NUMPY_TYPES or column_major:
        order = "column-major" if column_major else "row-major"
        raise ModelError(
            f"{file}: expected float16 or float32 in row-major order, found {dtype.name} in {order} order; convert it"
        )
    if size - start != math.prod(shape) * dtype.itemsize:
        raise ModelError(
            f"{file}: expected {math.prod(shape) * dtype.itemsize} bytes of numbers for shape {shape_words(shape)}, "
            f"found {size - start}; {_FETCH}"
        )
    return TensorInFiles(_NUMPY_TYPES[dtype.str], tuple(shape), (FileRange(file, start, math.prod(shape)),))
