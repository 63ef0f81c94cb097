"""The hidden states of a macro-batch between two blocks: on the device, in memory, or in a file.

Shapes: B texts, T tokens, D width.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Literal, Protocol, Self

import torch
from torch import Tensor

from tcf.common.errors import RunError
from tcf.common.files import staging_place, writing
from tcf.encoders.split.weight_buffers import bytes_of
from tcf.extract.micro_batches import MicroBatch

__all__ = ["FileStates", "HiddenStates", "KeptStates", "open_states", "read_file", "write_file"]


class HiddenStates(Protocol):
    """One state a token, replaced as the blocks are gone through; threads may work on different micro-batches."""

    def get(self, batch: MicroBatch, device: torch.device) -> Tensor:
        """The states of a micro-batch, (B, T, D), on a device."""

    def expect(self, batches: Sequence[MicroBatch], device: torch.device) -> None:
        """These micro-batches will be asked for next: they may be brought to the device now."""

    def put(self, batch: MicroBatch, states_BTD: Tensor) -> None:
        """Replace the states of a micro-batch."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class KeptStates:
    """On the device that uses them: what blocks give is kept as it is."""

    def __init__(self) -> None:
        self._kept: dict[int, Tensor] = {}

    def expect(self, batches: Sequence[MicroBatch], device: torch.device) -> None:
        """They are there."""

    def get(self, batch: MicroBatch, device: torch.device) -> Tensor:
        """The states of a micro-batch, (B, T, D); they must not be changed."""
        return self._kept[batch.tokens_before].to(device)

    def put(self, batch: MicroBatch, states_BTD: Tensor) -> None:
        """Replace the states of a micro-batch."""
        # A view may hold on to more memory than it shows.
        whole = states_BTD.untyped_storage().nbytes() == states_BTD.nbytes
        self._kept[batch.tokens_before] = states_BTD if whole else states_BTD.clone()

    def __enter__(self) -> Self:
        """Nothing to open."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the memory back."""
        self._kept.clear()


class _PinnedStates:
    """In the machine's memory, for CUDA devices.

    They are copied on two streams beside the one that computes: those of the next micro-batch come, and those of the
    one before go, while this one is computed.

    Args:
        n_tokens: of the macro-batch.
        width: numbers a token.
        dtype: their type.
    """

    def __init__(self, n_tokens: int, width: int, dtype: torch.dtype) -> None:
        self._states = torch.empty((n_tokens, width), dtype=dtype, pin_memory=True)
        self._streams: dict[torch.device, tuple[torch.cuda.Stream, torch.cuda.Stream]] = {}
        self._coming: dict[int, tuple[Tensor, torch.cuda.Event]] = {}
        self._gone: dict[int, torch.cuda.Event] = {}

    def expect(self, batches: Sequence[MicroBatch], device: torch.device) -> None:
        """Begin to copy these micro-batches to a device, each when it has come from there."""
        coming, _ = self._of(device)
        with torch.cuda.stream(coming):
            for batch in batches:
                gone = self._gone.pop(batch.tokens_before, None)
                if gone is not None:
                    coming.wait_event(gone)
                kept = self._states[batch.tokens].view(len(batch.rows), batch.length, -1)
                states_BTD = kept.to(device, non_blocking=True)
                self._coming[batch.tokens_before] = states_BTD, coming.record_event()

    def get(self, batch: MicroBatch, device: torch.device) -> Tensor:
        """The states of a micro-batch, (B, T, D), on a device."""
        if batch.tokens_before not in self._coming:
            self.expect([batch], device)
        computing = torch.cuda.current_stream(device)
        states_BTD, come = self._coming.pop(batch.tokens_before)
        computing.wait_event(come)
        states_BTD.record_stream(computing)
        return states_BTD

    def put(self, batch: MicroBatch, states_BTD: Tensor) -> None:
        """Replace the states of a micro-batch; `get` waits until that is done."""
        kept = self._states[batch.tokens]
        if states_BTD.device.type != "cuda":
            kept.copy_(states_BTD.flatten(0, 1))
            return
        _, going = self._of(states_BTD.device)
        going.wait_stream(torch.cuda.current_stream(states_BTD.device))
        with torch.cuda.stream(going):
            kept.copy_(states_BTD.to(kept.dtype).flatten(0, 1), non_blocking=True)
            self._gone[batch.tokens_before] = going.record_event()
        states_BTD.record_stream(going)

    def _of(self, device: torch.device) -> tuple[torch.cuda.Stream, torch.cuda.Stream]:
        """The streams to and from a device."""
        if device not in self._streams:
            self._streams[device] = torch.cuda.Stream(device), torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        return self._streams[device]

    def __enter__(self) -> Self:
        """Nothing to open."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Wait for the copies, and give the memory back."""
        for streams in self._streams.values():
            for stream in streams:
                stream.synchronize()
        del self._states
        self._coming.clear()
        self._gone.clear()


