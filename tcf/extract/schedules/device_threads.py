"""Several devices on one macro-batch: shared progress, a barrier between blocks, and ending all threads on an error."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait

from tcf.common.threads import Closed
from tcf.extract.micro_batches import MicroBatch
from tcf.extract.schedules.engine import ProgressCallback

__all__ = ["Barrier", "ProgressCounter", "run_threads"]


class ProgressCounter:
    """Counts the progress of all devices; each block that a micro-batch passes counts as an equal part of it.

    Args:
        advance: progress callback; called by one thread at a time.
        depth: number of blocks to pass.
    """

    def __init__(self, advance: ProgressCallback, depth: int) -> None:
        self._advance, self._depth = advance, max(1, depth)
        self._lock, self._aborted = threading.Lock(), False

    def begin_at(self, first: int, batches: Sequence[MicroBatch]) -> None:
        """Count the blocks before `first` as passed by all micro-batches, because an earlier attempt passed them."""
        note = f"resuming with block {first + 1}/{self._depth}"
        share = first / self._depth
        for batch in batches if first else ():
            self._advance(batch.n_texts * share, batch.n_tokens * share, note, resumed=True)

    def passed(self, batch: MicroBatch, number: int) -> None:
        """Count that a micro-batch has passed block `number`.

        Raises:
            Closed: the work was aborted.
        """
        with self._lock:
            if self._aborted:
                raise Closed
            texts, tokens = batch.n_texts / self._depth, batch.n_tokens / self._depth
            self._advance(texts, tokens, f"block {number + 1}/{self._depth}")

    def abort(self) -> None:
        """Make every thread stop at its next micro-batch."""
        with self._lock:
            self._aborted = True


class Barrier:
    """Makes all devices wait for one another after a block, if something is to be done then.

    Args:
        n: number of devices.
        then: called by one of them, with the number of blocks passed, once all have arrived; if None, nobody waits.
    """

    def __init__(self, n: int, then: Callable[[int], None] | None) -> None:
        self._then, self._passed = then, 0
        self._barrier = threading.Barrier(n, self._act)

    def reach(self, passed: int) -> None:
        """Wait until all devices have passed this many blocks.

        Raises:
            Closed: the work was aborted.
        """
        if self._then is None:
            return
        self._passed = passed
        try:
            self._barrier.wait()
        except threading.BrokenBarrierError:
            raise Closed from None

    def abort(self) -> None:
        """Release everybody who waits, and whoever arrives later."""
        self._barrier.abort()

    def _act(self) -> None:
        if self._then is not None:
            self._then(self._passed)


def run_threads(pieces: Sequence[Callable[[], None]], abort: Sequence[Callable[[], None]]) -> None:
    """Run functions concurrently, each in its own thread; the first error ends them all and is raised.

    Args:
        pieces: the functions.
        abort: functions that make the other pieces end, by raising `Closed` or otherwise.
    """
    with ThreadPoolExecutor(len(pieces), thread_name_prefix="lane") as pool:
        futures = [pool.submit(piece) for piece in pieces]
        try:
            wait(futures, return_when=FIRST_EXCEPTION)
        finally:
            for call in abort:
                call()
    errors = [error for future in futures if (error := future.exception()) is not None]
    if errors:
        # An aborted piece may have ended before the one that caused the error.
        raise min(errors, key=lambda error: isinstance(error, Closed))
