"""What training on several devices asks of the others: one process a device, each with its part of every batch.

Batches are functions of seed, epoch and step, so every process knows the whole batch. It reads its part of the rows and
of the items; the vectors of all items are gathered, so that every target meets the candidates of all devices. A loss is
a sum over the targets at hand divided by those of the whole batch, so losses and gradients are summed.

Shapes: U items of a batch, P targets at hand, D width.
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
    """What the first process lets the others do next.

    Attributes:
        epoch: counted from 1.
        step: the first step of it, counted from 0.
    """

    epoch: int
    step: int


class Parallel(Protocol):
    """The processes that train one model together, as one of them sees them."""

    @property
    def rank_and_size(self) -> tuple[int, int]:
        """Which process this is, counted from 0, and how many there are."""

    def announce(self, task: EpochTask) -> None:
        """Say, as the first process, what all do next; of no effect in the others."""

    def prepare(self, model: Recommender, adamw: torch.optim.Optimizer) -> Forward:
        """Bring model and optimiser to what they are in the first process.

        Args:
            model: what is trained.
            adamw: its optimiser, AdamW.

        Returns:
            The model's forward for a part of a batch. It takes the cached vectors of this process's share of the items.
        """

    def backward(self, loss: Tensor) -> None:
        """Leave the gradient of the sum of all processes' losses in the parameters."""

    def total(self, loss: Tensor) -> Tensor:
        """The sum of all processes' losses."""


class Group(Parallel, Protocol):
    """Several processes, as one of them sees them."""

    @property
    def device(self) -> torch.device:
        """Where this process computes."""

    @property
    def devices(self) -> str:
        """The devices of all processes, with commas between them."""

    def next_task(self) -> EpochTask | None:
        """Hear, as one of the others, what the first process lets all do next; None when all is done."""


@dataclass(frozen=True)
class SingleProcess:
    """One process."""

    @property
    def rank_and_size(self) -> tuple[int, int]:
        """The first of one."""
        return 0, 1

    def announce(self, task: EpochTask) -> None:
        """Nobody listens."""

    def prepare(self, model: Recommender, adamw: torch.optim.Optimizer) -> Forward:
        """The model as it is."""
        return model

    def backward(self, loss: Tensor) -> None:
        """The loss's own gradient."""
        loss.backward()  # type: ignore[no-untyped-call]

    def total(self, loss: Tensor) -> Tensor:
        """The loss itself."""
        return loss.detach()
