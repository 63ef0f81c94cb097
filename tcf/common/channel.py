"""A queue between two threads that either end can close, so that no thread waits for one that has gone."""

import threading
from collections import deque
from collections.abc import Iterator
from typing import Generic, TypeVar

__all__ = ["Channel", "Closed"]

_T = TypeVar("_T")


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
