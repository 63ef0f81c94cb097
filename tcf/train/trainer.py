"""The training step, and one epoch of it."""

import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass

import torch
from torch import Tensor

from tcf.common.random_streams import RandomStream, derived_seed
from tcf.common.torch_internals import seed_default_generator
from tcf.config.train import TrainConfig
from tcf.train.batch.batch import Batch
from tcf.train.batch.feed import Feed
from tcf.train.loss.losses import Loss
from tcf.train.loss_meter import LossMeter
from tcf.train.model.recommender import Recommender
from tcf.train.optimizer import Optimizer
from tcf.train.parallel import EpochTask, Forward, Parallel, SingleProcess

__all__ = ["EpochResult", "Trainer"]


@dataclass(frozen=True)
class EpochResult:
    """The result of one epoch.

    Attributes:
        loss: mean over the targets.
        targets: number of targets.
        seconds: duration; of a resumed epoch, that of the rest.
        measured: number of targets in that time.
    """

    loss: float
    targets: int
    seconds: float
    measured: int


class Trainer:
    """Trains a model, given its loss and its batches.

    Args:
        model: the model to train, on its device.
        loss: the loss to minimise.
        feed: the batches.
        config: rates, precision.
        device: the model's device.
        parallel: the processes that train the model together; this process alone if None.
    """

    def __init__(
        self,
        model: Recommender,
        loss: Loss,
        feed: Feed,
        config: TrainConfig,
        device: torch.device,
        parallel: Parallel | None = None,
    ) -> None:
        self.model, self.loss, self.feed, self.config, self.device = model, loss, feed, config, device
        self.parallel = SingleProcess() if parallel is None else parallel
        self._forward: Forward | None = None
        self.optimizer = Optimizer(model, config, feed.steps)
        self._casts = config.precision == "bfloat16" or (config.precision == "auto" and device.type == "cuda")

    def run_epoch(
        self, epoch: int, meter: LossMeter | None = None, after: Callable[[LossMeter], None] | None = None
    ) -> EpochResult:
        """Train on every row once.

        Args:
            epoch: counted from 1; determines the order of rows.
            meter: the position of an interrupted epoch; None to start from its beginning.
            after: called after each step with the position in the epoch.

        Raises:
            RunError: the loss is not finite.
        """
        began = time.perf_counter()
        meter = LossMeter(epoch, self.config.learning_rate) if meter is None else meter
        first, before = meter.steps, meter.targets
        self.parallel.announce(EpochTask(epoch, first, self.config.refit))
        self.model.train()
        with closing(self.feed.epoch(epoch, first)) as batches:
            for step, fed in enumerate(batches, first):
                meter.add(self.step(fed.batch, fed.read_UV, (epoch - 1) * self.feed.steps + step), fed.batch.n_targets)
                if after is not None:
                    after(meter)
        loss = meter.mean()
        return EpochResult(loss, meter.targets, time.perf_counter() - began, meter.targets - before)

    def step(self, batch: Batch, read_UV: Tensor | None = None, number: int = 0) -> Tensor:
        """Train on one batch; returns its loss, a scalar on the device.

        Args:
            batch: the batch.
            read_UV: the cached vectors of its items, or of this process's share of them, if they were prefetched.
            number: number of steps of this run before this one.
        """
        forward = self._prepared()
        self._seed_dropout(number)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self._casts):
            states_PD, vectors_UD = forward(batch, read_UV)
        loss = self.loss(states_PD.float(), vectors_UD.float(), batch)
        self.parallel.backward(loss)
        self.optimizer.step(number)
        return self.parallel.total(loss)

    def _prepared(self) -> Forward:
        """The model's forward function for all processes, which synchronise here before their first step."""
        if self._forward is None:
            self._forward = self.parallel.prepare(self.model, self.optimizer.adamw)
        return self._forward

    def _seed_dropout(self, number: int) -> None:
        """Derive dropout from seed, step and rank, so that no generator's state has to be saved."""
        seed_default_generator(
            self.device, derived_seed(RandomStream.DROPOUT, self.config.seed, number, self.feed.rank_and_size[0])
        )
