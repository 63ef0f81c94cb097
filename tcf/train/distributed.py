"""One of several processes that train a model together, through torch's process group and DistributedDataParallel.

The group is accelerate's: its state knows the variables that torchrun, `accelerate launch` and `tcf train --devices`
set. The first process decides; the others do what it says until it says that it is done.

Shapes: U items of a batch, S items of a process's share, C items of the largest share, D width.
"""

import datetime
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from accelerate import PartialState
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.parallel import DistributedDataParallel

from tcf.common.torch_internals import ADAMW_STATE, empty_adamw_state
from tcf.train.batch.batch import Batch, share
from tcf.train.model.recommender import Recommender
from tcf.train.parallel import EpochTask, Forward

__all__ = ["DistributedGroup", "join_group"]

# A process that dies closes its connections, or is noticed by who started it. This long, all wait for the first one
# while it measures a large catalogue.
_PATIENCE = datetime.timedelta(hours=2)
_DONE = EpochTask(0, 0)  # epochs are counted from 1


@dataclass(frozen=True)
class DistributedGroup:
    """A process of a group.

    Attributes:
        device: where it computes.
        devices: those of all processes, as settings name them.
        rank: which process it is, counted from 0.
        size: how many there are.
    """

    device: torch.device
    devices: str
    rank: int
    size: int

    @property
    def rank_and_size(self) -> tuple[int, int]:
        """Which process this is, and how many there are."""
        return self.rank, self.size

    def announce(self, task: EpochTask) -> None:
        """Say, as the first process, what all do next; of no effect in the others."""
        if self.rank == 0:
            self._spread(task)

    def end(self) -> None:
        """Say, as the first process, that all is done."""
        self.announce(_DONE)

    def next_task(self) -> EpochTask | None:
        """Hear, as another process, what the first one lets all do next; None when all is done."""
        task = self._spread(_DONE)
        return None if task == _DONE else task

    def prepare(self, model: Recommender, adamw: torch.optim.Optimizer) -> Forward:
        """See `Parallel`."""
        # Its constructor copies the parameters of the first process to the others.
        parallel = DistributedDataParallel(_SharedItemsModel(model, self), gradient_as_bucket_view=True)
        self._copy_state(adamw)
        return parallel

    def backward(self, loss: Tensor) -> None:
        """See `Parallel`; the mean that DistributedDataParallel takes is made a sum."""
        (loss * self.size).backward()  # type: ignore[no-untyped-call]

    def total(self, loss: Tensor) -> Tensor:
        """See `Parallel`."""
        summed = loss.detach().clone()
        dist.all_reduce(summed)
        return summed

    def gather(self, own_SD: Tensor, count: int) -> Tensor:
        """All items' vectors, (U, D), of every process's share, (S, D); gradients go back to where they came from."""
        gathered_UD: Tensor = _Gather.apply(own_SD, count, self.rank_and_size)  # type: ignore[no-untyped-call]
        return gathered_UD

    def _spread(self, task: EpochTask) -> EpochTask:
        told = torch.tensor([task.epoch, task.step], device=self.device)
        dist.broadcast(told, 0)
        epoch, step = told.tolist()
        return EpochTask(epoch, step)

    def _copy_state(self, adamw: torch.optim.Optimizer) -> None:
        """Give the optimiser the state that it has in the first process, none or that of a run taken up."""
        parameters_with_state = torch.tensor(len(adamw.state), device=self.device)
        dist.broadcast(parameters_with_state, 0)
        if not parameters_with_state.item():
            return
        for parameter in (parameter for group in adamw.param_groups for parameter in group["params"]):
            state = adamw.state[parameter]
            for quantity in ADAMW_STATE:
                if quantity not in state:
                    state[quantity] = empty_adamw_state(quantity, parameter)
                dist.broadcast(state[quantity], 0)


class _SharedItemsModel(nn.Module):
    """A recommender whose items are shared by the processes."""

    def __init__(self, model: Recommender, group: DistributedGroup) -> None:
        super().__init__()
        self.model, self.group = model, group

    def forward(self, batch: Batch, read_SV: Tensor | None) -> tuple[Tensor, Tensor]:
        """States of this process's targets, (P, D), and vectors of all items, (U, D)."""
        count = len(batch.items_U)
        own_SD = self.model.items(batch.items_U[share(count, self.group.rank_and_size)], read_SV)
        return self.model.over(batch, self.group.gather(own_SD, count))


class _Gather(torch.autograd.Function):
    """Joins the shares of all processes; the gradient of a share is the sum of what all processes found for it."""

    @staticmethod
    def forward(ctx: Any, own_SD: Tensor, count: int, rank_and_size: tuple[int, int]) -> Tensor:
        """(S, D) to (U, D)."""
        ctx.count, ctx.rank_and_size = count, rank_and_size
        size = -(-count // rank_and_size[1])
        padded_CD = own_SD.new_zeros(size, own_SD.shape[1])
        padded_CD[: len(own_SD)] = own_SD
        joined = own_SD.new_empty(size * rank_and_size[1], own_SD.shape[1])
        dist.all_gather(list(torch.split(joined, size)), padded_CD)
        return joined[:count]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, by_UD: Tensor) -> tuple[Tensor | None, ...]:
        """(U, D) to (S, D)."""
        own = share(ctx.count, ctx.rank_and_size)
        size = -(-ctx.count // ctx.rank_and_size[1])
        padded = by_UD.new_zeros(size * ctx.rank_and_size[1], by_UD.shape[1])
        padded[: ctx.count] = by_UD
        summed_CD = by_UD.new_empty(size, by_UD.shape[1])
        dist.reduce_scatter(summed_CD, list(torch.split(padded, size)))
        return summed_CD[: own.stop - own.start], None, None


@contextmanager
def join_group(*, cpu: bool, devices: str | None = None) -> Iterator[DistributedGroup]:
    """Be one of the processes that this one's environment speaks of, inside the block.

    Args:
        cpu: whether all compute on the CPU, also where there are GPUs.
        devices: all processes' devices, as settings name them; None: as many as there are processes.
    """
    state = PartialState(cpu=True, backend="gloo", timeout=_PATIENCE) if cpu else PartialState(timeout=_PATIENCE)
    device = torch.device("cpu") if cpu else state.device
    if device.type == "cuda":
        torch.cuda.set_device(device)
    size = state.num_processes
    group = DistributedGroup(device, devices or ",".join([device.type] * size), state.process_index, size)
    yield group
    # Not after an error: the others may never come to this point.
    group.end()
    state.destroy_process_group()
