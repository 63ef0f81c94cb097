"""What happens to rows of raw files that cannot be used: an error that names their lines, or a count by reason."""

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from tcf.common.errors import DataError

__all__ = ["BadRows"]

_LINES_NAMED = 5
_FOUND_SHOWN = 80


class BadRows:
    """Collects the rows that readers of raw files cannot use.

    Attributes:
        skipped: reason to the number of rows, or of events within rows, left out so far.
    """

    skipped: dict[str, int]

    def __init__(self, mode: Literal["error", "skip"]) -> None:
        self.skipped = {}
        self._mode = mode

    def refuse(
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
        """Stop at bad rows, or count them; does nothing if there are none.

        Args:
            reason: the key they are counted under.
            path: the file.
            lines: line numbers, from 1, rising; one for every bad row or event.
            expected: what should have been there.
            found: describes the i-th of them.
            unit: what `lines` counts: lines of a text file, or rows of one that has no lines.
            so_far: whether more of the file is still to be read, where more such rows may be.

        Raises:
            DataError: there is one and the mode is "error".
        """
        if len(lines) == 0:
            return
        if self._mode == "error":
            where = f"{path}:{lines[0]}" if unit == "line" else f"{path}, {unit} {lines[0]}"
            many = _how_many(reason, lines, unit, "so far" if so_far else "in all")
            raise DataError(
                f"{where}: expected {expected}, found {_shortened(found(0))}; {many}; "
                "mend the file, or skip and count such rows with --bad-rows skip"
            )
        self.count(reason, len(lines))

    def count(self, reason: str, number: int) -> None:
        """Count what was left out for a reason that is no fault of a row."""
        if number:
            self.skipped[reason] = self.skipped.get(reason, 0) + number


def _how_many(reason: str, lines: npt.NDArray[np.int64], unit: str, extent: str) -> str:
    distinct = np.unique(lines)
    named = ", ".join(str(line) for line in distinct[:_LINES_NAMED])
    more = ", ..." if len(distinct) > _LINES_NAMED else ""
    return f"{len(lines)} of this kind ({reason}) {extent}, on {unit}{'s' if len(distinct) > 1 else ''} {named}{more}"


def _shortened(text: str) -> str:
    return text if len(text) <= _FOUND_SHOWN else text[:_FOUND_SHOWN] + "..."
