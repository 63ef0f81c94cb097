"""Evaluations side by side, as a table for people and as a frame."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from tcf.common.text_table import text_table
from tcf.config.evaluate import EvaluateConfig
from tcf.config.fields import option_name
from tcf.data.data_frames import data_frame
from tcf.evaluate.cells import aligned, metric_columns
from tcf.evaluate.evaluation import Evaluation
from tcf.evaluate.intervals import end_columns
from tcf.evaluate.questions import POLICIES
from tcf.evaluate.seeds import SeedEvaluations
from tcf.ranking.metrics import Metric

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Compared", "EvaluationTable"]

Compared = Evaluation | SeedEvaluations


@dataclass(frozen=True, repr=False)
class EvaluationTable:
    """Evaluations side by side.

    Attributes:
        evaluations: finished evaluations, or several ones of one setting with different seeds, by the name to show, in
            the order to show.
    """

    evaluations: Mapping[str, Compared]

    def to_pandas(self) -> "pd.DataFrame":
        """One row for each evaluation, named as it is shown, a column for each metric and for what was evaluated.

        The ends of a metric's interval are in the columns `hr@10_low` and `hr@10_high`. Where a setting was trained
        with several seeds, there is a row for each of them and one for their mean, whose intervals cross users with
        seeds, and there are more columns: the `seed` of a row, and the number of `seeds` that it is the mean of.

        Raises:
            ConfigError: pandas is not installed.
            RunError: the ranks of a seed's evaluation are missing or damaged.
        """
        rows = [row for name, compared in self.evaluations.items() for row in _rows(name, compared)]
        columns = dict.fromkeys(column for row in rows for column in row)
        return data_frame(pa.Table.from_pylist([{c: row.get(c) for c in columns} for row in rows])).set_index("name")

    def __repr__(self) -> str:
        """One line for each evaluation, or for the mean of several, with its metrics as each is shown."""
        compared = [*self.evaluations.values()]
        found = [entry.metrics for entry in compared]
        columns = [
            ["ranking", *self.evaluations],
            *(column for metric in _measured(compared) for column in _of_metric(metric, compared)),
            aligned("users", [f"{means['users']:,}" for means in found]),
            aligned("items", [f"{means['candidates']:,}" for means in found]),
            *_unusual_policies(found),
        ]
        return "\n".join([text_table(list(zip(*columns, strict=True)), gap=" "), *_notes(compared)])


def _rows(name: str, compared: Compared) -> Iterator[dict[str, Any]]:
    match compared:
        case SeedEvaluations():
            for seed, evaluation in compared.evaluations.items():
                yield {"name": name, **_row(evaluation), "seed": seed, "seeds": 1}
            yield {"name": name, **_row(compared), "seed": None, "seeds": len(compared.evaluations)}
        case Evaluation():
            yield {"name": name, **_row(compared)}


def _row(compared: Compared) -> dict[str, Any]:
    return {**compared.metrics, **end_columns(compared.intervals)}


def _measured(compared: Sequence[Compared]) -> list[Metric]:
    """What was measured in some evaluation, in the order of the first that measured most."""
    names = sorted((entry.measured for entry in compared), key=len, reverse=True)
    return [*{metric.name: metric for measured in names for metric in measured}.values()]


def _of_metric(metric: Metric, compared: Sequence[Compared]) -> list[list[str]]:
    """A column with the means of a metric and, if there are any, one with their intervals."""
    means = [entry.metrics.get(metric.name) for entry in compared]
    return metric_columns(metric, means, [entry.intervals.get(metric.name) for entry in compared])


def _notes(compared: Sequence[Compared]) -> Iterator[str]:
    """What the intervals are; those of several seeds are of another kind."""
    for kind, over in ((Evaluation, "users"), (SeedEvaluations, "users crossed with seeds, of means over several")):
        words = dict.fromkeys(e.bootstrap.words for e in compared if isinstance(e, kind) and e.intervals)
        if words:
            yield f"intervals: {' or '.join(words)} over {over}"


def _unusual_policies(found: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """A column for each policy that is not the default one in some evaluation."""
    columns = []
    for name in POLICIES:
        usual = getattr(EvaluateConfig(), name)
        values = [str(means.get(name, usual)) for means in found]
        if set(values) != {usual}:
            columns.append(aligned(option_name(name).lstrip("-"), values))
    return columns
