"""A table in plain text."""

from collections.abc import Sequence

__all__ = ["text_table"]


def text_table(rows: Sequence[Sequence[str]], *, gap: str = "  ") -> str:
    """Lines of cells, each column as wide as its widest cell; nothing follows the last letter of a line.

    Args:
        rows: the head and the rows under it, each with one cell a column; pad a cell to align it to the right.
        gap: what stands between columns.

    Example:
        >>> print(text_table([["name", "n"], ["a", "1"], ["longer", "20"]]))
        name    n
        a       1
        longer  20
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = (gap.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)
