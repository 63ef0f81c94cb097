"""Evaluations of one setting trained with several seeds: their mean, and how far another seed may be from it."""

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tcf.common.errors import ConfigError
from tcf.evaluate.evaluation import Evaluation
from tcf.ranking.metrics import Metric

__all__ = ["SeedEvaluations", "student_t"]

_CONFIDENCE = 0.95
_HALVINGS = 60  # after which the interval of a bisection is smaller than a float64 can tell


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
        factor = student_t(len(self.evaluations) - 1) / math.sqrt(len(self.evaluations))
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


def student_t(degrees: int, confidence: float = _CONFIDENCE) -> float:
    """Return t so that a variable of Student's distribution lies between -t and t with this probability.

    Example:
        >>> [round(student_t(degrees), 3) for degrees in (1, 2, 9)]
        [12.706, 4.303, 2.262]

    Args:
        degrees: degrees of freedom, at least 1.
        confidence: the probability, between 0 and 1.
    """
    low, high = 0.0, math.pi / 2
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if _within(middle, degrees) < confidence else (low, middle)
    return math.sqrt(degrees) * math.tan((low + high) / 2)


def _within(angle: float, degrees: int) -> float:
    """Return the probability that |t| < sqrt(degrees) * tan(angle).

    Abramowitz and Stegun, Handbook of Mathematical Functions, 26.7.3 and 26.7.4.
    """
    sine, cosine = math.sin(angle), math.cos(angle)
    odd = degrees % 2
    term, total = (cosine if odd else 1.0), 0.0
    for power in range(odd, degrees - 1, 2):
        total += term
        term *= cosine**2 * (power + 1) / (power + 2)
    return 2 / math.pi * (angle + sine * total) if odd else sine * total
