"""Named tensors in safetensors files, written atomically; and the parameters of a run's best epoch."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from tcf.common.errors import RunError, os_error_words
from tcf.common.files import publishing_file
from tcf.common.parsing import parse_json

__all__ = ["digest_of", "optimizer_tensors", "read_best", "read_error_words", "write_best", "write_tensors"]

_KEY = "tcf"


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write tensors, replacing an existing file.

    Args:
        path: the file.
        tensors: by name, on any device.
        metadata: entries of the file's header; with more than one, their order and so the file's bytes may vary.

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
            raise OSError(" ".join(str(error).split())) from error
        # The library makes its files readable by their owner only.
        staging.chmod(mode)


def optimizer_tensors(optimizer: torch.optim.Optimizer, model: nn.Module) -> dict[str, Tensor]:
    """An optimiser's state as `parameter.quantity`; parameters without a gradient so far have none."""
    return {
        f"{name}.{quantity}": value
        for name, parameter in model.named_parameters()
        for quantity, value in optimizer.state.get(parameter, {}).items()
    }


def digest_of(tensors: Mapping[str, Tensor]) -> str:
    """The sha256 of names, types, shapes and bytes."""
    whole = hashlib.sha256()
    for name, value in sorted(tensors.items()):
        whole.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        whole.update(value.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return whole.hexdigest()


def read_error_words(error: Exception) -> str:
    """Why a safetensors file cannot be read, in plain words."""
    return os_error_words(error) if isinstance(error, OSError) else "damaged, or not written by tcf"


def write_best(path: Path, model: nn.Module, epoch: int) -> None:
    """Write the learned parameters, replacing an earlier epoch's.

    Args:
        path: the file.
        model: the model after the epoch.
        epoch: counted from 1.
    """
    tensors = {name: value.detach().cpu() for name, value in model.state_dict().items()}
    about = {"epoch": epoch, "tensors": digest_of(tensors)}
    write_tensors(path, tensors, {_KEY: json.dumps(about)})


def read_best(path: Path, epoch: int) -> dict[str, Tensor]:
    """The parameters of the best epoch, by name.

    Args:
        path: the file.
        epoch: the best epoch.

    Raises:
        RunError: the file is missing or damaged, or holds another epoch's parameters.
    """
    try:
        with safetensors.safe_open(path, "pt") as file:
            about = parse_json((file.metadata() or {})[_KEY])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise _unusable(path, epoch, f"none that can be read ({read_error_words(error)})") from None
    if about != {"epoch": epoch, "tensors": digest_of(tensors)}:
        raise _unusable(path, epoch, "others")
    return tensors


def _unusable(path: Path, epoch: int, found: str) -> RunError:
    return RunError(
        f"{path}: expected the parameters of the best epoch so far, {epoch}, found {found}; remove "
        f"{path.with_name('state.safetensors')} to train from the beginning"
    )
