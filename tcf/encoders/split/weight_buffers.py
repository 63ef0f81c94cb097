"""Reusable memory for groups of a model's weights: as stored, in the types to compute in, and attached to the model."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tcf.encoders.split.read_pool import ReadPool
from tcf.encoders.split.skeleton import Weight
from tcf.encoders.split.stored_tensors import StoredTensor

__all__ = [
    "STAGING_BYTES",
    "StoredWeightBuffer",
    "TypedWeightBuffer",
    "attach",
    "buffer_nbytes",
    "bytes_of",
    "detach",
    "is_as_stored",
    "move_buffers",
]

_Kind = tuple[StoredTensor, torch.dtype]  # a tensor in a buffer, and its dtype there
_ALIGNMENT = 256  # bytes; cuBLAS chooses products by the alignment of addresses, up to this
STAGING_BYTES = 1 << 26
"""Maximum bytes of device memory for weights as stored while they are cast on the device."""


class StoredWeightBuffer:
    """Host memory for one group of weights as stored, such as those of a block.

    Attributes:
        nbytes: capacity in bytes, as counted by `buffer_nbytes`.
    """

    def __init__(self, nbytes: int, *, pinned: bool = False) -> None:
        """Allocate the memory.

        Args:
            nbytes: `buffer_nbytes(weights, stored=True)` of the largest group.
            pinned: page-locked, so that copies to a CUDA device are asynchronous.
        """
        self.nbytes = nbytes
        self._memory = _aligned(nbytes, torch.device("cpu"), pinned=pinned)

    def read(self, weights: Sequence[Weight], *, pool: ReadPool) -> list[Tensor]:
        """Read a group's weights, overwriting the previous ones.

        Returns:
            A tensor for every weight, of the dtype and shape as stored. They use this memory; weights that are the
            same tensor of the checkpoint share it.

        Raises:
            ModelError: a file cannot be opened or read, or is too short.
        """
        tensors = _laid_out(self._memory, _kinds(weights, stored=True))
        pool.read([(stored, bytes_of(tensor)) for (stored, _), tensor in tensors.items()])
        return [tensors[weight.stored, weight.stored.dtype] for weight in weights]


class TypedWeightBuffer:
    """Device memory for one group of weights in the types to compute in.

    Attributes:
        nbytes: capacity in bytes, as counted by `buffer_nbytes`.
        device: device of the memory.
    """

    def __init__(self, nbytes: int, device: torch.device) -> None:
        """Allocate the memory.

        Args:
            nbytes: `buffer_nbytes(weights, stored=False)` of the largest group; on a CPU, groups that are used as
                stored (`is_as_stored`) need none.
            device: device of the memory.
        """
        self.nbytes = nbytes
        self.device = device
        self._memory = _aligned(nbytes, device, pinned=False)

    def fill(self, weights: Sequence[Weight], stored: Sequence[Tensor]) -> dict[str, Tensor]:
        """Copy a group's weights in the types to compute in, overwriting the previous ones.

        On CUDA the copies are queued on the current stream: `stored` must not be overwritten before they finish.

        Args:
            weights: weights of the group.
            stored: a tensor for each, from `StoredWeightBuffer.read`.

        Returns:
            The weights by name, on the device. On a CPU, if all are stored in the types to compute in, these are the
            tensors of `stored`; otherwise they all use this memory, and `stored` is no longer needed.
        """
        if self.device.type == "cpu" and is_as_stored(weights):
            return {weight.name: tensor for weight, tensor in zip(weights, stored, strict=True)}
        targets = _laid_out(self._memory, _kinds(weights, stored=False))
        sources = {weight.stored: tensor for weight, tensor in zip(weights, stored, strict=True)}
        for (tensor, _), target in targets.items():
            _copy(target, sources[tensor])
        return {weight.name: targets[weight.stored, weight.dtype] for weight in weights}


def buffer_nbytes(weights: Iterable[Weight], *, stored: bool) -> int:
    """Return the size in bytes of a buffer for a group of weights.

    Args:
        weights: weights of the group; those that are the same tensor of the checkpoint in the same type count once.
        stored: count the stored types rather than the types to compute in.
    """
    return sum(_padded(tensor, dtype) for tensor, dtype in _kinds(weights, stored=stored))


def is_as_stored(weights: Iterable[Weight]) -> bool:
    """Whether all weights are stored in the types to compute in."""
    return all(weight.dtype == weight.stored.dtype for weight in weights)


def attach(module: nn.Module, tensors: Mapping[str, Tensor], *, apart: nn.Module | None = None) -> None:
    """Set a module's parameters and buffers to tensors, without copying.

    Args:
        module: a model, or a block of one.
        tensors: tensors by dotted name in the module.
        apart: a submodule that is filled separately, such as the list of a model's blocks.

    Raises:
        RuntimeError: a tensor outside `apart` is still without data.
    """
    for name, tensor in tensors.items():
        _put(module, name, tensor)
    empty = [name for name, tensor in _tensors_of(module, apart) if tensor.is_meta]
    if empty:
        raise RuntimeError(f"{type(module).__name__}: {len(empty)} weights have no data, such as {empty[0]}")


def detach(module: nn.Module, names: Iterable[str]) -> None:
    """Replace a module's parameters and buffers with these dotted names by placeholders on the meta device."""
    for name in names:
        parent, _, leaf = name.rpartition(".")
        _put(module, name, torch.empty_like(getattr(module.get_submodule(parent), leaf), device="meta"))


