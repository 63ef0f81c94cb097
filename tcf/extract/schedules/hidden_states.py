"""Storage for the hidden states of a macro-batch between two blocks: on the device, in memory, or in a file.

Shapes: B texts, T tokens, D width.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Literal, Protocol, Self

import torch
from torch import Tensor

from tcf.common.errors import RunError, os_error_words
from tcf.common.files import staging_place, writing
from tcf.encoders.split.weight_buffers import bytes_of
from tcf.extract.micro_batches import MicroBatch

__all__ = ["FileStates", "HiddenStates", "KeptStates", "open_states", "read_file", "write_file"]


class HiddenStates(Protocol):
    """One hidden state per token, replaced after every block; threads may work on different micro-batches."""

    def get(self, batch: MicroBatch, device: torch.device) -> Tensor:
        """The states of a micro-batch, (B, T, D), on a device."""

    def expect(self, batches: Sequence[MicroBatch], device: torch.device) -> None:
        """Announce the micro-batches that will be read next, so that they can be brought to the device now."""

    def put(self, batch: MicroBatch, states_BTD: Tensor) -> None:
        """Replace the states of a micro-batch."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class KeptStates:
    """Hidden states kept on the device that uses them, as the blocks return them."""

    def __init__(self) -> None:
        self._kept: dict[int, Tensor] = {}

    def expect(self, batches: Sequence[MicroBatch], device: torch.device) -> None:
        """Do nothing: the states are on the device."""

    def get(self, batch: MicroBatch, device: torch.device) -> Tensor:
        """The states of a micro-batch, (B, T, D); they must not be modified."""
        return self._kept[batch.states_before].to(device)

    def put(self, batch: MicroBatch, states_BTD: Tensor) -> None:
        """Replace the states of a micro-batch."""
        # A view may keep more memory alive than it covers.
        whole = states_BTD.untyped_storage().nbytes() == states_BTD.nbytes
        self._kept[batch.states_before] = states_BTD if whole else states_BTD.clone()

    def __enter__(self) -> Self:
        """Nothing to open."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Release the memory."""
        self._kept.clear()


class _PinnedStates:
    """Hidden states in pinned RAM, for CUDA devices.

    Two streams per device copy them: while one micro-batch is computed, the next one's states are copied to the device
    and the previous one's from it.

    Args:
        n_states: number of states of the macro-batch.
        width: width of a state.
        dtype: type of the states.
    """

    def __init__(self, n_states: int, width: int, dtype: torch.dtype) -> None:
        self._states = torch.empty((n_states, width), dtype=dtype, pin_memory=True)
        self._streams: dict[torch.device, tuple[torch.cuda.Stream, torch.cuda.Stream]] = {}
        self._coming: dict[int, tuple[Tensor, torch.cuda.Event]] = {}
        self._gone: dict[int, torch.cuda.Event] = {}

    def expect(self, batches: Sequence[MicroBatch], device: torch.device) -> None:
        """Start copying these micro-batches to a device, each after its copy from there has ended."""
        coming, _ = self._copy_streams(device)
        with torch.cuda.stream(coming):
            for batch in batches:
                gone = self._gone.pop(batch.states_before, None)
                if gone is not None:
                    coming.wait_event(gone)
                kept = self._states[batch.states].view(*batch.shape, -1)
                states_BTD = kept.to(device, non_blocking=True)
                self._coming[batch.states_before] = states_BTD, coming.record_event()

    def get(self, batch: MicroBatch, device: torch.device) -> Tensor:
        """The states of a micro-batch, (B, T, D), on a device."""
        if batch.states_before not in self._coming:
            self.expect([batch], device)
        computing = torch.cuda.current_stream(device)
        states_BTD, come = self._coming.pop(batch.states_before)
        computing.wait_event(come)
        states_BTD.record_stream(computing)
        return states_BTD

    def put(self, batch: MicroBatch, states_BTD: Tensor) -> None:
        """Replace the states of a micro-batch; `get` waits until the copy is done."""
        kept = self._states[batch.states]
        if states_BTD.device.type != "cuda":
            kept.copy_(states_BTD.flatten(0, 1))
            return
        _, going = self._copy_streams(states_BTD.device)
        going.wait_stream(torch.cuda.current_stream(states_BTD.device))
        with torch.cuda.stream(going):
            kept.copy_(states_BTD.to(kept.dtype).flatten(0, 1), non_blocking=True)
            self._gone[batch.states_before] = going.record_event()
        states_BTD.record_stream(going)

    def _copy_streams(self, device: torch.device) -> tuple[torch.cuda.Stream, torch.cuda.Stream]:
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
        """Wait for the copies, and release the memory."""
        for streams in self._streams.values():
            for stream in streams:
                stream.synchronize()
        del self._states
        self._coming.clear()
        self._gone.clear()