class FileStates:
    """In a file, for macro-batches larger than the memory; only what is in hand is in memory.

    The file has no name from its beginning on: nobody else can write to it, and it is gone when its process is.

    Args:
        path: where the file is made; its directory stays.
        n_tokens: of the macro-batch.
        width: numbers a token.
        dtype: their type.

    Raises:
        RunError: the disk is too small.
    """

    def __init__(self, path: Path, n_tokens: int, width: int, dtype: torch.dtype) -> None:
        self._path, self._width, self._dtype = path, width, dtype
        self._row = width * dtype.itemsize
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            own = staging_place(path)
            self._file = os.open(own, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o666)
            own.unlink()
            try:
                # All of it now: a disk that is too small is found before the work, not within it.
                os.posix_fallocate(self._file, 0, max(1, n_tokens * self._row))
            except BaseException:
                self.__exit__(None, None, None)
                raise

    def expect(self, batches: Sequence[MicroBatch], device: torch.device) -> None:
        """Have the system read these micro-batches ahead."""
        for batch in batches:
            os.posix_fadvise(
                self._file, batch.tokens_before * self._row, batch.n_tokens * self._row, os.POSIX_FADV_WILLNEED
            )

    def get(self, batch: MicroBatch, device: torch.device) -> Tensor:
        """The states of a micro-batch, (B, T, D), read from the file onto a device."""
        states = torch.empty(
            (len(batch.rows), batch.length, self._width), dtype=self._dtype, pin_memory=device.type == "cuda"
        )
        read_file(self._file, states, batch.tokens_before * self._row, self._path)
        return states.to(device, non_blocking=True)

    def put(self, batch: MicroBatch, states_BTD: Tensor) -> None:
        """Replace the states of a micro-batch in the file."""
        with writing(self._path):
            write_file(self._file, states_BTD.to(self._dtype), batch.tokens_before * self._row)

    def __enter__(self) -> Self:
        """It is open already."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the disk space back."""
        os.close(self._file)


def read_file(file: int, tensor: Tensor, offset: int, path: Path) -> None:
    """Fill a contiguous tensor from a file.

    Args:
        file: its descriptor.
        tensor: on the CPU.
        offset: bytes before it.
        path: of the file, for messages.

    Raises:
        RunError: the file ends early.
    """
    waiting = bytes_of(tensor)
    while waiting:
        try:
            n = os.preadv(file, [waiting], offset)
        except OSError as error:
            raise RunError(f"{path}: cannot be read ({error.strerror}); mend the disk, and start again") from None
        if n == 0:
            raise RunError(f"{path}: ended early, something else has changed it; run the same command again")
        waiting, offset = waiting[n:], offset + n


def write_file(file: int, tensor: Tensor, offset: int) -> None:
    """Write a tensor's bytes into a file.

    Args:
        file: its descriptor.
        tensor: on any device.
        offset: bytes before it.
    """
    waiting = bytes_of(tensor.to("cpu").contiguous())
    while waiting:
        n = os.pwritev(file, [waiting], offset)
        waiting, offset = waiting[n:], offset + n


def open_states(
    where: Literal["device", "memory", "disk"],
    n_tokens: int,
    width: int,
    dtype: torch.dtype,
    *,
    device: torch.device,
    file: Path,
) -> HiddenStates:
    """Room for the states of a macro-batch.

    Args:
        where: on the device, in memory, or in the file.
        n_tokens: of the macro-batch.
        width: numbers a token.
        dtype: their type.
        device: one that uses them, the only one where they are to be kept on it.
        file: where, if in a file.
    """
    match where:
        case "device":
            return KeptStates()
        case "memory":
            return _PinnedStates(n_tokens, width, dtype) if device.type == "cuda" else KeptStates()
        case "disk":
            return FileStates(file, n_tokens, width, dtype)
