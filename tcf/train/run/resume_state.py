"""The state of an unfinished training: all that is needed to go on as if nothing had happened.

Batches, draws, dropout and learning rate follow from seed, epoch and step, so what is saved are parameters, the
optimiser's moments, the epochs that are done and the place in the epoch in hand.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
from safetensors import SafetensorError
from torch import Tensor

from tcf.common.errors import RunError
from tcf.train.loss_meter import LossMeter
from tcf.train.run.epoch_log import Epoch
from tcf.train.run.tensor_files import digest_of, optimizer_tensors, write_tensors
from tcf.train.trainer import Trainer

__all__ = ["ResumePoint", "read_state", "write_state"]

_VERSION = 1
_KEY = "tcf"
_MODEL, _OPTIMIZER = "model.", "optimizer."


@dataclass(frozen=True)
class ResumePoint:
    """Where a training stands.

    Attributes:
        epochs: what the epochs that are done came to.
        meter: the place in the next one; None at its beginning.
    """

    epochs: tuple[Epoch, ...] = ()
    meter: LossMeter | None = None


def write_state(path: Path, trainer: Trainer, resume_point: ResumePoint, identity: str) -> None:
    """Save where a training stands, in place of what was saved before.

    Args:
        path: the file.
        trainer: the model and the optimiser as they are now.
        resume_point: the epochs done and the place in the next one.
        identity: digest of all that decides the run.
    """
    if resume_point.meter is not None:
        resume_point.meter.look()
    tensors = _tensors(trainer)
    about = {
        "version": _VERSION,
        "identity": identity,
        "epochs": [epoch.as_state() for epoch in resume_point.epochs],
        "pass": None if resume_point.meter is None else _place(resume_point.meter),
        "tensors": digest_of(tensors),
    }
    write_tensors(path, tensors, {_KEY: json.dumps(about, allow_nan=False)})


def read_state(path: Path, trainer: Trainer, identity: str) -> ResumePoint:
    """Bring a trainer to where a training stood, and say where that is.

    Args:
        path: the file.
        trainer: the same model and optimiser as were saved, new.
        identity: digest of all that decides the run.

    Raises:
        RunError: the file is damaged, or was saved by a training of other settings or inputs.
    """
    about, tensors = _read(path)
    if about.get("version") != _VERSION or about.get("identity") != identity:
        raise _unfit(path, "expected the state of this very run, found another's: its inputs or tcf have changed")
    if about.get("tensors") != digest_of(tensors):
        raise _unfit(path, "its numbers are not those that were written")
    _check_fits(path, tensors, trainer)
    _apply(tensors, trainer)
    try:
        epochs, place = tuple(Epoch.from_state(epoch) for epoch in about["epochs"]), about["pass"]
        meter = None if place is None else LossMeter(len(epochs) + 1, trainer.config.learning_rate, **place)
    except (KeyError, TypeError) as error:
        raise _unfit(path, f"unreadable ({error!r})") from None
    return ResumePoint(epochs, meter)


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    try:
        with safetensors.safe_open(path, "pt") as file:
            about = json.loads((file.metadata() or {})[_KEY])
            return about, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise _unfit(path, f"unreadable ({error})") from None


def _tensors(trainer: Trainer) -> dict[str, Tensor]:
    model = {_MODEL + name: value.detach().cpu() for name, value in trainer.model.state_dict().items()}
    moments = optimizer_tensors(trainer.optimizer.adamw, trainer.model)
    return model | {_OPTIMIZER + name: value.detach().cpu() for name, value in moments.items()}


def _apply(tensors: Mapping[str, Tensor], trainer: Trainer) -> None:
    trainer.model.load_state_dict({n.removeprefix(_MODEL): v for n, v in tensors.items() if n.startswith(_MODEL)})
    parameters = dict(trainer.model.named_parameters())
    for name, value in tensors.items():
        if name.startswith(_OPTIMIZER):
            owner, _, quantity = name.removeprefix(_OPTIMIZER).rpartition(".")
            state = trainer.optimizer.adamw.state[parameters[owner]]
            state[quantity] = value.to(parameters[owner].device)


def _check_fits(path: Path, tensors: Mapping[str, Tensor], trainer: Trainer) -> None:
    """Refuse what another version of tcf may have called otherwise."""
    expected = {_MODEL + name: value.shape for name, value in trainer.model.state_dict().items()}
    moments = {name for name in tensors if name.startswith(_OPTIMIZER)}
    found = {name: value.shape for name, value in tensors.items() if name not in moments}
    owners = {name.removeprefix(_OPTIMIZER).rpartition(".")[0] for name in moments}
    if found != expected or not owners <= dict(trainer.model.named_parameters()).keys():
        raise _unfit(path, "expected the tensors of this run's model, found others")


def _place(meter: LossMeter) -> dict[str, int | float]:
    return {"total": meter.total, "targets": meter.targets, "steps": meter.steps}


def _unfit(path: Path, what: str) -> RunError:
    return RunError(f"{path}: {what}; training cannot go on from it: remove it to train from the beginning")
