"""Several processes that train together, as a test starts them: copies of one that has imported torch already."""

import multiprocessing
import os
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import torch.distributed as dist

from tcf.train.distributed import join_group

__all__ = ["in_group", "in_processes"]


def in_processes(work: Callable[..., Any], *arguments: object, size: int = 2) -> list[Any]:
    """What some work returns in each of several processes whose environment makes a group of them."""
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)  # type: ignore[attr-defined]
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["torch", "accelerate", "pyarrow.parquet", "tcf.train.stage", "tcf.train.distributed"]
    )
    pipes = [context.Pipe(duplex=False) for _ in range(size)]
    processes = [
        context.Process(target=_in_process, args=(work, arguments, rank, size, store.port, pipe[1]))
        for rank, pipe in enumerate(pipes)
    ]
    for process, (_, end) in zip(processes, pipes, strict=True):
        process.start()
        end.close()
    try:
        return [begin.recv() for begin, _ in pipes]
    except EOFError:
        raise AssertionError("a process of the group failed; see what it wrote to standard error") from None
    finally:
        for process in processes:
            process.join(10)
            process.kill()


def in_group(work: Callable[..., Any], *arguments: object, size: int = 2) -> list[Any]:
    """The same, where the work gets the group of which its process is one before the other arguments."""
    return in_processes(_joined, work, *arguments, size=size)


def _joined(work: Callable[..., Any], *arguments: object) -> Any:
    with join_group(cpu=True) as group:
        found = work(group, *arguments)
        if group.rank > 0:
            group.next_task()  # hears that all is done
    return found


def _in_process(
    work: Callable[..., Any], arguments: tuple[object, ...], rank: int, size: int, port: int, end: Connection
) -> None:
    values = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": size, "LOCAL_WORLD_SIZE": size, "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in values.items()})
    os.environ.update(MASTER_ADDR="127.0.0.1", TORCHELASTIC_USE_AGENT_STORE="True", OMP_NUM_THREADS="1")
    end.send(work(*arguments))
