"""What a checkpoint's index and headers say of it before any weight is read: its size and type. It may not be there."""

from collections import Counter
from pathlib import Path

import torch

from tcf.common.errors import ModelError
from tcf.encoders.folder.model_folder import ModelFolder
from tcf.encoders.folder.weight_files import read_json
from tcf.encoders.split.stored_tensors import stored_tensors

__all__ = ["checkpoint_bytes", "largest_file", "stored_type"]

# In order of preference, as they are loaded; each may also be cut into several, with an index.
_WEIGHTS = ("model.safetensors", "pytorch_model.bin")


def stored_type(folder: ModelFolder) -> torch.dtype:
    """The type of most bytes of the checkpoint, if it is there; else what the configuration says."""
    if _are_there(folder):
        sizes: Counter[torch.dtype] = Counter()
        for tensor in stored_tensors(folder.path):
            sizes[tensor.dtype] += tensor.nbytes
        return max(sizes, key=lambda dtype: sizes[dtype])
    named = folder.settings.get("dtype", folder.settings.get("torch_dtype"))
    found = getattr(torch, str(named), torch.float32)
    return found if isinstance(found, torch.dtype) else torch.float32


def _are_there(folder: ModelFolder) -> bool:
    """Whether all files of the checkpoint are."""
    files = _files(folder)
    return bool(files) and all(file.is_file() for file in files)


def checkpoint_bytes(folder: ModelFolder) -> int | None:
    """The size that the index states, else that of the files; None if neither is there."""
    index = _index(folder)
    metadata = None if index is None else read_json(index).get("metadata")
    total = metadata.get("total_size") if isinstance(metadata, dict) else None
    if isinstance(total, int) and total > 0:
        return total
    return sum(file.stat().st_size for file in _files(folder)) if _are_there(folder) else None


def largest_file(folder: ModelFolder) -> Path | None:
    """The largest file of a checkpoint; None where not all of it is there."""
    return max(_files(folder), key=lambda file: file.stat().st_size) if _are_there(folder) else None


def _files(folder: ModelFolder) -> list[Path]:
    """The files that hold the weights, or would hold them; none if that cannot be told yet."""
    index = _index(folder)
    if index is None:
        return [file for name in _WEIGHTS if (file := folder.path / name).is_file()][:1]
    weight_map = read_json(index).get("weight_map")
    if not isinstance(weight_map, dict):
        raise ModelError(f"{index}: expected weight_map, a mapping from weights to files; fetch the model anew")
    return [folder.path / str(name) for name in sorted(set(weight_map.values()))]


def _index(folder: ModelFolder) -> Path | None:
    """The list of the checkpoint's files, where it is of several."""
    for name in _WEIGHTS:
        if (folder.path / name).is_file():
            return None
        if (folder.path / f"{name}.index.json").is_file():
            return folder.path / f"{name}.index.json"
    return None
