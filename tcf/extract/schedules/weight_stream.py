"""Streams the weights of a model's blocks, one block after the other, ahead of the devices that use them.

Each block that does not stay on a device is read once per pass, however many devices use it: into reused buffers in
RAM, and from there into buffers on each device, while the blocks before it are computed. A CPU that computes in the
checkpoint's types uses the weights where they were read.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor

from tcf.common.threads import Channel, Closed
from tcf.encoders.split.read_pool import ReadPool
from tcf.encoders.split.skeleton import Weight
from tcf.encoders.split.weight_buffers import StoredWeightBuffer, TypedWeightBuffer, buffer_nbytes, is_as_stored

__all__ = ["BlockStream", "Loaded"]

_SLOTS = 2  # buffers: one in use, one being filled

Weights = tuple[Weight, ...]
_T = TypeVar("_T")


@dataclass(frozen=True, eq=False)
class Loaded:
    """A block's weights on a device.

    Attributes:
        block: number of the block.
        tensors: by name within the block; overwritten after `release`.
        release: to be called when the device no longer needs them.
    """

    block: int
    tensors: dict[str, Tensor]
    release: Callable[[], None]


@dataclass(frozen=True, eq=False)
class _Read:
    """A block's weights as stored, in RAM."""

    block: int
    stored: Sequence[Tensor]
    release: Callable[[], None]


class BlockStream:
    """Owns the buffers that the weights pass through, until it is closed.

    Args:
        within: the weights of every block.
        streamed: the blocks that do not stay on a device, in order.
        held: those of them that stay in RAM once they have been read.
        devices: the devices that use them; each gets every block.
        threads: number of threads that read files.
    """

    def __init__(
        self,
        within: Sequence[Weights],
        streamed: Sequence[int],
        held: Sequence[int],
        devices: Sequence[torch.device],
        *,
        threads: int = 4,
    ) -> None:
        self._within, self._streamed, self._held = within, streamed, frozenset(held)
        self._devices = devices
        self._pinned = any(device.type == "cuda" for device in devices)
        self._kept: dict[int, list[Tensor]] = {}
        self._pool = ReadPool(threads)
        reread = [within[block] for block in streamed if block not in self._held]
        size = _largest(reread, stored=True)
        # If the CPU casts the weights, the buffer they were read into is free again at once.
        cast = not self._pinned and not any(is_as_stored(weights) for weights in reread)
        n_buffers = (1 if cast else _SLOTS) if reread else 0
        self._buffers = [StoredWeightBuffer(size, pinned=self._pinned) for _ in range(n_buffers)]
        parts = [within[block] for block in streamed]
        self._typed = [[_typed(parts, device) for _ in range(_SLOTS)] for device in devices]

    def close(self) -> None:
        """Close files, end threads and release memory."""
        self._pool.close()
        self._buffers, self._typed, self._kept = [], [], {}

    @property
    def bytes_read(self) -> int:
        """Bytes of weights read from files so far."""
        return self._pool.bytes_read

    def check_unchanged(self) -> None:
        """Check that the files have not changed since they were opened.

        Raises:
            ModelError: a file was changed.
        """
        self._pool.check_unchanged()

    def read_now(self, weights: Weights, device: torch.device) -> dict[str, Tensor]:
        """Read weights that stay on a device into memory of their own."""
        stored = StoredWeightBuffer(buffer_nbytes(weights, stored=True)).read(weights, pool=self._pool)
        filled = TypedWeightBuffer(
            0 if _used_as_read(weights, device) else buffer_nbytes(weights, stored=False), device
        )
        tensors = filled.fill(weights, stored)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return tensors

    @contextmanager
    def load_blocks(self, first: int, stop: int) -> Iterator[list[Channel[Loaded]]]:
        """Load the streamed blocks from `first` up to but not including `stop`; yields a channel for every device.

        A reading error is raised by whoever reads a channel.
        """
        read = [Channel[_Read](_SLOTS) for _ in self._devices]
        loaded = [Channel[Loaded](1) for _ in self._devices]
        free = Channel[StoredWeightBuffer](_SLOTS)
        for buffer in self._buffers:
            free.put(buffer)
        channels: list[Channel[Any]] = [*read, *loaded, free]
        blocks = [block for block in self._streamed if first <= block < stop]
        work = [partial(self._read_all, blocks, free, read)]
        work += [
            partial(self._load_all, coming, going, device, typed)
            for coming, going, device, typed in zip(read, loaded, self._devices, self._typed, strict=True)
        ]
        threads = [threading.Thread(target=_guarded, args=(piece, channels), daemon=True) for piece in work]
        for thread in threads:
            thread.start()
        try:
            yield loaded
        finally:
            for channel in channels:
                channel.close()
            for thread in threads:
                thread.join()

    def _read_all(
        self, blocks: Sequence[int], free: Channel[StoredWeightBuffer], going: Sequence[Channel[_Read]]
    ) -> None:
        for block in blocks:
            if block in self._held:
                read = _Read(block, self._hold(block), lambda: None)
            else:
                buffer = free.get()
                stored = buffer.read(self._within[block], pool=self._pool)
                read = _Read(block, stored, _Countdown(len(going), partial(_give_back, free, buffer)))
            for channel in going:
                channel.put(read)
        for channel in going:
            channel.close()

    def _hold(self, block: int) -> list[Tensor]:
        if block not in self._kept:
            weights = self._within[block]
            buffer = StoredWeightBuffer(buffer_nbytes(weights, stored=True), pinned=self._pinned)
            self._kept[block] = buffer.read(weights, pool=self._pool)
        return self._kept[block]

    def _load_all(
        self, coming: Channel[_Read], going: Channel[Loaded], device: torch.device, typed: Sequence[TypedWeightBuffer]
    ) -> None:
        free = Channel[TypedWeightBuffer](_SLOTS)
        for buffer in typed:
            free.put(buffer)
        stream = torch.cuda.Stream(device) if device.type == "cuda" else None  # type: ignore[no-untyped-call]
        for read in coming:
            weights = self._within[read.block]
            if _used_as_read(weights, device):
                tensors = {weight.name: tensor for weight, tensor in zip(weights, read.stored, strict=True)}
                going.put(Loaded(read.block, tensors, read.release))
                continue
            buffer = free.get()
            with torch.inference_mode(), torch.cuda.stream(stream):
                tensors = buffer.fill(weights, read.stored)
            if stream is not None:
                stream.synchronize()
            read.release()
            going.put(Loaded(read.block, tensors, partial(_release, free, buffer, device)))
        going.close()