class FileStates:
    """Hidden states in a file, for macro-batches larger than the memory; only current micro-batches are in memory.

    The file is unlinked as soon as it is created: nobody else can write to it, and it disappears with its process.

    Args:
        path: where the file is created; its directory stays.
        n_states: number of states of the macro-batch.
        width: width of a state.
        dtype: type of the states.

    Raises:
        RunError: the disk is too small.
    """

    def __init__(self, path: Path, n_states: int, width: int, dtype: torch.dtype) -> None:
        self._path, self._width, self._dtype = path, width, dtype
        self._row = width * dtype.itemsize
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            own = staging_place(path)
            self._file = os.open(own, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o666)
            own.unlink()
            try:
                # Allocate all of it now, so that a full disk is found before the work and not during it.
                os.posix_fallocate(self._file, 0, max(1, n_states * self._row))
            except BaseException:
                self.__exit__(None, None, None)
                raise

    def expect(self, batches: Sequence[MicroBatch], device: torch.device) -> None:
        """Let the operating system read these micro-batches ahead."""
        for batch in batches:
            os.posix_fadvise(
                self._file, batch.states_before * self._row, batch.n_states * self._row, os.POSIX_FADV_WILLNEED
            )

    def get(self, batch: MicroBatch, device: torch.device) -> Tensor:
        """The states of a micro-batch, (B, T, D), read from the file onto a device."""
        states = torch.empty((*batch.shape, self._width), dtype=self._dtype, pin_memory=device.type == "cuda")
        read_file(self._file, states, batch.states_before * self._row, self._path)
        return states.to(device, non_blocking=True)

    def put(self, batch: MicroBatch, states_BTD: Tensor) -> None:
        """Replace the states of a micro-batch in the file."""
        with writing(self._path):
            write_file(self._file, states_BTD.to(self._dtype), batch.states_before * self._row)

    def __enter__(self) -> Self:
        """Do nothing: the file is open."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Release the disk space."""
        os.close(self._file)


def read_file(file: int, tensor: Tensor, offset: int, path: Path) -> None:
    """Fill a contiguous tensor from a file.

    Args:
        file: file descriptor.
        tensor: on the CPU.
        offset: where its bytes start in the file.
        path: the file's path, for messages.

    Raises:
        RunError: the file ends early.
    """
    waiting = bytes_of(tensor)
    while waiting:
        try:
            n = os.preadv(file, [waiting], offset)
        except OSError as error:
            raise RunError(
                f"{path}: cannot be read ({os_error_words(error)}); check the disk, then run the same command again"
            ) from None
        if n == 0:
            raise RunError(
                f"{path}: expected {len(waiting)} more bytes from byte {offset} on, found the file's end; another "
                "program has changed it: run the same command again"
            )
        waiting, offset = waiting[n:], offset + n


def write_file(file: int, tensor: Tensor, offset: int) -> None:
    """Write a tensor's bytes into a file.

    Args:
        file: file descriptor.
        tensor: on any device.
        offset: where its bytes start in the file.
    """
    waiting = bytes_of(tensor.to("cpu").contiguous())
    while waiting:
        n = os.pwritev(file, [waiting], offset)
        waiting, offset = waiting[n:], offset + n


def open_states(
    where: Literal["device", "memory", "disk"],
    n_states: int,
    width: int,
    dtype: torch.dtype,
    *,
    device: torch.device,
    file: Path,
) -> HiddenStates:
    """Open storage for the hidden states of a macro-batch.

    Args:
        where: on the device, in memory, or in the file.
        n_states: number of states of the macro-batch.
        width: width of a state.
        dtype: type of the states.
        device: a device that uses them; the only one if they are kept on it.
        file: path of the file, if they are kept in one.
    """
    match where:
        case "device":
            return KeptStates()
        case "memory":
            return _PinnedStates(n_states, width, dtype) if device.type == "cuda" else KeptStates()
        case "disk":
            return FileStates(file, n_states, width, dtype)
