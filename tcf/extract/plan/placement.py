"""Which parts of a model stay where: accelerate's own placement, asked with what is left after everything else."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from torch import nn

from tcf.encoders.accelerate_internals import infer_device_map
from tcf.encoders.transformers_internals import block_class_names

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
    found = _map(stack, devices, budget, frozenset(type(block).__name__ for block in stack))
    return tuple(found[str(number)] for number in range(len(stack)))


def place_model(model: "PreTrainedModel", devices: Sequence[str], room: Mapping[str, int]) -> dict[str, str]:
    """Where accelerate puts the modules of a model when it is left to itself.

    Args:
        model: on the meta device.
        devices: names of the GPUs, in order.
        room: bytes on each of them and on `cpu`.
    """
    return _map(model, devices, room, block_class_names(model))


def _map(module: nn.Module, devices: Sequence[str], room: Mapping[str, int], whole: frozenset[str]) -> dict[str, str]:
    names = dict(enumerate(devices))
    # Accelerate takes a GPU with no room for one that it may fill.
    budget: dict[int | str, int] = {number: max(1, room[name]) for number, name in names.items()}
    budget["cpu"] = max(1, room["cpu"])
    found = infer_device_map(module, budget, whole)
    return {name: names[place] if isinstance(place, int) else place for name, place in found.items()}
