"""Size and type of a checkpoint, from its index and headers alone; the checkpoint may be missing."""

from collections import Counter
from pathlib import Path

import torch

from tcf.assets.weight_index import INDEX
from tcf.encoders.folder.model_folder import ModelFolder
from tcf.encoders.folder.weight_files import indexed_files, read_json_object, weights_or_index
from tcf.encoders.quantised.method import quantisation_of
from tcf.encoders.split.stored_tensors import stored_tensors

__all__ = ["checkpoint_bytes", "largest_file", "stored_type"]


def stored_type(folder: ModelFolder) -> torch.dtype:
    """The type of most bytes of the checkpoint if it exists, else the type named by the configuration."""
    # Quantised weights become numbers of the named type.
    if _is_complete(folder) and quantisation_of(folder.path, folder.settings) is None:
        sizes: Counter[torch.dtype] = Counter()
        for tensor in stored_tensors(folder.path):
            sizes[tensor.dtype] += tensor.nbytes
        return max(sizes, key=lambda dtype: sizes[dtype])
    named = folder.settings.get("dtype", folder.settings.get("torch_dtype"))
    found = getattr(torch, str(named), torch.float32)
    return found if isinstance(found, torch.dtype) else torch.float32


def _is_complete(folder: ModelFolder) -> bool:
    """Whether all files of the checkpoint exist."""
    files = _files(folder)
    return bool(files) and all(file.is_file() for file in files)


def checkpoint_bytes(folder: ModelFolder) -> int | None:
    """The size stated by the index, else that of the files, in bytes; None if neither exists."""
    index = _index(folder)
    metadata = None if index is None else read_json_object(index).get("metadata")
    total = metadata.get("total_size") if isinstance(metadata, dict) else None
    if isinstance(total, int) and total > 0:
        return total
    return sum(file.stat().st_size for file in _files(folder)) if _is_complete(folder) else None


def largest_file(folder: ModelFolder) -> Path | None:
    """The largest file of a checkpoint; None if the checkpoint is incomplete."""
    return max(_files(folder), key=lambda file: file.stat().st_size) if _is_complete(folder) else None


def _files(folder: ModelFolder) -> list[Path]:
    """The files that hold, or would hold, the weights; empty if they are not known yet."""
    index = _index(folder)
    if index is not None:
        return indexed_files(index)
    found = weights_or_index(folder.path)
    return [] if found is None else [found]


def _index(folder: ModelFolder) -> Path | None:
    """The index of a checkpoint that is split into several files."""
    found = weights_or_index(folder.path)
    return found if found is not None and found.name.endswith(INDEX) else None
