"""Evaluations side by side, as a table for people and as a frame."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from tcf.common.text_table import text_table
from tcf.config.evaluate import EvaluateConfig
from tcf.config.fields import option_name
from tcf.data.data_frames import data_frame
from tcf.evaluate.evaluation import Evaluation
from tcf.evaluate.questions import POLICIES
from tcf.evaluate.seeds import SeedEvaluations
from tcf.ranking.metrics import Metric

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Compared", "EvaluationTable", "comparison"]

Compared = Evaluation | SeedEvaluations
_COLUMN = 9  # smallest width of a column of numbers, in characters
_NOTE = "±: half the width of the 95 % interval of a mean over seeds (Student's t)"


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

        Where a setting was trained with several seeds, there is a row for each of them and one for their mean, and
        there are more columns: the `seed` of a row, the number of `seeds` that it is the mean of, and half the width
        of each mean's 95 % interval (`hr@10_half_width`, ...).

        Raises:
            ConfigError: pandas is not installed.
        """
        rows = [row for name, compared in self.evaluations.items() for row in _rows(name, compared)]
        columns = dict.fromkeys(column for row in rows for column in row)
        return data_frame(pa.Table.from_pylist([{c: row.get(c) for c in columns} for row in rows])).set_index("name")

    def __repr__(self) -> str:
        """One line for each evaluation, or for the mean of several, with its metrics as each is shown."""
        return comparison(self.evaluations)


def _rows(name: str, compared: Compared) -> Iterator[dict[str, Any]]:
    match compared:
        case SeedEvaluations():
            for seed, evaluation in compared.evaluations.items():
                yield {"name": name, **evaluation.metrics, "seed": seed, "seeds": 1}
            halves = {f"{metric}_half_width": half for metric, half in compared.half_widths.items()}
            yield {"name": name, **compared.metrics, "seed": None, "seeds": len(compared.evaluations), **halves}
        case Evaluation():
            yield {"name": name, **compared.metrics}


def comparison(evaluations: Mapping[str, Compared]) -> str:
    """Compare evaluations in a table, one line each; several ones of one setting in the line of their mean.

    Args:
        evaluations: finished evaluations by the name to show, in the order of the lines.
    """
    compared = [*evaluations.values()]
    found = [entry.metrics for entry in compared]
    columns = [
        ["ranking", *evaluations],
        *(column for metric in _measured(compared) for column in _of_metric(metric, compared)),
        _aligned("users", [f"{means['users']:,}" for means in found]),
        _aligned("items", [f"{means['candidates']:,}" for means in found]),
        *_unusual_policies(found),
    ]
    table = text_table(list(zip(*columns, strict=True)), gap=" ")
    return f"{table}\n{_NOTE}" if any(isinstance(entry, SeedEvaluations) for entry in compared) else table


def _measured(compared: Sequence[Compared]) -> list[Metric]:
    """What was measured in some evaluation, in the order of the first that measured most."""
    names = sorted((entry.measured for entry in compared), key=len, reverse=True)
    return [*{metric.name: metric for measured in names for metric in measured}.values()]


def _of_metric(metric: Metric, compared: Sequence[Compared]) -> list[list[str]]:
    """A column with the means of a metric and, if there are any, one with their intervals."""
    means = _aligned(metric.name, [_cell(metric, entry.metrics) for entry in compared])
    halves = [
        f"±{metric.shown(entry.half_widths[metric.name])}"
        if isinstance(entry, SeedEvaluations) and metric.name in entry.half_widths
        else ""
        for entry in compared
    ]
    return [means, ["", *halves]] if any(halves) else [means]


def _cell(metric: Metric, found: Mapping[str, Any]) -> str:
    return metric.shown(found[metric.name]) if metric.name in found else "-"


def _unusual_policies(found: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """A column for each policy that is not the default one in some evaluation."""
    columns = []
    for name in POLICIES:
        usual = getattr(EvaluateConfig(), name)
        values = [str(means.get(name, usual)) for means in found]
        if set(values) != {usual}:
            columns.append(_aligned(option_name(name).lstrip("-"), values))
    return columns


def _aligned(head: str, cells: Sequence[str]) -> list[str]:
    """A right-aligned column of numbers."""
    width = max(_COLUMN, *map(len, (head, *cells)))
    return [cell.rjust(width) for cell in (head, *cells)]
