"""The results of a study for people: a table of each dataset, with what cannot be told apart."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from tcf.common.units import as_count
from tcf.config.evaluate import EvaluateConfig
from tcf.evaluate.cells import aligned, metric_columns, wide_table
from tcf.evaluate.intervals import Bootstrap
from tcf.launch.study.results.results_table import MEAN
from tcf.ranking.metrics import measured_among

__all__ = ["results_shown"]

_Row = dict[str, Any]


def results_shown(results: pa.Table, comparisons: Mapping[str, Mapping[str, Any]], evaluate: EvaluateConfig) -> str:
    """Show the means of all settings, dataset by dataset.

    Args:
        results: the table of results.
        comparisons: the comparison of each dataset, as JSON values.
        evaluate: settings of the evaluations.
    """
    rows = [row for row in results.to_pylist() if row["seed"] == MEAN]
    if not rows:
        return "nothing has been evaluated"
    parts = []
    for dataset in dict.fromkeys(row["dataset"] for row in rows):
        of_dataset = [row for row in rows if row["dataset"] == dataset]
        parts.append("\n".join([f"{dataset}:", _table(of_dataset, comparisons.get(dataset, {}))]))
    return "\n\n".join([*parts, "\n".join(_notes(rows, comparisons, evaluate))])


def _table(rows: Sequence[_Row], comparison: Mapping[str, Any]) -> str:
    """A line for each ranking: seeds, metrics with intervals, letters, the size of the encoder."""
    metrics = [m for m in measured_among(rows[0]) if any(row[m.name] is not None for row in rows)]
    columns: list[list[list[str]]] = []
    if any(row["seeds"] > 1 for row in rows):
        columns.append([aligned("seeds", [str(row["seeds"]) for row in rows])])
    for metric in metrics:
        ends = [(row[f"{metric.name}_low"], row[f"{metric.name}_high"]) for row in rows]
        shown = [None if None in pair else pair for pair in ends]
        columns.append(metric_columns(metric, [row[metric.name] for row in rows], shown))
    columns.append([*_alike(rows, comparison)])
    if any(row["encoder_parameters"] for row in rows):
        sizes = [row["encoder_parameters"] for row in rows]
        columns.append([["encoder", *("-" if size is None else as_count(size) for size in sizes)]])
    columns.append([aligned("users", [f"{row['users']:,}" for row in rows])])
    return wide_table([["ranking", *(row["setting"] for row in rows)]], columns)


def _alike(rows: Sequence[_Row], comparison: Mapping[str, Any]) -> Iterator[list[str]]:
    """The letters of the first metric that was compared, for all targets."""
    means = [row for row in comparison.get("means", ()) if not row["by"]]
    if means:
        metric = means[0]["metric"]
        letters = {row["ranking"]: row["alike"] for row in means if row["metric"] == metric}
        yield ["alike", *(letters.get(row["setting"], "-") for row in rows)]


def _notes(
    rows: Sequence[_Row], comparisons: Mapping[str, Mapping[str, Any]], evaluate: EvaluateConfig
) -> Iterator[str]:
    """What intervals and letters mean."""
    if evaluate.resamples:
        several = any(row["seeds"] > 1 for row in rows)
        crossed = "; of means over several seeds, over users crossed with seeds" if several else ""
        yield f"intervals: {Bootstrap.of(evaluate).words} over users{crossed}"
    of_letters = {row["metric"] for found in comparisons.values() for row in found.get("means", ())[:1]}
    if of_letters:
        yield f"alike: rankings with a letter in common cannot be told apart by {', '.join(sorted(of_letters))}"
