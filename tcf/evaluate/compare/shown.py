"""The text of a comparison by one metric: means, pairs, and who serves whom."""

from collections.abc import Sequence

from tcf.common.text_table import text_table
from tcf.common.units import as_percent, counted
from tcf.common.untrusted.printable import printable
from tcf.evaluate.cells import aligned
from tcf.evaluate.compare.rows import DifferenceRow, MeanRow, ServedRow
from tcf.evaluate.intervals import interval_words
from tcf.ranking.metrics import Metric

__all__ = ["shown_part"]

_WIDTH = 100  # characters


def shown_part(
    metric: Metric, means: Sequence[MeanRow], differences: Sequence[DifferenceRow], served: Sequence[ServedRow]
) -> str:
    """Show what is known of all rankings by one metric, of all targets or of a group of them.

    Args:
        metric: the metric.
        means: a row for each ranking.
        differences: a row for each pair.
        served: the rows of who serves whom; none, if it is no hit rate.
    """
    parts = [_head(metric, means[0]), _means(metric, means), _differences(metric, differences)]
    if served:
        shares = [f"{printable(row.served_by)} {as_percent(row.share)}" for row in served]
        parts += _lines([f"users with a hit: {shares[0]}", *shares[1:]])
    return "\n".join(parts)


def _lines(entries: Sequence[str]) -> list[str]:
    """Entries with commas between them, in lines that a terminal shows whole."""
    lines = [entries[0]]
    for entry in entries[1:]:
        if len(lines[-1]) + len(entry) + 3 <= _WIDTH:
            lines[-1] += f", {entry}"
        else:
            lines[-1] += ","
            lines.append(f"    {entry}")
    return lines


def _head(metric: Metric, row: MeanRow) -> str:
    numbers = counted(row.users, "user")
    if row.targets != row.users:
        numbers += f", {counted(row.targets, 'target')}"
    group = f", {printable(row.by)}: {printable(row.group)}" if row.by else ""
    return f"{metric.name}{group} ({numbers})"


def _means(metric: Metric, rows: Sequence[MeanRow]) -> str:
    several = any(row.seeds > 1 for row in rows)
    columns = [
        ["ranking", *(row.ranking for row in rows)],
        *([aligned("seeds", [str(row.seeds) for row in rows])] if several else []),
        aligned("mean", [metric.shown(row.mean) for row in rows]),
        ["interval", *(interval_words(metric, (row.low, row.high)) for row in rows)],
        ["alike", *(row.alike for row in rows)],
    ]
    return text_table(list(zip(*columns, strict=True)))


def _differences(metric: Metric, rows: Sequence[DifferenceRow]) -> str:
    crossed = any(row.p_seeds is not None for row in rows)
    columns = [
        ["difference", *(f"{row.first} - {row.second}" for row in rows)],
        aligned("mean", [_signed(metric, row.difference) for row in rows]),
        ["interval", *(interval_words(metric, (row.low, row.high)) for row in rows)],
        aligned("p", [_p(row.p) for row in rows]),
        *([aligned("p(seeds)", ["-" if row.p_seeds is None else _p(row.p_seeds) for row in rows])] if crossed else []),
        aligned("p(Holm)", [_p(row.p_holm) for row in rows]),
    ]
    if any(row.p_mcnemar is not None for row in rows):
        columns.append(aligned("McNemar", ["-" if row.p_mcnemar is None else _p(row.p_mcnemar) for row in rows]))
    columns.append(
        aligned("detectable", ["-" if row.detectable is None else metric.shown(row.detectable) for row in rows])
    )
    return text_table(list(zip(*columns, strict=True)))


def _signed(metric: Metric, difference: float) -> str:
    shown = metric.shown(difference)
    return shown if shown.startswith("-") else f"+{shown}"


def _p(value: float) -> str:
    """A p-value, never as 0.

    >>> _p(0.0321), _p(0.0001), _p(1e-30)
    ('0.032', '0.0001', '1e-30')
    """
    return f"{value:.2g}"
