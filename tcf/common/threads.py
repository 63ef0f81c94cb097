"""Work in threads: ahead of or behind the one that uses the device, side by side, or on many elements in their order.

A queue that either end can close keeps a thread from waiting for one that has gone.
"""

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Generic, Self, TypeVar

__all__ = ["BackgroundWorker", "Channel", "Closed", "in_parallel", "ordered_map", "prefetch"]

_T = TypeVar("_T")
_U = TypeVar("_U")


class Closed(Exception):
    """The other end has gone, without an error of its own."""


class Channel(Generic[_T]):
    """Elements in the order in which they were put.

    Args:
        depth: elements waiting at most; putting one more waits.
    """

    def __init__(self, depth: int) -> None:
        self._depth, self._waiting = depth, deque[_T]()
        self._changed = threading.Condition()
        self._closed = False
        self._error: BaseException | None = None

    def put(self, element: _T) -> None:
        """Add an element, when there is room.

        Raises:
            Closed: nobody takes any more.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._closed or len(self._waiting) < self._depth)
            if self._closed:
                raise Closed
            self._waiting.append(element)
            self._changed.notify_all()

    def get(self) -> _T:
        """Take the next element, when there is one.

        Raises:
            Closed: the end was reached.
            BaseException: what the channel was closed with, after the elements before.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._waiting)
            if not self._waiting:
                raise self._error or Closed
            element = self._waiting.popleft()
            self._changed.notify_all()
            return element

    def __iter__(self) -> Iterator[_T]:
        """Elements until the end is reached."""
        while True:
            try:
                element = self.get()
            except Closed:
                return
            yield element

    def close(self, error: BaseException | None = None) -> None:
        """End: elements that wait can still be taken, then comes the error, or the end.

        Args:
            error: what went wrong at this end.
        """
        with self._changed:
            self._closed, self._error = True, self._error or error
            self._changed.notify_all()


def prefetch(elements: Iterable[_T], depth: int) -> Generator[_T, None, None]:
    """Yield the elements while a thread of its own makes the next ones.

    An error in making them is raised where they are used. Closing the iterator ends the thread after the element that
    it is making.

    Args:
        elements: what to make.
        depth: elements made and not yet used, at most.
    """
    made = Channel[_T](depth)

    def make() -> None:
        try:
            for element in elements:
                made.put(element)
            made.close()
        except Closed:
            pass
        except BaseException as error:
            made.close(error)

    thread = threading.Thread(target=make, name="prefetch", daemon=True)
    thread.start()
    try:
        yield from made
    finally:
        made.close()
        thread.join()


def ordered_map(
    work: Callable[[_T], _U], elements: Iterable[_T], threads: int, *, extra: int = 0
) -> Generator[_U, None, None]:
    """Yield the results of some work on elements, in the elements' order.

    An error of the work, or in making the elements, is raised where its result would come. Closing the iterator waits
    for the elements that were handed to threads.

    Args:
        work: what to do with an element; called by several threads at once.
        elements: taken one by one in the caller's thread, a few before their results are asked for.
        threads: elements that are worked on at once.
        extra: further elements taken, which are done or wait for a thread, while a result is waited for.
    """
    with ThreadPoolExecutor(threads, thread_name_prefix="ordered") as pool:
        running: deque[Future[_U]] = deque()
        for element in elements:
            running.append(pool.submit(work, element))
            if len(running) > threads + extra:
                yield running.popleft().result()
        while running:
            yield running.popleft().result()


def in_parallel(first: Callable[[], _T], second: Callable[[], _U]) -> tuple[_T, _U]:
    """What two pieces of work make, one in this thread and one in another.

    Both end before this returns; of two errors, this thread's is raised.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="parallel") as pool:
        other = pool.submit(second)
        return first(), other.result()


class BackgroundWorker:
    """A context manager that does one piece of work behind the caller, such as saving a shard while the next is made.

    Work is done in the order given. An error in it is raised at the next call, or on leaving the block.
    """

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="background")
        self._last: Future[None] | None = None

    def __enter__(self) -> Self:
        return self

    def do(self, work: Callable[[], None]) -> None:
        """Wait for the piece of work before this one, then begin this one and return."""
        self.wait()
        self._last = self._pool.submit(work)

    def wait(self) -> None:
        """Wait until everything is done."""
        last, self._last = self._last, None
        if last is not None:
            last.result()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Wait; an error of the work does not hide the one that the block is left with."""
        try:
            if kind is None:
                self.wait()
        finally:
            self._pool.shutdown()
