"""Evaluations of one setting trained with several seeds: their mean, and how far other users and seeds may be from it.

Shapes: S seeds, U users, M metrics.
"""

import statistics
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from tcf.common.errors import ConfigError
from tcf.evaluate.evaluation import Evaluation
from tcf.evaluate.intervals import Bootstrap, Interval, interval_words
from tcf.evaluate.same_questions import refuse_other_questions
from tcf.evaluate.statistics.crossed import crossed_intervals
from tcf.ranking.metrics import Metric, rank_metric

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
                different datasets, users, items, metrics or policies.
        """
        found = self.evaluations if isinstance(self.evaluations, Mapping) else {}
        wrong = next((value for value in found.values() if not isinstance(value, Evaluation)), None)
        if not found or wrong is not None:
            kind = type(self.evaluations if wrong is None else wrong).__name__
            raise ConfigError(f"evaluations: expected a dict of evaluations by seed, found {kind}; correct it")
        if len(found) < 2:
            raise ConfigError("evaluations: expected those of two seeds or more, found one; use it alone")
        named = {f"seed {seed}": evaluation for seed, evaluation in found.items()}
        refuse_other_questions(named, measured=True)

    @property
    def first(self) -> Evaluation:
        """The evaluation of the first seed's run."""
        return next(iter(self.evaluations.values()))

    @property
    def path(self) -> Path:
        """The folder with the evaluations' directories."""
        return self.first.path.parent

    @property
    def ranking(self) -> str:
        """What was ranked: the kind of the runs."""
        return self.first.ranking

    @property
    def measured(self) -> tuple[Metric, ...]:
        """What was measured for every seed."""
        return self.first.measured

    @property
    def metrics(self) -> dict[str, Any]:
        """The mean over the seeds of each metric; what all seeds have in common, such as `users`, as it is."""
        means = {metric.name: statistics.fmean(self._values(metric.name)) for metric in self.measured}
        return {**self.first.metrics, **means}

    @cached_property
    def intervals(self) -> Mapping[str, Interval]:
        """The interval of each mean of the metrics of ranks: lower and upper end.

        Another interval would come from other users and another training: users are crossed with seeds. Probability and
        resamples are those of the evaluations' own intervals; there is none where these have none.

        Raises:
            RunError: a file of ranks is missing or damaged.
        """
        metrics = [metric for metric in self.measured if rank_metric(metric.name) is not None]
        bootstrap = self.bootstrap
        if not metrics or not bootstrap.resamples:
            return {}
        values_SUM = np.stack([np.stack([m.per_user(e.ranks) for m in metrics], 1) for e in self.evaluations.values()])
        ends = crossed_intervals(
            values_SUM, confidence=bootstrap.confidence, resamples=bootstrap.resamples, seed=bootstrap.seed
        )
        return {m.name: (float(low), float(high)) for m, low, high in zip(metrics, *ends, strict=True)}

    @property
    def bootstrap(self) -> Bootstrap:
        """How intervals are computed."""
        return self.first.bootstrap

    def _values(self, metric: str) -> Iterator[float]:
        return (evaluation.metrics[metric] for evaluation in self.evaluations.values())

    def __repr__(self) -> str:
        """What it is, in a line."""
        means, ends = self.metrics, self.intervals
        shown = ", ".join(
            f"{m.name} {m.shown(means[m.name])}" + (f" ({interval_words(m, ends[m.name])})" if m.name in ends else "")
            for m in self.measured
        )
        return f"SeedEvaluations({str(self.path)!r}: {len(self.evaluations)} seeds, {shown})"

    def as_json(self) -> dict[str, Any]:
        """The means as JSON values, with their seeds and intervals."""
        return {"seeds": [*self.evaluations], **self.metrics, "intervals": self.intervals}
