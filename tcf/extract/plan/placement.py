"""Where the parts of a model are kept: accelerate's placement within the memory left by everything else."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from torch import nn

from tcf.encoders.accelerate_internals import infer_device_map
from tcf.encoders.transformers_internals import block_class_names

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["place_blocks", "place_model"]


def place_blocks(stack: nn.ModuleList, devices: Sequence[str], room: Mapping[str, int]) -> tuple[str, ...]:
    """The place of each block, in order: the first device is filled first, then the others, RAM and disk.

    Args:
        stack: the blocks, on the meta device, in the types that they are kept in.
        devices: names of the GPUs that may keep blocks, in order.
        room: bytes for blocks on each GPU, and on `cpu` for those kept in RAM.
    """
    largest = max(sum(p.numel() * p.dtype.itemsize for p in block.parameters()) for block in stack)
    # Accelerate reserves the largest block's size on the first device and in RAM, for loading others there. Streamed
    # blocks have buffers of their own here, which `room` already excludes.
    budget = {name: most + (largest if name == "cpu" or name in devices[:1] else 0) for name, most in room.items()}
    found = _map(stack, devices, budget, frozenset(type(block).__name__ for block in stack))
    return tuple(found[str(number)] for number in range(len(stack)))


def place_model(model: "PreTrainedModel", devices: Sequence[str], room: Mapping[str, int]) -> dict[str, str]:
    """Accelerate's default placement of a model's modules.

    Args:
        model: on the meta device.
        devices: names of the GPUs, in order.
        room: bytes on each GPU and on `cpu`.
    """
    return _map(model, devices, room, block_class_names(model))


def _map(module: nn.Module, devices: Sequence[str], room: Mapping[str, int], whole: frozenset[str]) -> dict[str, str]:
    names = dict(enumerate(devices))
    # Accelerate fills a GPU whose budget is 0 bytes.
    budget: dict[int | str, int] = {number: max(1, room[name]) for number, name in names.items()}
    budget["cpu"] = max(1, room["cpu"])
    found = infer_device_map(module, budget, whole)
    return {name: names[place] if isinstance(place, int) else place for name, place in found.items()}
