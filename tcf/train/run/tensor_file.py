"""Tensors by name in a safetensors file, written whole or not at all."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from tcf.common.files import publishing_file

__all__ = ["digest_of", "optimizer_tensors", "write_tensors"]


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write tensors, in place of what was there.

    Args:
        path: the file.
        tensors: by name, on any device.
        metadata: texts for the file's header; with more than one, the bytes differ from file to file.

    Raises:
        RunError: the file cannot be written.
    """
    on_cpu = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with publishing_file(path) as staging:
        staging.touch()
        mode = staging.stat().st_mode
        try:
            safetensors.torch.save_file(on_cpu, staging, metadata=None if metadata is None else dict(metadata))
        except SafetensorError as error:
            raise OSError(str(error)) from error
        # The library lets nobody but the owner read what it writes.
        staging.chmod(mode)


def optimizer_tensors(optimizer: torch.optim.Optimizer, model: nn.Module) -> dict[str, Tensor]:
    """An optimiser's state as `parameter.quantity`; what has had no gradient yet has none."""
    return {
        f"{name}.{quantity}": value
        for name, parameter in model.named_parameters()
        for quantity, value in optimizer.state.get(parameter, {}).items()
    }


def digest_of(tensors: Mapping[str, Tensor]) -> str:
    """Sha256 of names, types, shapes and bytes."""
    whole = hashlib.sha256()
    for name, value in sorted(tensors.items()):
        whole.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        whole.update(value.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return whole.hexdigest()
