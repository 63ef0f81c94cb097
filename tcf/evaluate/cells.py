"""Cells of tables for people: means of metrics and their intervals."""

from collections.abc import Iterator, Sequence

from tcf.common.text_table import text_table
from tcf.evaluate.intervals import Interval, interval_words
from tcf.ranking.metrics import Metric

__all__ = ["aligned", "metric_columns", "wide_table"]

_COLUMN = 9  # smallest width of a column of numbers, in characters
_GAP = " "
_WIDEST = 130  # characters of a table that is not divided
_TERMINAL = 100  # characters of each part of one that is

Column = Sequence[str]
"""The head of a column and its cells."""


def aligned(head: str, cells: Sequence[str]) -> list[str]:
    """A right-aligned column of numbers."""
    width = max(_COLUMN, *map(len, (head, *cells)))
    return [cell.rjust(width) for cell in (head, *cells)]


def metric_columns(
    metric: Metric, means: Sequence[float | None], intervals: Sequence[Interval | None]
) -> list[list[str]]:
    """A column with the means of a metric and, if there are any, one with their intervals.

    Args:
        metric: the metric.
        means: the mean in each line; None where it was not measured.
        intervals: the interval in each line; None where there is none.
    """
    column = aligned(metric.name, ["-" if mean is None else metric.shown(mean) for mean in means])
    words = ["" if ends is None else interval_words(metric, ends) for ends in intervals]
    return [column, ["", *words]] if any(words) else [column]


def wide_table(keys: Sequence[Column], together: Sequence[Sequence[Column]]) -> str:
    """Format a table; one too wide for a terminal is divided into several, below one another.

    >>> columns = [[[head.rjust(70), cell.rjust(70)]] for head, cell in (("hr@10", "4 %"), ("mrr", "1 %"))]
    >>> print(wide_table([["by", "cold"]], columns))
    by                                                                      hr@10
    cold                                                                      4 %
    <BLANKLINE>
    by                                                                        mrr
    cold                                                                      1 %

    Args:
        keys: the columns that say what a line is about, at the left of each table.
        together: the other columns; those of one entry are never divided.
    """
    whole = [column for columns in together for column in columns]
    parts = [whole] if _width([*keys, *whole]) <= _WIDEST else [*_parts(keys, together)]
    return "\n\n".join(text_table(list(zip(*keys, *part, strict=True)), gap=_GAP) for part in parts)


def _parts(keys: Sequence[Column], together: Sequence[Sequence[Column]]) -> Iterator[list[Column]]:
    part: list[Column] = []
    for columns in together:
        if part and _width([*keys, *part, *columns]) > _TERMINAL:
            yield part
            part = []
        part += columns
    yield part


def _width(columns: Sequence[Column]) -> int:
    return sum(max(map(len, column)) for column in columns) + len(_GAP) * (len(columns) - 1)
