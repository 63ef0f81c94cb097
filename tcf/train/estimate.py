"""Estimates what a training would take, without training: parameters, memory, steps."""

import dataclasses
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from tcf.common.devices import resolve_devices
from tcf.common.units import as_bytes, as_time, counted
from tcf.config.train import TrainConfig
from tcf.data.dataset import Dataset
from tcf.data.split import held_out
from tcf.train.assemble import batch_rows, feed_of, training_data
from tcf.train.batch.batch import Batch
from tcf.train.batch.training_data import TrainingData
from tcf.train.inputs import Inputs
from tcf.train.loss.logistic_kernel import CHUNK_PAIRS
from tcf.train.loss.losses import build_loss
from tcf.train.loss.softmax_kernel import CHUNK_SCORES
from tcf.train.model.build import outline_model
from tcf.train.trial import Pace, StandInVectors, lacks_memory, run_trial
from tcf.train.vectors.item_vectors import ItemVectors

__all__ = ["Estimate", "estimate", "estimate_sizes"]

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
        pace: what a few steps took, which were tried; None if they were not.
        validation_users: users whose targets are ranked after each epoch; 0 for a refit.
        ranked_items: items that they are ranked among.
        untimed: why no steps were tried; empty if they were.
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
    pace: Pace | None = None
    validation_users: int = 0
    ranked_items: int = 0
    untimed: str = ""
    refit: "Estimate | None" = None

    @property
    def parameters(self) -> int:
        """Numbers learned."""
        return self.items_parameters + self.backbone_parameters

    @property
    def seconds_per_epoch(self) -> float | None:
        """Time of an epoch and its validation, on this machine as busy as it is; None if no steps were tried."""
        return None if self.pace is None else self.pace.epoch(self.steps, self.validation_users, self.ranked_items)

    @property
    def seconds(self) -> float | None:
        """Time of all epochs; less if the training stops early."""
        return None if self.seconds_per_epoch is None else self.epochs * self.seconds_per_epoch

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
            "seconds_per_epoch": self.seconds_per_epoch,
            "seconds_at_most": self.seconds,
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
            "time": self._time_in_words(),
            **({} if self.refit is None else {"refit": self.refit._as_second()}),
        }

    def _time_in_words(self) -> str:
        if self.seconds_per_epoch is None or self.seconds is None:
            return f"not known: {self.untimed}"
        each = as_time(self.seconds_per_epoch)
        return f"about {each} an epoch; {as_time(self.seconds)} for all {self.epochs:,}, less if it stops early"

    def _as_second(self) -> str:
        data = f"{counted(self.targets, 'target')} of {counted(self.users, 'user')}"
        return f"{data}, {counted(self.steps, 'step')} an epoch, as many epochs as were best"


def estimate(*, data: Path, caches: Sequence[Path] = (), config: TrainConfig) -> Estimate:
    """Estimate what a training would take; writes nothing.

    Of several devices, the estimate is for the first, as if it did all the work. The inputs are read and checked as for
    training, projections are fitted, the first batch is built, and a few steps are timed on a model that is thrown
    away, if there is memory for it.

    Args:
        data: a dataset directory.
        caches: cache directories for items as text, or the one that ids start from.
        config: settings.

    Raises:
        TcfError: as for training.
    """
    device, inputs = resolve_devices(config.devices)[0], Inputs.of_training(config, data, caches)
    first = dataclasses.replace(config, refit=False)
    training = training_data(inputs, first)
    vectors = inputs.training_vectors(first, inputs.fit(first, training.items, device), device)
    inputs.first_ids(first, training.items, device)  # for what it finds wrong
    sizes = estimate_sizes(inputs.dataset, training, vectors, first, device)
    untimed = lacks_memory(sizes.memory, device)
    pace = None if untimed else run_trial(inputs.dataset, training, vectors, first, device)
    found = dataclasses.replace(sizes, pace=pace, untimed=untimed)
    if not config.refit:
        return found
    again = _of_refit(inputs.as_trained_on(config), config, device)
    # Its steps are like those that were tried.
    return dataclasses.replace(found, refit=dataclasses.replace(again, pace=pace, untimed=untimed))


def _of_refit(inputs: Inputs, config: TrainConfig, device: torch.device) -> Estimate:
    training = training_data(inputs, config)
    vectors = inputs.training_vectors(config, inputs.fit(config, training.items, device), device)
    return estimate_sizes(inputs.dataset, training, vectors, config, device)


def estimate_sizes(
    dataset: Dataset, training: TrainingData, vectors: ItemVectors | None, config: TrainConfig, device: torch.device
) -> Estimate:
    """Estimate what a training would take but for time, from opened inputs.

    Args:
        dataset: the dataset as it is trained on.
        training: its training part.
        vectors: the items' vectors, or a stand-in for them; None for items as ids.
        config: settings.
        device: where it would run.

    Raises:
        TcfError: as for training.
    """
    model = outline_model(config, dataset.n_items, dataset.n_users, vectors)
    rows = batch_rows(config, training)
    feed = feed_of(config, rows, vectors, build_loss(config, training, rows, device), device)
    if isinstance(vectors, StandInVectors):
        feed = dataclasses.replace(feed, vectors=None)  # there is nothing to read ahead
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
        validation_users=0 if config.refit else _validation_users(dataset, config),
        ranked_items=dataset.n_items,
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


def _validation_users(dataset: Dataset, config: TrainConfig) -> int:
    return min(config.validation_users, len(held_out(dataset.split, "validation")))


def _count(part: Any) -> int:
    return sum(parameter.numel() for parameter in part.parameters())
