"""Memory for a model's parts that is used again and again: as read, in the types to compute in, and in the model."""

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

_Kind = tuple[StoredTensor, torch.dtype]  # what lies in a buffer, and in which type
_ALIGNMENT = 64  # bytes; what torch's own allocations on a CPU have
STAGING_BYTES = 1 << 26
"""At most so much memory of a device is used for weights as stored while they are cast there."""


class StoredWeightBuffer:
    """Memory of this machine for one part of a model as it is stored.

    Attributes:
        nbytes: bytes of weights that it takes, as `buffer_nbytes` counts them.
    """

    def __init__(self, nbytes: int, *, pinned: bool = False) -> None:
        """Take the memory.

        Args:
            nbytes: as `buffer_nbytes(weights, stored=True)` says for the largest part.
            pinned: page-locked, so that a CUDA device can copy from it while others compute.
        """
        self.nbytes = nbytes
        self._memory = _aligned(nbytes, torch.device("cpu"), pinned=pinned)

    def read(self, weights: Sequence[Weight], *, pool: ReadPool) -> list[Tensor]:
        """Read a part's weights over what was here.

        Returns:
            A tensor for every weight, of the type and shape it is stored in. They share this memory; weights that are
            one tensor of the checkpoint share it too.

        Raises:
            ModelError: a file cannot be opened or read, or ends too early.
        """
        tensors = _laid_out(self._memory, _kinds(weights, stored=True))
        pool.read([(stored, bytes_of(tensor)) for (stored, _), tensor in tensors.items()])
        return [tensors[weight.stored, weight.stored.dtype] for weight in weights]


class TypedWeightBuffer:
    """Memory of a device for one part of a model in the types to compute in.

    Attributes:
        nbytes: bytes of weights that it takes, as `buffer_nbytes` counts them.
        device: where it is.
    """

    def __init__(self, nbytes: int, device: torch.device) -> None:
        """Take the memory.

        Args:
            nbytes: as `buffer_nbytes(weights, stored=False)` says for the largest part; on a CPU parts that are used
                as they are stored (`is_as_stored`) need none.
            device: where.
        """
        self.nbytes = nbytes
        self.device = device
        self._memory = _aligned(nbytes, device, pinned=False)

    def fill(self, weights: Sequence[Weight], stored: Sequence[Tensor]) -> dict[str, Tensor]:
        """Put a part's weights over what was here, in the types to compute in.

        On CUDA the copies are queued on the current stream: `stored` may be written to again only after them.

        Args:
            weights: the part's weights.
            stored: a tensor for each, as `StoredWeightBuffer.read` gives them.

        Returns:
            The weights by name, on the device. On a CPU, if all are stored in the types to compute in, these are the
            tensors of `stored`; else all of them share this memory, and `stored` is no longer needed.
        """
        if self.device.type == "cpu" and is_as_stored(weights):
            return {weight.name: tensor for weight, tensor in zip(weights, stored, strict=True)}
        targets = _laid_out(self._memory, _kinds(weights, stored=False))
        sources = {weight.stored: tensor for weight, tensor in zip(weights, stored, strict=True)}
        for (tensor, _), target in targets.items():
            _copy(target, sources[tensor])
        return {weight.name: targets[weight.stored, weight.dtype] for weight in weights}


def buffer_nbytes(weights: Iterable[Weight], *, stored: bool) -> int:
    """Bytes of a buffer that takes a part's weights.

    Args:
        weights: the part's; those that are one tensor of the checkpoint, in one type, count once.
        stored: in the types that they are stored in, rather than in those to compute in.
    """
    return sum(_padded(tensor, dtype) for tensor, dtype in _kinds(weights, stored=stored))


def is_as_stored(weights: Iterable[Weight]) -> bool:
    """Whether all weights are stored in the types to compute in."""
    return all(weight.dtype == weight.stored.dtype for weight in weights)


def attach(module: nn.Module, tensors: Mapping[str, Tensor], *, apart: nn.Module | None = None) -> None:
    """Make tensors a module's parameters and buffers; nothing is copied.

    Args:
        module: a model, or a block of one.
        tensors: by dotted name in the module.
        apart: a part of the module that is filled at another time, such as the list of a model's blocks.

    Raises:
        RuntimeError: something outside `apart` is left without numbers.
    """
    for name, tensor in tensors.items():
        _put(module, name, tensor)
    empty = [name for name, tensor in _tensors_of(module, apart) if tensor.is_meta]
    if empty:
        raise RuntimeError(f"{type(module).__name__}: {len(empty)} weights have no numbers, among them {empty[0]}")


def detach(module: nn.Module, names: Iterable[str]) -> None:
    """Put placeholders on the meta device back in place of a module's parameters and buffers of these dotted names."""
    for name in names:
        parent, _, leaf = name.rpartition(".")
        _put(module, name, torch.empty_like(getattr(module.get_submodule(parent), leaf), device="meta"))


def move_buffers(module: nn.Module, device: torch.device, *, apart: nn.Module | None = None) -> None:
    """Move the buffers that a module has built to a device; those that are stored come there by `attach`.

    Args:
        module: a model, or a block of one.
        device: where to.
        apart: a part of the module that is moved at another time.
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
    """Parameters and buffers by dotted name."""
    for place, owner in _modules_of(module, apart):
        yield from owner.named_parameters(prefix=place, recurse=False, remove_duplicate=False)
        yield from owner.named_buffers(prefix=place, recurse=False, remove_duplicate=False)


def _modules_of(module: nn.Module, apart: nn.Module | None) -> Iterator[tuple[str, nn.Module]]:
    """A module and those below it by dotted name, without a part of it."""
    left_out = set() if apart is None else set(apart.modules())
    return ((name, owner) for name, owner in module.named_modules() if owner not in left_out)


def _kinds(weights: Iterable[Weight], *, stored: bool) -> dict[_Kind, None]:
    """The different tensors of a part, in order."""
    return dict.fromkeys((weight.stored, weight.stored.dtype if stored else weight.dtype) for weight in weights)


def _padded(tensor: StoredTensor, dtype: torch.dtype) -> int:
    """Bytes of a tensor in a type, up to where the next one may begin."""
    nbytes = math.prod(tensor.shape) * dtype.itemsize
    return -(-nbytes // _ALIGNMENT) * _ALIGNMENT


def _aligned(nbytes: int, device: torch.device, *, pinned: bool) -> Tensor:
    """Bytes of memory, (nbytes,) uint8, that begin at a multiple of the alignment."""
    memory = torch.empty(nbytes + _ALIGNMENT, dtype=torch.uint8, device=device, pin_memory=pinned)
    return memory[-memory.data_ptr() % _ALIGNMENT :][:nbytes]


def _laid_out(memory: Tensor, kinds: Iterable[_Kind]) -> dict[_Kind, Tensor]:
    """Tensors one after the other in a buffer.

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
    """The memory of a contiguous tensor on the CPU."""
    array: Any = tensor.view(-1).view(torch.uint8).numpy()
    return memoryview(array)


def _copy(target: Tensor, source: Tensor) -> None:
    """Copy a tensor, cast to another type and to another device as may be, as `Tensor.to` does.

    From one device to another torch casts first, on the CPU and without other work meanwhile; here the device casts,
    piece by piece.
    """
    if target.dtype == source.dtype or target.device == source.device:
        target.copy_(source, non_blocking=True)
        return
    n = STAGING_BYTES // source.element_size()
    for piece, stored in zip(torch.split(target.view(-1), n), torch.split(source.view(-1), n), strict=True):
        piece.copy_(stored.to(target.device, non_blocking=True))
