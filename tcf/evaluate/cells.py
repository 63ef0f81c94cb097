"""Cells of tables for people: means of metrics and their intervals."""

from collections.abc import Sequence

from tcf.evaluate.intervals import Interval, interval_words
from tcf.ranking.metrics import Metric

__all__ = ["aligned", "metric_columns"]

_COLUMN = 9  # smallest width of a column of numbers, in characters


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
