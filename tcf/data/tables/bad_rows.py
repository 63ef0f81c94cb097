"""Handling of unusable rows in raw files: an error that names their lines, or a count by reason."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from tcf.common.errors import DataError

__all__ = ["BadRows", "skipped_words"]

_LINES_NAMED = 5
_FOUND_SHOWN = 80


class BadRows:
    """Rejects unusable rows of raw files: raises an error, or counts them.

    Attributes:
        skipped: number of rows, or of events within rows, left out so far, by reason.
    """

    skipped: dict[str, int]

    def __init__(self, mode: Literal["error", "skip"]) -> None:
        self.skipped = {}
        self._mode = mode

    def reject(
        self,
        reason: str,
        path: Path,
        lines: npt.NDArray[np.int64],
        expected: str,
        found: Callable[[int], str],
        unit: Literal["line", "row"] = "line",
        *,
        so_far: bool = False,
    ) -> None:
        """Raise an error for bad rows, or count them; do nothing if there are none.

        Args:
            reason: the key that they are counted under.
            path: the file.
            lines: line numbers, from 1, rising; one for each bad row or event.
            expected: what was expected instead.
            found: returns a description of the i-th bad row.
            unit: what `lines` counts: lines of a text file, or rows of another format.
            so_far: whether a part of the file is still unread and may have more such rows.

        Raises:
            DataError: there are bad rows and the mode is "error".
        """
        if len(lines) == 0:
            return
        if self._mode == "error":
            where = f"{path}:{lines[0]}" if unit == "line" else f"{path}, {unit} {lines[0]}"
            many = _how_many(reason, lines, unit, "so far" if so_far else "in all")
            raise DataError(
                f"{where}: expected {expected}, found {_shortened(found(0))}; {many}; "
                "correct the file, or skip and count such rows with --bad-rows skip"
            )
        self.count(reason, len(lines))

    def count(self, reason: str, number: int) -> None:
        """Count rows or events left out for a reason that is never an error."""
        if number:
            self.skipped[reason] = self.skipped.get(reason, 0) + number


def skipped_words(skipped: Mapping[str, int]) -> str:
    """Return counts by reason, for messages: `12 empty_id, 3 empty_text`, or `none`."""
    return ", ".join(f"{number} {reason}" for reason, number in skipped.items()) or "none"


def _how_many(reason: str, lines: npt.NDArray[np.int64], unit: str, extent: str) -> str:
    distinct = np.unique(lines)
    named = ", ".join(str(line) for line in distinct[:_LINES_NAMED])
    more = ", ..." if len(distinct) > _LINES_NAMED else ""
    return f"{len(lines)} of this kind ({reason}) {extent}, on {unit}{'s' if len(distinct) > 1 else ''} {named}{more}"


def _shortened(text: str) -> str:
    return text if len(text) <= _FOUND_SHOWN else text[:_FOUND_SHOWN] + "..."
