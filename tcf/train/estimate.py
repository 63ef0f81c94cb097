"""Estimates what a training would take, without training: parameters, memory, steps."""

import dataclasses
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from tcf.common.devices import resolve_devices
from tcf.common.units import as_bytes, counted
from tcf.config.train import TrainConfig
from tcf.train.assemble import batch_rows, feed_of, training_data
from tcf.train.batch.batch import Batch
from tcf.train.inputs import Inputs
from tcf.train.loss.logistic_kernel import CHUNK_PAIRS
from tcf.train.loss.losses import build_loss
from tcf.train.loss.softmax_kernel import CHUNK_SCORES
from tcf.train.model.build import outline_model
from tcf.train.vectors.item_vectors import ItemVectors

__all__ = ["Estimate", "estimate"]

_FLOAT32 = 4
_INT64, _PAIR = 8, 48
_MOMENTS = 2  # that AdamW keeps for each parameter


@dataclass(frozen=True)
class Estimate:
    """The resources of a training.

    Attributes:
        device: where it would run.
        users: number of users with a target.
        users_left_out: number of users without a target.
        rows: rows per epoch: windows of users' histories, or pairs of a user and an item.
        targets: targets per epoch.
        steps: steps per epoch.
        epochs: maximum number of epochs.
        items_parameters: number of parameters of the item tower.
        backbone_parameters: number of parameters of the backbone.
        batch_targets: targets of the first batch.
        batch_items: distinct items of the first batch, including drawn ones.
        memory: bytes by purpose.
        refit: the training on training and validation items that follows; None without one.
    """

    device: str
    users: int
    users_left_out: int
    rows: int
    targets: int
    steps: int
    epochs: int
    items_parameters: int
    backbone_parameters: int
    batch_targets: int
    batch_items: int
    memory: dict[str, int]
    refit: "Estimate | None" = None

    @property
    def parameters(self) -> int:
        """Numbers learned."""
        return self.items_parameters + self.backbone_parameters

    def as_json(self) -> dict[str, Any]:
        """The same as JSON values."""
        return {
            "device": self.device,
            "users": self.users,
            "users_left_out": self.users_left_out,
            "rows": self.rows,
            "targets": self.targets,
            "steps_per_epoch": self.steps,
            "epochs": self.epochs,
            "first_batch": {"targets": self.batch_targets, "items": self.batch_items},
            "parameters": self.parameters,
            "item_tower_parameters": self.items_parameters,
            "backbone_parameters": self.backbone_parameters,
            "memory_bytes": dict(self.memory),
            **({} if self.refit is None else {"refit": self.refit.as_json()}),
        }

    def for_people(self) -> dict[str, Any]:
        """The same by names to print."""
        parts = f"item tower {self.items_parameters:,}, backbone {self.backbone_parameters:,}"
        memory = {name: as_bytes(size) for name, size in self.memory.items() if size}
        return {
            "device": self.device,
            "users": self.users,
            "users_left_out": self.users_left_out,
            "rows": self.rows,
            "targets": self.targets,
            "steps": f"{self.steps:,} an epoch, {self.epochs:,} epochs at most",
            "first_batch": f"{self.batch_targets:,} targets, {self.batch_items:,} distinct items",
            "parameters": f"{self.parameters:,} ({parts})",
            "memory": {**memory, "total": f"{as_bytes(sum(self.memory.values()))}, plus activations"},
            **({} if self.refit is None else {"refit": self.refit._as_second()}),
        }

    def _as_second(self) -> str:
        data = f"{counted(self.targets, 'target')} of {counted(self.users, 'user')}"
        return f"{data}, {counted(self.steps, 'step')} an epoch, as many epochs as were best"


def estimate(*, data: Path, caches: Sequence[Path] = (), config: TrainConfig) -> Estimate:
    """Estimate what a training would take; trains and writes nothing.

    Of several devices, the estimate is for the first. The inputs are read and checked as for training, projections are
    fitted, and the first batch is built.

    Args:
        data: a dataset directory.
        caches: cache directories for items as text.
        config: settings.

    Raises:
        TcfError: as for training.
    """
    device, inputs = resolve_devices(config.devices)[0], Inputs.open(config.items, data, caches)
    first = _estimate(inputs, dataclasses.replace(config, refit=False), device)
    return dataclasses.replace(first, refit=_estimate(inputs, config, device)) if config.refit else first


def _estimate(opened: Inputs, config: TrainConfig, device: torch.device) -> Estimate:
    """Estimate one of the trainings of a refit, or the only one."""
    inputs = opened.as_trained_on(config)
    training = training_data(inputs, config)
    vectors = inputs.training_vectors(config, inputs.fit(config, training.items, device), device)
    model = outline_model(config, inputs.dataset.n_items, inputs.dataset.n_users, vectors)
    rows = batch_rows(config, training)
    feed = feed_of(config, rows, vectors, build_loss(config, training, rows, device), device)
    with closing(feed.epoch(1)) as batches:
        batch = next(batches).batch
    return Estimate(
        device=str(device),
        users=len(training.users),
        users_left_out=training.left_out,
        rows=len(feed.rows),
        targets=feed.rows.n_targets,
        steps=feed.steps,
        epochs=config.epochs,
        items_parameters=_count(model.items),
        backbone_parameters=_count(model.backbone),
        batch_targets=batch.n_targets,
        batch_items=len(batch.items_U),
        memory=_memory(_count(model), vectors, batch),
    )


def _memory(parameters: int, vectors: ItemVectors | None, batch: Batch) -> dict[str, int]:
    learned = parameters * _FLOAT32
    if batch.drawn.ndim == 2:
        # Only items drawn for each target are scored with it; their positions are int64 and held twice.
        pairs = batch.n_targets * (1 + batch.drawn.shape[1])
        scores = _PAIR * min(CHUNK_PAIRS, pairs) + 2 * _INT64 * pairs
    else:
        scores = _FLOAT32 * min(CHUNK_SCORES, batch.n_targets * len(batch.items_U))
    return {
        "parameters": learned,
        "gradients": learned,
        "optimiser": _MOMENTS * learned,
        "vectors": vectors.size if vectors is not None and vectors.on_device else 0,
        "scores": scores,
    }


def _count(part: Any) -> int:
    return sum(parameter.numel() for parameter in part.parameters())
