"""The state of an unfinished training: everything needed to resume as if it had never been interrupted.

Batches, draws, dropout and learning rate are functions of seed, epoch and step, so the state consists of parameters,
the optimiser's moments, the finished epochs and the position in the current epoch.
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
from tcf.common.parsing import parse_json
from tcf.train.loss_meter import LossMeter
from tcf.train.run.epoch_log import Epoch
from tcf.train.run.tensor_files import digest_of, optimizer_tensors, read_error_words, write_tensors
from tcf.train.trainer import Trainer

__all__ = ["ResumePoint", "read_state", "write_state"]

_VERSION = 1
_KEY = "tcf"
_MODEL, _OPTIMIZER = "model.", "optimizer."


@dataclass(frozen=True)
class ResumePoint:
    """The position of a training.

    Attributes:
        epochs: results of the finished epochs.
        meter: the position in the next epoch; None at its beginning.
    """

    epochs: tuple[Epoch, ...] = ()
    meter: LossMeter | None = None


def write_state(path: Path, trainer: Trainer, resume_point: ResumePoint, identity: str) -> None:
    """Save a training's state, replacing an earlier one.

    Args:
        path: the file.
        trainer: holds the current model and optimiser.
        resume_point: the finished epochs and the position in the next one.
        identity: digest of everything that the run depends on.
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
    """Restore a trainer from a saved state; returns the position to resume from.

    Args:
        path: the file.
        trainer: a new trainer with the same model and optimiser as the saved one.
        identity: digest of everything that the run depends on.

    Raises:
        RunError: the file is damaged, or was saved by a training with other settings or inputs.
    """
    about, tensors = _read(path)
    if about.get("version") != _VERSION or about.get("identity") != identity:
        raise _unusable(path, "expected the state of this run, found another's: its inputs or tcf have changed")
    if about.get("tensors") != digest_of(tensors):
        raise _unusable(path, "expected the numbers that were saved, found others")
    _check_fits(path, tensors, trainer)
    _apply(tensors, trainer)
    try:
        measured = not trainer.config.refit
        epochs = tuple(Epoch.from_state(epoch, measured=measured) for epoch in about["epochs"])
        place = about["pass"]
        meter = None if place is None else LossMeter(len(epochs) + 1, trainer.config.learning_rate, **place)
    except (KeyError, TypeError) as error:
        raise _unusable(path, f"unreadable ({read_error_words(error)})") from None
    return ResumePoint(epochs, meter)


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    try:
        with safetensors.safe_open(path, "pt") as file:
            about = parse_json((file.metadata() or {})[_KEY])
            return about, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise _unusable(path, f"unreadable ({read_error_words(error)})") from None


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
    """Refuse tensors of another model, or with names of another version of tcf."""
    expected = {_MODEL + name: value.shape for name, value in trainer.model.state_dict().items()}
    moments = {name for name in tensors if name.startswith(_OPTIMIZER)}
    found = {name: value.shape for name, value in tensors.items() if name not in moments}
    owners = {name.removeprefix(_OPTIMIZER).rpartition(".")[0] for name in moments}
    if found != expected or not owners <= dict(trainer.model.named_parameters()).keys():
        raise _unusable(path, "expected the tensors of this run's model, found others")


def _place(meter: LossMeter) -> dict[str, int | float]:
    return {"total": meter.total, "targets": meter.targets, "steps": meter.steps}


def _unusable(path: Path, what: str) -> RunError:
    return RunError(f"{path}: {what}; training cannot resume from it: remove it to train from the beginning")