def move_buffers(module: nn.Module, device: torch.device, *, apart: nn.Module | None = None) -> None:
    """Move a module's computed buffers to a device; stored buffers are set by `attach`.

    Args:
        module: a model, or a block of one.
        device: destination.
        apart: a submodule that is moved separately.
    """
    for _, owner in _modules_of(module, apart):
        for name, buffer in owner.named_buffers(recurse=False, remove_duplicate=False):
            if not buffer.is_meta:
                setattr(owner, name, buffer.to(device))


def _put(module: nn.Module, name: str, tensor: Tensor) -> None:
    parent, _, leaf = name.rpartition(".")
    owner = module.get_submodule(parent)
    is_parameter = isinstance(getattr(owner, leaf), nn.Parameter)
    setattr(owner, leaf, nn.Parameter(tensor, requires_grad=False) if is_parameter else tensor)


def _tensors_of(module: nn.Module, apart: nn.Module | None) -> Iterator[tuple[str, Tensor]]:
    """Yield parameters and buffers by dotted name."""
    for place, owner in _modules_of(module, apart):
        yield from owner.named_parameters(prefix=place, recurse=False, remove_duplicate=False)
        yield from owner.named_buffers(prefix=place, recurse=False, remove_duplicate=False)


def _modules_of(module: nn.Module, apart: nn.Module | None) -> Iterator[tuple[str, nn.Module]]:
    """Return a module and its submodules by dotted name, without those of `apart`."""
    left_out = set() if apart is None else set(apart.modules())
    return ((name, owner) for name, owner in module.named_modules() if owner not in left_out)


def _kinds(weights: Iterable[Weight], *, stored: bool) -> dict[_Kind, None]:
    """Return the distinct tensors of a group, in order."""
    return dict.fromkeys((weight.stored, weight.stored.dtype if stored else weight.dtype) for weight in weights)


def _padded(tensor: StoredTensor, dtype: torch.dtype) -> int:
    """Return the bytes of a tensor in a type, rounded up to the alignment."""
    nbytes = math.prod(tensor.shape) * dtype.itemsize
    return -(-nbytes // _ALIGNMENT) * _ALIGNMENT


def _aligned(nbytes: int, device: torch.device, *, pinned: bool) -> Tensor:
    """Allocate aligned memory, (nbytes,) uint8."""
    memory = torch.empty(nbytes + _ALIGNMENT, dtype=torch.uint8, device=device, pin_memory=pinned)
    return memory[-memory.data_ptr() % _ALIGNMENT :][:nbytes]


def _laid_out(memory: Tensor, kinds: Iterable[_Kind]) -> dict[_Kind, Tensor]:
    """Lay out tensors one after the other in a buffer.

    Raises:
        RuntimeError: they do not fit.
    """
    tensors, start = {}, 0
    for tensor, dtype in kinds:
        end = start + math.prod(tensor.shape) * dtype.itemsize
        if end > len(memory):
            raise RuntimeError(f"{tensor.name} ends at byte {end} of a buffer of {len(memory)}")
        tensors[tensor, dtype] = memory[start:end].view(dtype).view(tensor.shape)
        start += _padded(tensor, dtype)
    return tensors


def bytes_of(tensor: Tensor) -> memoryview:
    """Return the memory of a contiguous tensor on the CPU."""
    array: Any = tensor.view(-1).view(torch.uint8).numpy()
    return memoryview(array)


def _copy(target: Tensor, source: Tensor) -> None:
    """Copy a tensor to another dtype and device, with the values of `Tensor.to`.

    For a copy between devices torch casts first, synchronously on the CPU; here the target device casts, piece by
    piece.
    """
    if target.dtype == source.dtype or target.device == source.device:
        target.copy_(source, non_blocking=True)
        return
    n = STAGING_BYTES // source.element_size()
    for piece, stored in zip(torch.split(target.view(-1), n), torch.split(source.view(-1), n), strict=True):
        piece.copy_(stored.to(target.device, non_blocking=True))
