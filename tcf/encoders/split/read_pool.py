"""Reading tensors' bytes from files of weights, with several threads, into memory that is there."""

import os
import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from types import TracebackType

from tcf.common.errors import ModelError
from tcf.common.files import FileStamp
from tcf.encoders.split.stored_tensors import StoredTensor

__all__ = ["ReadPool"]

_CHUNK = 1 << 24  # bytes that a thread reads at once


class ReadPool:
    """Threads that read files of weights, and those files, each opened once until the pool is closed.

    Attributes:
        bytes_read: bytes of weights read so far.
    """

    def __init__(self, threads: int) -> None:
        """Start without open files.

        Args:
            threads: how many chunks are read at once.
        """
        self.bytes_read = 0
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="weights")
        self._descriptors: dict[Path, int] = {}
        self._stamps: dict[Path, FileStamp] = {}
        self._lock = threading.Lock()

    def __enter__(self) -> "ReadPool":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Wait for what is being read, and close all files."""
        self._threads.shutdown(cancel_futures=True)
        with self._lock:
            while self._descriptors:
                os.close(self._descriptors.popitem()[1])

    def read(self, into: Sequence[tuple[StoredTensor, memoryview]]) -> None:
        """Read tensors' bytes, each into memory of its size.

        When this returns or raises, no thread writes to that memory any more.

        Raises:
            ModelError: a file cannot be opened or read, or ends too early.
        """
        chunks: list[Future[None]] = []
        try:
            for tensor, memory in into:
                descriptor = self._descriptor(tensor.file)
                for start in range(0, len(memory), _CHUNK):
                    part = memory[start : start + _CHUNK]
                    chunks.append(self._threads.submit(_read, descriptor, part, tensor, tensor.offset + start))
            for chunk in chunks:
                chunk.result()
        finally:
            for chunk in chunks:
                chunk.cancel()
            wait(chunks)
        with self._lock:
            self.bytes_read += sum(len(memory) for _, memory in into)

    def check_unchanged(self) -> None:
        """Check that every file is the one that was opened, byte for byte as far as its times tell.

        Raises:
            ModelError: one was written to, or another has taken its place.
        """
        for file, stamp in self._stamps.items():
            if not file.exists() or FileStamp.of(file) != stamp:
                raise ModelError(f"{file}: was changed while weights were read from it; run the same command again")

    def _descriptor(self, file: Path) -> int:
        with self._lock:
            if file not in self._descriptors:
                try:
                    self._descriptors[file] = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
                    self._stamps[file] = FileStamp.of(self._descriptors[file])
                except OSError as error:
                    raise ModelError(
                        f"{file}: weights cannot be opened ({error.strerror or error}); mend the disk or its mount"
                    ) from None
            return self._descriptors[file]


def _read(descriptor: int, memory: memoryview, tensor: StoredTensor, offset: int) -> None:
    """Fill memory from a place in a file; the system may give less than is asked for, so until it is full."""
    done = 0
    while done < len(memory):
        place = offset + done
        try:
            count = os.preadv(descriptor, [memory[done:]], place)
        except OSError as error:
            raise ModelError(
                f"{tensor.file}: {tensor.name} cannot be read at byte {place} ({error.strerror or error}); mend the "
                "disk or its mount, or fetch the file anew"
            ) from None
        if count == 0:
            raise ModelError(
                f"{tensor.file}: expected {len(memory) - done} more bytes of {tensor.name} at byte {place}, found the "
                "end of the file, which has become shorter since it was opened; fetch it anew"
            )
        done += count
