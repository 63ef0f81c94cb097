"""A table in plain text."""

from collections.abc import Sequence

from tcf.common.untrusted.printable import printable

__all__ = ["text_table"]


def text_table(rows: Sequence[Sequence[str]], *, gap: str = "  ") -> str:
    """Format a table in which each column is as wide as its widest cell; lines have no trailing spaces.

    Line breaks and other controls in cells are escaped.

    Args:
        rows: the header and the rows under it, one cell per column; pad a cell on the left to align it to the right.
        gap: separator between columns.

    Example:
        >>> print(text_table([["name", "n"], ["a", "1"], ["longer", "20"]]))
        name    n
        a       1
        longer  20
    """
    cells = [[printable(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = (gap.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in cells)
    return "\n".join(line.rstrip() for line in lines)
