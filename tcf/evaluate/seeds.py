"""Evaluations of one setting trained with several seeds: their mean, and how far another seed may be from it."""

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tcf.common.errors import ConfigError
from tcf.evaluate.evaluation import Evaluation
from tcf.evaluate.statistics.students_t import students_t_quantile
from tcf.ranking.metrics import Metric

__all__ = ["SeedEvaluations"]


@dataclass(frozen=True, repr=False)
class SeedEvaluations:
    """The evaluations of runs that differ in their seeds alone; there are at least two.

    Attributes:
        evaluations: the evaluation of each seed's run.
    """

    evaluations: Mapping[int, Evaluation]

    def __post_init__(self) -> None:
        """Check that there are several, which ask the same.

        Raises:
            ConfigError: there are fewer than two, of which no interval can be told, or something else; or they are of
                different datasets, users, items or policies.
        """
        found = self.evaluations if isinstance(self.evaluations, Mapping) else {}
        wrong = next((value for value in found.values() if not isinstance(value, Evaluation)), None)
        if not found or wrong is not None:
            kind = type(self.evaluations if wrong is None else wrong).__name__
            raise ConfigError(f"evaluations: expected a dict of evaluations by seed, found {kind}; correct it")
        if len(found) < 2:
            raise ConfigError("evaluations: expected those of two seeds or more, found one; use it alone")
        _refuse_different([_asked(evaluation) for evaluation in found.values()])

    @property
    def path(self) -> Path:
        """The folder with the evaluations' directories."""
        return next(iter(self.evaluations.values())).path.parent

    @property
    def measured(self) -> tuple[Metric, ...]:
        """What was measured for every seed."""
        return next(iter(self.evaluations.values())).measured

    @property
    def metrics(self) -> dict[str, Any]:
        """The mean over the seeds of each metric; what all seeds have in common, such as `users`, as it is."""
        first = next(iter(self.evaluations.values()))
        return {
            **first.metrics,
            **{metric.name: statistics.fmean(self._values(metric.name)) for metric in self.measured},
        }

    @property
    def half_widths(self) -> dict[str, float]:
        """Half the width of the 95 % interval of each mean, by Student's t: mean - half to mean + half."""
        factor = students_t_quantile(len(self.evaluations) - 1) / math.sqrt(len(self.evaluations))
        return {metric.name: factor * statistics.stdev(self._values(metric.name)) for metric in self.measured}

    def _values(self, metric: str) -> Iterator[float]:
        return (evaluation.metrics[metric] for evaluation in self.evaluations.values())

    def __repr__(self) -> str:
        """What it is, in a line."""
        means, halves = self.metrics, self.half_widths
        shown = ", ".join(f"{m.name} {m.shown(means[m.name])} ±{m.shown(halves[m.name])}" for m in self.measured)
        return f"SeedEvaluations({str(self.path)!r}: {len(self.evaluations)} seeds, {shown})"

    def as_json(self) -> dict[str, Any]:
        """The means as JSON values, with their seeds and half-widths."""
        return {"seeds": [*self.evaluations], **self.metrics, "half_widths": self.half_widths}


def _asked(evaluation: Evaluation) -> dict[str, Any]:
    """What an evaluation asks, of which dataset: all but the answers."""
    measured = [metric.name for metric in evaluation.measured]
    asked = {name: value for name, value in evaluation.metrics.items() if name not in measured}
    return {**asked, "metrics": ",".join(measured), "dataset": evaluation.manifest.inputs.get("dataset", "none")}


def _refuse_different(asked: Sequence[Mapping[str, Any]]) -> None:
    first = asked[0]
    for other in asked[1:]:
        for name in sorted({*first, *other}):
            if first.get(name) != other.get(name):
                values = " and ".join(str(values.get(name, "none"))[:12] for values in (first, other))
                raise ConfigError(
                    f"evaluations: expected those of one dataset with the same policies, found {name} {values}; "
                    "evaluate all runs alike"
                )
