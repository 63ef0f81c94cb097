"""Work that runs ahead of, or behind, the one that uses the device."""

import threading
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Self, TypeVar

from tcf.common.channel import Channel, Closed

__all__ = ["Behind", "ahead", "side_by_side"]

_T = TypeVar("_T")
_U = TypeVar("_U")


def ahead(elements: Iterable[_T], depth: int) -> Generator[_T, None, None]:
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

    thread = threading.Thread(target=make, name="ahead", daemon=True)
    thread.start()
    try:
        yield from made
    finally:
        made.close()
        thread.join()


def side_by_side(here: Callable[[], _T], beside: Callable[[], _U]) -> tuple[_T, _U]:
    """What two pieces of work make, one in this thread and one in another.

    Both end before this returns; of two errors, this thread's is raised.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="beside") as pool:
        other = pool.submit(beside)
        return here(), other.result()


class Behind:
    """A context manager that does one piece of work behind the caller, such as saving a shard while the next is made.

    Work is done in the order given. An error in it is raised at the next call, or on leaving the block.
    """

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="behind")
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
