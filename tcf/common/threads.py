"""Work in threads: prefetching, background work, two tasks in parallel, and an ordered parallel map.

The queue between two threads can be closed from either end, so that no thread waits for one that has ended.
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
    """The other end was closed without an error."""


class Channel(Generic[_T]):
    """A bounded first-in, first-out queue between threads that either end can close.

    Args:
        depth: maximum number of waiting elements; `put` blocks while the channel is full.
    """

    def __init__(self, depth: int) -> None:
        self._depth, self._waiting = depth, deque[_T]()
        self._changed = threading.Condition()
        self._closed = False
        self._error: BaseException | None = None

    def put(self, element: _T) -> None:
        """Add an element; blocks until there is room.

        Raises:
            Closed: the channel was closed.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._closed or len(self._waiting) < self._depth)
            if self._closed:
                raise Closed
            self._waiting.append(element)
            self._changed.notify_all()

    def get(self) -> _T:
        """Take the next element; blocks until there is one.

        Raises:
            Closed: the channel was closed and is empty.
            BaseException: the error that the channel was closed with, once it is empty.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._waiting)
            if not self._waiting:
                raise self._error or Closed
            element = self._waiting.popleft()
            self._changed.notify_all()
            return element

    def __iter__(self) -> Iterator[_T]:
        """Yield elements until the channel is closed and empty."""
        while True:
            try:
                element = self.get()
            except Closed:
                return
            yield element

    def close(self, error: BaseException | None = None) -> None:
        """Close the channel. Waiting elements can still be taken; after them `get` raises the error or `Closed`.

        Args:
            error: what went wrong at this end.
        """
        with self._changed:
            self._closed, self._error = True, self._error or error
            self._changed.notify_all()


def prefetch(elements: Iterable[_T], depth: int) -> Generator[_T, None, None]:
    """Yield the elements while a background thread produces the next ones.

    An error in the background thread is raised in the consumer. Closing the iterator ends the thread after the element
    that it is producing.

    Args:
        elements: the iterable to consume in the background.
        depth: maximum number of elements produced ahead.
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
    """Apply a function to elements in several threads and yield the results in the elements' order.

    An error, of the function or of the iterable, is raised in place of the result. Closing the iterator waits for the
    elements that were already submitted.

    Args:
        work: the function; called by several threads at once.
        elements: taken one by one in the caller's thread, a few ahead of the results.
        threads: number of elements processed at once.
        extra: number of further elements taken ahead, finished or queued.
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
    """Run two functions, one in this thread and one in another, and return both results.

    Both finish before this returns; if both fail, the error of `first` is raised.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="parallel") as pool:
        other = pool.submit(second)
        return first(), other.result()


class BackgroundWorker:
    """A context manager that runs one task at a time in the background, such as saving a shard while the next is made.

    Tasks run in the order given. Their errors are raised at the next call, or on leaving the block.
    """

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="background")
        self._last: Future[None] | None = None

    def __enter__(self) -> Self:
        return self

    def do(self, work: Callable[[], None]) -> None:
        """Wait for the previous task, then start this one and return."""
        self.wait()
        self._last = self._pool.submit(work)

    def wait(self) -> None:
        """Wait until all tasks are done."""
        last, self._last = self._last, None
        if last is not None:
            last.result()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Wait for the last task; its error does not hide an error raised in the block."""
        try:
            if kind is None:
                self.wait()
        finally:
            self._pool.shutdown()
