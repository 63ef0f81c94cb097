"""Handling of unusable rows in raw files: an error that names their lines, or a count by reason."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from tcf.common.errors import DataError

__all__ = ["LINES_NAMED", "BadRows", "Unit", "place", "skipped_words"]

Unit = Literal["line", "row"]

LINES_NAMED = 5
"""Lines named in a message."""

_FOUND_SHOWN = 80


class BadRows:
    """Rejects unusable rows of raw files: raises an error, or counts them.

    Attributes:
        skipped: number of rows, or of events within rows, left out so far, by reason.
        is_error: whether unusable rows are errors.
    """

    skipped: dict[str, int]
    is_error: bool

    def __init__(self, mode: Literal["error", "skip"]) -> None:
        self.skipped = {}
        self.is_error = mode == "error"

    def reject(
        self,
        reason: str,
        number: int,
        path: Path,
        lines: Sequence[int],
        expected: str,
        found: str,
        unit: Unit = "line",
    ) -> None:
        """Raise an error for bad rows, or count them; do nothing if there are none.

        Args:
            reason: the key that they are counted under.
            number: how many there are.
            path: the file.
            lines: the numbers of the first different lines, from 1, rising, one more than a message names; used only
                for an error.
            expected: what was expected instead.
            found: the first bad row; used only for an error.
            unit: what `lines` counts: lines of a text file, or rows of another format.

        Raises:
            DataError: there are bad rows, and such rows are errors.
        """
        if number == 0:
            return
        if self.is_error:
            raise DataError(
                f"{place(path, lines[0], unit)}: expected {expected}, found {_shortened(found)}; {number} of this kind "
                f"({reason}) in all, on {_listed(lines, unit)}; correct the file, or skip and count such rows with "
                "--bad-rows skip"
            )
        self.count(reason, number)

    def count(self, reason: str, number: int) -> None:
        """Count rows or events left out for a reason that is never an error."""
        if number:
            self.skipped[reason] = self.skipped.get(reason, 0) + number


def place(path: Path, line: int, unit: Unit) -> str:
    """Return where in a file a row is, for messages."""
    return f"{path}:{line}" if unit == "line" else f"{path}, {unit} {line}"


def skipped_words(skipped: Mapping[str, int]) -> str:
    """Return counts by reason, for messages: `12 empty_id, 3 empty_text`, or `none`."""
    return ", ".join(f"{number} {reason}" for reason, number in skipped.items()) or "none"


def _listed(lines: Sequence[int], unit: Unit) -> str:
    named = ", ".join(map(str, lines[:LINES_NAMED])) + (", ..." if len(lines) > LINES_NAMED else "")
    return f"{unit}{'s' if len(lines) > 1 else ''} {named}"


def _shortened(text: str) -> str:
    return text if len(text) <= _FOUND_SHOWN else text[:_FOUND_SHOWN] + "..."
