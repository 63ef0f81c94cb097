"""A process group that trains one model together, with torch's DistributedDataParallel.

The group is created by accelerate, which reads the environment variables that torchrun, `accelerate launch` and
`tcf train --devices` set. The first process broadcasts what to do next; the others follow until it announces the end.

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

# A process that dies closes its connections, or is noticed by the process that started it. The others wait up to this
# long while the first one evaluates a large catalogue.
_PATIENCE = datetime.timedelta(hours=2)
_DONE = EpochTask(0, 0)  # epochs are counted from 1


@dataclass(frozen=True)
class DistributedGroup:
    """A process of a group.

    Attributes:
        device: where it computes.
        devices: the devices of all processes, as in the settings.
        rank: rank of this process, counted from 0.
        size: number of processes.
    """

    device: torch.device
    devices: str
    rank: int
    size: int

    @property
    def rank_and_size(self) -> tuple[int, int]:
        """Rank of this process and number of processes."""
        return self.rank, self.size

    def announce(self, task: EpochTask) -> None:
        """Broadcast the next task from the first process; no effect in the others."""
        if self.rank == 0:
            self._broadcast(task)

    def end(self) -> None:
        """Announce from the first process that the work is done."""
        self.announce(_DONE)

    def next_task(self) -> EpochTask | None:
        """Receive the next task in a process other than the first; None when the work is done."""
        task = self._broadcast(_DONE)
        return None if task == _DONE else task

    def prepare(self, model: Recommender, adamw: torch.optim.Optimizer) -> Forward:
        """See `Parallel`."""
        # The constructor copies the first process's parameters to the others.
        parallel = DistributedDataParallel(_SharedItemsModel(model, self), gradient_as_bucket_view=True)
        self._copy_state(adamw)
        return parallel

    def backward(self, loss: Tensor) -> None:
        """See `Parallel`; DistributedDataParallel's mean is turned into a sum."""
        (loss * self.size).backward()  # type: ignore[no-untyped-call]

    def total(self, loss: Tensor) -> Tensor:
        """See `Parallel`."""
        summed = loss.detach().clone()
        dist.all_reduce(summed)
        return summed

    def gather(self, own_SD: Tensor, count: int) -> Tensor:
        """All items' vectors, (U, D), from every process's share, (S, D); gradients flow back to each share."""
        gathered_UD: Tensor = _Gather.apply(own_SD, count, self.rank_and_size)  # type: ignore[no-untyped-call]
        return gathered_UD

    def _broadcast(self, task: EpochTask) -> EpochTask:
        message = torch.tensor([task.epoch, task.step, task.refit], device=self.device)
        dist.broadcast(message, 0)
        epoch, step, refit = message.tolist()
        return EpochTask(epoch, step, bool(refit))

    def _copy_state(self, adamw: torch.optim.Optimizer) -> None:
        """Copy the optimiser's state from the first process: none, or that of a resumed run."""
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
    """A recommender whose items are divided among the processes."""

    def __init__(self, model: Recommender, group: DistributedGroup) -> None:
        super().__init__()
        self.model, self.group = model, group

    def forward(self, batch: Batch, read_SV: Tensor | None) -> tuple[Tensor, Tensor]:
        """States of this process's targets, (P, D), and vectors of all items, (U, D)."""
        count = len(batch.items_U)
        own_SD = self.model.items(batch.items_U[share(count, self.group.rank_and_size)], read_SV)
        return self.model.over(batch, self.group.gather(own_SD, count))


class _Gather(torch.autograd.Function):
    """Concatenates the shares of all processes; a share's gradient is the sum of all processes' gradients for it."""

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
    """Join the process group described by the environment variables; leave it at the end of the context.

    Args:
        cpu: all processes compute on the CPU, even if there are GPUs.
        devices: the devices of all processes, as in the settings; if None, the device type once per process.
    """
    state = PartialState(cpu=True, backend="gloo", timeout=_PATIENCE) if cpu else PartialState(timeout=_PATIENCE)
    device = torch.device("cpu") if cpu else state.device
    if device.type == "cuda":
        torch.cuda.set_device(device)
    size = state.num_processes
    group = DistributedGroup(device, devices or ",".join([device.type] * size), state.process_index, size)
    yield group
    # Not after an error: the others may never reach this point.
    group.end()
    state.destroy_process_group()
