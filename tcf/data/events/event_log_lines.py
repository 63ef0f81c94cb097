"""Where events stand in their file, kept in little memory: most blocks have one event a line."""

import numpy as np
import numpy.typing as npt

__all__ = ["LineNumbers"]

Lines = npt.NDArray[np.int64]


class LineNumbers:
    """Line numbers of events, added a block at a time."""

    def __init__(self) -> None:
        self._starts = [0]
        self._blocks: list[Lines | int] = []

    def add(self, lines: Lines) -> None:
        """Take the lines of the next events, (n,), rising."""
        if len(lines) == 0:
            return
        without_gaps = int(lines[-1]) - int(lines[0]) == len(lines) - 1
        self._blocks.append(int(lines[0]) if without_gaps else lines)
        self._starts.append(self._starts[-1] + len(lines))

    def at(self, events: Lines) -> Lines:
        """The lines of the events with these numbers, from 0, rising; (n,)."""
        bounds = np.searchsorted(events, self._starts)
        parts = [
            self._within(block, events[bounds[at] : bounds[at + 1]] - self._starts[at])
            for at, block in enumerate(self._blocks)
        ]
        return np.concatenate([np.zeros(0, np.int64), *parts])

    @staticmethod
    def _within(block: Lines | int, events: Lines) -> Lines:
        lines: Lines = events + block if isinstance(block, int) else block[events]
        return lines
