"""One epoch of training."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from tcf.config import TrainConfig
from tcf.errors import RunError
from tcf.progress import Progress
from tcf.train.batches import Batch, TrainingData, batches, user_order
from tcf.train.losses import in_batch_softmax
from tcf.train.model import Recommender

__all__ = ["Pass", "Trainer"]

_STEPS_BETWEEN_CHECKS = 32


@dataclass(frozen=True)
class Pass:
    """What one pass over the training data came to.

    Attributes:
        loss: mean over the targets.
        targets: how many there were.
        seconds: how long it took.
    """

    loss: float
    targets: int
    seconds: float


class Trainer:
    """A model with its optimiser and its data.

    AdamW decays every parameter, norms, biases and embeddings too, as the study did.

    Args:
        model: what to train, on its device.
        data: the training part of a dataset.
        config: learning rate, decay, batch size, seed.
        device: the model's device.
    """

    def __init__(self, model: Recommender, data: TrainingData, config: TrainConfig, device: torch.device) -> None:
        self.model, self.data, self.config, self.device = model, data, config, device
        self.optimizer = torch.optim.AdamW(
            model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, fused=True
        )
        self._log_popularity_N = torch.from_numpy(data.log_popularity).to(device)

    def run_epoch(self, epoch: int) -> Pass:
        """Train on every user once.

        Args:
            epoch: counted from 1; decides the order of users.

        Raises:
            RunError: the loss is not finite.
        """
        began = time.perf_counter()
        order = user_order(len(self.data.sequences), self.config.seed, epoch)
        meter = _Meter(epoch, self.config.learning_rate)
        self.model.train()
        with _progress(epoch, len(order)) as progress:
            for batch in batches(self.data, order, self.config.batch_users, self.device):
                meter.add(self.step(batch), len(batch.targets_P))
                if progress is not None:
                    progress.advance(batch.layout.users)
        loss = meter.mean()
        return Pass(loss, meter.targets, time.perf_counter() - began)

    def step(self, batch: Batch) -> Tensor:
        """Train on one batch; returns its loss, a scalar on the device."""
        self.optimizer.zero_grad(set_to_none=True)
        states_PD, vectors_UD = self.model(batch)
        loss = in_batch_softmax(states_PD, vectors_UD, batch, self._log_popularity_N[batch.items_U])
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        return loss.detach()


@dataclass
class _Meter:
    """Adds up losses; looks at them now and then, because looking makes a GPU wait."""

    epoch: int
    learning_rate: float
    total: float = 0.0
    targets: int = 0
    steps: int = 0
    waiting: list[tuple[Tensor, int]] = field(default_factory=list)

    def add(self, loss: Tensor, targets: int) -> None:
        """Take in a step's mean loss over so many targets."""
        self.waiting.append((loss, targets))
        if len(self.waiting) >= _STEPS_BETWEEN_CHECKS:
            self._look()

    def mean(self) -> float:
        """Mean loss a target."""
        self._look()
        return self.total / self.targets

    def _look(self) -> None:
        if not self.waiting:
            return
        losses = torch.stack([loss for loss, _ in self.waiting]).double().cpu().numpy()
        targets = np.array([count for _, count in self.waiting])
        bad = np.flatnonzero(~np.isfinite(losses))
        if len(bad):
            raise RunError(
                f"epoch {self.epoch}, step {self.steps + int(bad[0]) + 1}: expected a finite loss, found "
                f"{losses[bad[0]]}; nothing was published; try a lower --learning-rate (now {self.learning_rate:g})"
            )
        self.total += float(losses @ targets)
        self.targets += int(targets.sum())
        self.steps += len(losses)
        self.waiting.clear()


@contextmanager
def _progress(epoch: int, users: int) -> Iterator[Progress | None]:
    """A live bar in a terminal; elsewhere the line at the epoch's end is enough."""
    if not sys.stderr.isatty():
        yield None
        return
    with Progress(f"epoch {epoch}", users, "users") as progress:
        yield progress