def _release(free: Channel[TypedWeightBuffer], buffer: TypedWeightBuffer, device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)  # queued kernels may still read these weights
    _give_back(free, buffer)


def _give_back(free: Channel[_T], buffer: _T) -> None:
    with suppress(Closed):  # the pass may be over
        free.put(buffer)


def _used_as_read(weights: Weights, device: torch.device) -> bool:
    return device.type == "cpu" and is_as_stored(weights)


def _typed(parts: Sequence[Weights], device: torch.device) -> TypedWeightBuffer:
    """A buffer on a device for the largest of the blocks that must be copied there."""
    copied = [weights for weights in parts if not _used_as_read(weights, device)]
    return TypedWeightBuffer(_largest(copied, stored=False), device)


def _largest(parts: Sequence[Weights], *, stored: bool) -> int:
    return max((buffer_nbytes(weights, stored=stored) for weights in parts), default=0)


class _Countdown:
    """Calls a function once it has been called n times itself."""

    def __init__(self, n: int, then: Callable[[], None]) -> None:
        self._left, self._then, self._lock = n, then, threading.Lock()

    def __call__(self) -> None:
        with self._lock:
            self._left -= 1
            last = self._left == 0
        if last:
            self._then()


def _guarded(piece: Callable[[], None], channels: Sequence[Channel[Any]]) -> None:
    """Run a thread's work; an error closes all channels and is raised by whoever reads them."""
    try:
        piece()
    except Closed:
        pass
    except BaseException as error:
        for channel in channels:
            channel.close(error)
