"""The interface between training and data parallelism: one process per device, each with a share of every batch.

Batches are functions of seed, epoch and step, so every process knows the whole batch. It computes its share of the rows
and of the items; the vectors of all items are gathered, so that every target is scored against the candidates of all
devices. A loss is a sum over a process's targets divided by the number of targets of the whole batch, so losses and
gradients are summed.

Shapes: U items of a batch, P targets of a process, D width.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from tcf.train.batch.batch import Batch
from tcf.train.model.recommender import Recommender

__all__ = ["EpochTask", "Forward", "Group", "Parallel", "SingleProcess"]

Forward = Callable[[Batch, Tensor | None], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class EpochTask:
    """The next task that the first process announces.

    Attributes:
        epoch: counted from 1.
        step: its first step, counted from 0.
        refit: whether it is an epoch of the final refit, rather than of the run that chooses the number of epochs.
    """

    epoch: int
    step: int
    refit: bool = False


class Parallel(Protocol):
    """The processes that train one model together, from the perspective of one of them."""

    @property
    def rank_and_size(self) -> tuple[int, int]:
        """Rank of this process, counted from 0, and number of processes."""

    def announce(self, task: EpochTask) -> None:
        """Broadcast the next task from the first process; no effect in the others."""

    def prepare(self, model: Recommender, adamw: torch.optim.Optimizer) -> Forward:
        """Copy the state of model and optimiser from the first process.

        Args:
            model: the model to train.
            adamw: its optimiser, AdamW.

        Returns:
            The model's forward function for this process's share of a batch; it takes the cached vectors of the
            process's share of the items.
        """

    def backward(self, loss: Tensor) -> None:
        """Compute the gradient of the sum of all processes' losses."""

    def total(self, loss: Tensor) -> Tensor:
        """The sum of all processes' losses."""


class Group(Parallel, Protocol):
    """Several processes, from the perspective of one of them."""

    @property
    def device(self) -> torch.device:
        """Where this process computes."""

    @property
    def devices(self) -> str:
        """The devices of all processes, separated by commas."""

    def next_task(self) -> EpochTask | None:
        """Receive the next task in a process other than the first; None when the work is done."""


@dataclass(frozen=True)
class SingleProcess:
    """Training in a single process."""

    @property
    def rank_and_size(self) -> tuple[int, int]:
        """Rank 0 of 1 process."""
        return 0, 1

    def announce(self, task: EpochTask) -> None:
        """Do nothing: there is no other process."""

    def prepare(self, model: Recommender, adamw: torch.optim.Optimizer) -> Forward:
        """The model itself."""
        return model

    def backward(self, loss: Tensor) -> None:
        """Compute the gradient of the loss."""
        loss.backward()  # type: ignore[no-untyped-call]

    def total(self, loss: Tensor) -> Tensor:
        """The loss itself."""
        return loss.detach()
