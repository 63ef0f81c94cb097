"""Reading tensors from weight files into existing memory, with several threads."""

import os
import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from types import TracebackType

from tcf.common.errors import ModelError, os_error_words
from tcf.common.files import FileStamp
from tcf.encoders.split.stored_tensors import StoredTensor

__all__ = ["ReadPool"]

_CHUNK = 1 << 24  # bytes that a thread reads at once


class ReadPool:
    """Threads that read weight files, each of which is opened once and kept open until the pool is closed.

    Attributes:
        bytes_read: bytes of weights read so far.
    """

    def __init__(self, threads: int) -> None:
        """Start without open files.

        Args:
            threads: number of chunks read at once.
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
        """Wait for running reads, and close all files."""
        self._threads.shutdown(cancel_futures=True)
        with self._lock:
            while self._descriptors:
                os.close(self._descriptors.popitem()[1])

    def read(self, into: Sequence[tuple[StoredTensor, memoryview]]) -> None:
        """Read tensors' bytes, each into memory of its size.

        When this returns or raises, no thread writes to that memory any more.

        Raises:
            ModelError: a file cannot be opened or read, or is too short.
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
        """Check by size, times and inode that no file has changed since it was opened.

        Raises:
            ModelError: a file was written to or replaced.
        """
        for file, stamp in self._stamps.items():
            if not file.exists() or FileStamp.of(file) != stamp:
                raise ModelError(f"{file}: expected no change during the run, found one; run the same command again")

    def _descriptor(self, file: Path) -> int:
        with self._lock:
            if file not in self._descriptors:
                try:
                    self._descriptors[file] = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
                    self._stamps[file] = FileStamp.of(self._descriptors[file])
                except OSError as error:
                    raise ModelError(
                        f"{file}: weights cannot be opened ({os_error_words(error)}); check the disk and its mount"
                    ) from None
            return self._descriptors[file]


def _read(descriptor: int, memory: memoryview, tensor: StoredTensor, offset: int) -> None:
    """Fill memory from an offset in a file; a single read may return fewer bytes than requested."""
    done = 0
    while done < len(memory):
        place = offset + done
        try:
            count = os.preadv(descriptor, [memory[done:]], place)
        except OSError as error:
            raise ModelError(
                f"{tensor.file}: {tensor.name} cannot be read at byte {place} ({os_error_words(error)}); check the "
                "disk and its mount, or download the file again"
            ) from None
        if count == 0:
            raise ModelError(
                f"{tensor.file}: expected {len(memory) - done} more bytes of {tensor.name} at byte {place}, found the "
                "end of the file, which was truncated after it was opened; download it again"
            )
        done += count
