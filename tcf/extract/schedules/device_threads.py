"""Several devices on one macro-batch: joint progress, a barrier between blocks, and how an error ends all threads."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait

from tcf.common.threads import Closed
from tcf.extract.micro_batches import MicroBatch
from tcf.extract.schedules.engine import ProgressCallback

__all__ = ["Barrier", "ProgressCounter", "run_threads"]


class ProgressCounter:
    """Counts the progress of all devices: a micro-batch counts in parts, one for each block that it has to pass.

    Args:
        advance: is told; by one thread at a time.
        depth: how many blocks there are to pass.
    """

    def __init__(self, advance: ProgressCallback, depth: int) -> None:
        self._advance, self._depth = advance, max(1, depth)
        self._lock, self._aborted = threading.Lock(), False

    def begin_at(self, first: int, batches: Sequence[MicroBatch]) -> None:
        """An earlier attempt has passed so many blocks with all micro-batches."""
        note = f"going on with block {first + 1}/{self._depth}"
        share = first / self._depth
        for batch in batches if first else ():
            self._advance(len(batch.rows) * share, batch.n_tokens * share, note, resumed=True)

    def passed(self, batch: MicroBatch, number: int) -> None:
        """A micro-batch has passed block `number`.

        Raises:
            Closed: the work was given up.
        """
        with self._lock:
            if self._aborted:
                raise Closed
            texts, tokens = len(batch.rows) / self._depth, batch.n_tokens / self._depth
            self._advance(texts, tokens, f"block {number + 1}/{self._depth}")

    def abort(self) -> None:
        """Let everybody stop at the next micro-batch."""
        with self._lock:
            self._aborted = True


class Barrier:
    """Where all devices wait for one another after a block, if there is something to be done then.

    Args:
        n: how many there are.
        then: what one of them does when all are there, given the blocks passed; None: nobody waits.
    """

    def __init__(self, n: int, then: Callable[[int], None] | None) -> None:
        self._then, self._passed = then, 0
        self._barrier = threading.Barrier(n, self._act)

    def reach(self, passed: int) -> None:
        """So many blocks are passed.

        Raises:
            Closed: the work was given up.
        """
        if self._then is None:
            return
        self._passed = passed
        try:
            self._barrier.wait()
        except threading.BrokenBarrierError:
            raise Closed from None

    def abort(self) -> None:
        """Let nobody wait any more."""
        self._barrier.abort()

    def _act(self) -> None:
        if self._then is not None:
            self._then(self._passed)


def run_threads(pieces: Sequence[Callable[[], None]], abort: Sequence[Callable[[], None]]) -> None:
    """Do pieces of work at once, each in a thread of its own; the first error ends them all, and is raised.

    Args:
        pieces: the work.
        abort: what makes the other pieces end, by raising `Closed` or otherwise.
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
        # A piece that was given up may have ended before the one whose error it was.
        raise min(errors, key=lambda error: isinstance(error, Closed))
