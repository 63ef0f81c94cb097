"""Which parts of a model stay where: accelerate's own placement, asked with what is left after everything else."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from torch import nn

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["place_blocks", "place_model"]


def place_blocks(stack: nn.ModuleList, devices: Sequence[str], room: Mapping[str, int]) -> tuple[str, ...]:
    """Where each block goes, in order: as many as fit on the first device, and so on, then RAM, then disk.

    Args:
        stack: the blocks, on the meta device, in the types that they are kept in.
        devices: names of the GPUs that may keep blocks, in order.
        room: bytes for blocks on each of them, and on `cpu` for those kept in RAM.
    """
    largest = max(sum(p.numel() * p.dtype.itemsize for p in block.parameters()) for block in stack)
    # Accelerate reserves the largest block's size on the first device and in RAM, for loading others there. What
    # streams has its own buffers here, which `room` is already without.
    budget = {name: most + (largest if name == "cpu" or name in devices[:1] else 0) for name, most in room.items()}
    found = _map(stack, devices, budget, {type(block).__name__ for block in stack})
    return tuple(found[str(number)] for number in range(len(stack)))


def place_model(model: "PreTrainedModel", devices: Sequence[str], room: Mapping[str, int]) -> dict[str, str]:
    """Where accelerate puts the modules of a model when it is left to itself.

    Args:
        model: on the meta device.
        devices: names of the GPUs, in order.
        room: bytes on each of them and on `cpu`.
    """
    return _map(model, devices, room, set(model._no_split_modules or ()))


def _map(module: nn.Module, devices: Sequence[str], room: Mapping[str, int], whole: set[str]) -> dict[str, str]:
    from accelerate import infer_auto_device_map

    names = dict(enumerate(devices))
    # Accelerate takes a GPU with no room for one that it may fill.
    budget: dict[Any, int] = {number: max(1, room[name]) for number, name in names.items()}
    budget["cpu"] = max(1, room["cpu"])
    with _quiet():
        found = infer_auto_device_map(
            module, max_memory=budget, no_split_module_classes=sorted(whole), clean_result=False
        )
    return {name: names.get(place, str(place)) for name, place in found.items()}


@contextmanager
def _quiet() -> Iterator[None]:
    """Without accelerate's warnings of devices that this machine has not: a plan may be for another one."""
    logger = logging.getLogger("accelerate.utils.modeling")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)
