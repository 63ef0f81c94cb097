"""The parameters of a run's best epoch, with what tells which that is and that they are whole."""

import json
from pathlib import Path

import safetensors
from safetensors import SafetensorError
from torch import Tensor, nn

from tcf.common.errors import RunError
from tcf.train.run.tensor_file import digest_of, write_tensors

__all__ = ["read_best", "write_best"]

_KEY = "tcf"


def write_best(path: Path, model: nn.Module, epoch: int) -> None:
    """Write the learned parameters, in place of an earlier epoch's.

    Args:
        path: the file.
        model: as it is after the epoch.
        epoch: counted from 1.
    """
    tensors = {name: value.detach().cpu() for name, value in model.state_dict().items()}
    about = {"epoch": epoch, "tensors": digest_of(tensors)}
    write_tensors(path, tensors, {_KEY: json.dumps(about)})


def read_best(path: Path, epoch: int) -> dict[str, Tensor]:
    """The parameters of the best epoch, by name.

    Args:
        path: the file.
        epoch: the best one.

    Raises:
        RunError: the file is missing or damaged, or holds another epoch's parameters.
    """
    try:
        with safetensors.safe_open(path, "pt") as file:
            about = json.loads((file.metadata() or {})[_KEY])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise _unfit(path, epoch, f"none that can be read ({error})") from None
    if about != {"epoch": epoch, "tensors": digest_of(tensors)}:
        raise _unfit(path, epoch, "others")
    return tensors


def _unfit(path: Path, epoch: int, found: str) -> RunError:
    return RunError(
        f"{path}: expected the parameters of the best epoch so far, {epoch}, found {found}; remove "
        f"{path.with_name('state.safetensors')} to train from the beginning"
    )
