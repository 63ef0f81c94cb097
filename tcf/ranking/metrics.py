"""Metrics of ranked targets, one target per user; ties count with their expected value.

A target with g candidates above it and e others with the same score takes each of the positions g + 1 to g + 1 + e with
equal probability. Every metric is the mean over these positions, so constant scores get the same value as random ones.
A target that is not a candidate counts 0.

`METRICS` is the single list of metrics: the files and tables of evaluations, the log and the manifest of a run, the
listing of runs and the results of a search follow from it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from tcf.common.errors import RunError
from tcf.common.units import as_percent
from tcf.ranking.ranks import Ranks

__all__ = [
    "METRICS",
    "VALIDATION_DEPTH",
    "VALIDATION_METRICS",
    "Metric",
    "hit_rate",
    "metrics_at",
    "named_as_validation",
    "ndcg",
    "reciprocal_rank",
    "summary",
]


def hit_rate(ranks: Ranks, k: int) -> npt.NDArray[np.float64]:
    """Return the probability that the target is among the first k, by user.

    The second target below ties with three others for positions 2 to 5, of which two are within the first three:

    >>> counts = np.array([[0, 1, 3], [0, 3, 0]])
    >>> hit_rate(Ranks(counts[0], counts[1], np.array([9, 9, 9])), 3)
    array([1. , 0.5, 0. ])

    Raises:
        RunError: k is less than 1 or beyond the depth of the ranks.
    """
    _check_depth(ranks, k)
    within = np.clip(k - ranks.greater, 0, ranks.equal + 1)
    return np.where(ranks.is_candidate, within / (ranks.equal + 1), 0.0)


def ndcg(ranks: Ranks, k: int) -> npt.NDArray[np.float64]:
    """Return the expected normalised discounted cumulative gain within the first k, by user.

    With one relevant item this is 1 / log2(1 + position) for a position of at most k, else 0. The first target below
    takes position 3, the second one of the positions 1 to 3: (1 + 1 / log2(3) + 1 / log2(4)) / 3.

    >>> counts = np.array([[2, 0, 3], [0, 2, 0]])
    >>> ndcg(Ranks(counts[0], counts[1], np.array([9, 9, 9])), 3).round(4)
    array([0.5   , 0.7103, 0.    ])

    Raises:
        RunError: k is less than 1 or beyond the depth of the ranks.
    """
    _check_depth(ranks, k)
    positions = np.arange(1, min(k, _largest(ranks)) + 1)
    return _expected(ranks, 1 / np.log2(1 + positions))


def reciprocal_rank(ranks: Ranks) -> npt.NDArray[np.float64]:
    """Return the expected value of 1 / position of the target, by user.

    The second target below takes position 2 or 3: (1/2 + 1/3) / 2.

    >>> counts = np.array([[0, 1], [0, 1]])
    >>> reciprocal_rank(Ranks(counts[0], counts[1], np.array([4, 4]))).round(4)
    array([1.    , 0.4167])

    Raises:
        RunError: the ranks are not exact at all depths.
    """
    if ranks.depth is not None:
        raise RunError(
            f"reciprocal ranks: expected exact ranks, found ranks to depth {ranks.depth}; rank without a depth"
        )
    return _expected(ranks, 1 / np.arange(1, _largest(ranks) + 1))


@dataclass(frozen=True)
class Metric:
    """A metric; its value for several users is the mean.

    Attributes:
        name: what it is called in files and tables, such as `hr@10`.
        key: the same as a plain word, such as `hr`: in the state of an unfinished run and between processes.
        per_user: its value for each user, (U,).
        depth: the last position that it looks at. Such a metric is measured after every epoch of training too, where
            ranks need be exact to this depth only. None: it looks at all positions, and is part of evaluations alone.
        shown: a mean as tables for people show it.
    """

    name: str
    key: str
    per_user: Callable[[Ranks], npt.NDArray[np.float64]]
    depth: int | None = None
    shown: Callable[[float], str] = as_percent

    @property
    def validation_name(self) -> str:
        """What its mean on validation is called for people, so that nobody takes it for a result of a test."""
        return f"validation {self.name}"

    @property
    def validation_key(self) -> str:
        """The same for programs."""
        return f"validation_{self.name}"


def metrics_at(k: int) -> tuple[Metric, ...]:
    """Return all metrics in the order of files and tables; k is the depth of those that have one."""
    return (
        Metric(f"hr@{k}", "hr", partial(hit_rate, k=k), depth=k),
        Metric(f"ndcg@{k}", "ndcg", partial(ndcg, k=k), depth=k),
        Metric("mrr", "mrr", reciprocal_rank),
    )


def named_as_validation(values: Mapping[str, Any]) -> dict[str, Any]:
    """The same values, those of metrics under their names for validation.

    >>> named_as_validation({"epoch": 1, "hr@10": 0.5})
    {'epoch': 1, 'validation_hr@10': 0.5}
    """
    keys = {metric.name: metric.validation_key for metric in VALIDATION_METRICS}
    return {keys.get(name, name): value for name, value in values.items()}


METRICS = metrics_at(10)
VALIDATION_METRICS = tuple(metric for metric in METRICS if metric.depth is not None)
VALIDATION_DEPTH = max(metric.depth or 0 for metric in VALIDATION_METRICS)


def summary(ranks: Ranks, k: int = 10) -> dict[str, float]:
    """Return means over the users, as fractions: `hr@k`, `ndcg@k` and, for exact ranks, `mrr`.

    >>> summary(Ranks(np.array([0, 7]), np.array([0, 0]), np.array([8, 8])), 5)
    {'hr@5': 0.5, 'ndcg@5': 0.5, 'mrr': 0.5625}

    Raises:
        RunError: there are no users, or k is beyond the depth of the ranks.
    """
    if not len(ranks):
        raise RunError("metrics: expected the ranks of at least one user, found none")
    measured = (metric for metric in metrics_at(k) if ranks.depth is None or metric.depth is not None)
    return {metric.name: float(metric.per_user(ranks).mean()) for metric in measured}


def _expected(ranks: Ranks, gains: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the mean gain over the target's possible positions; position p has gains[p - 1], or 0 beyond the end."""
    cumulative = np.concatenate([[0.0], np.cumsum(gains)])
    first = np.minimum(ranks.greater, len(gains))
    last = np.minimum(ranks.greater + ranks.equal + 1, len(gains))
    # A single position is looked up, because the difference of two large sums would lose precision.
    single = np.where(last > first, gains[np.minimum(first, len(gains) - 1)], 0.0)
    mean = np.where(ranks.equal == 0, single, (cumulative[last] - cumulative[first]) / (ranks.equal + 1))
    return np.where(ranks.is_candidate, mean, 0.0)


def _largest(ranks: Ranks) -> int:
    """Return the largest position that any target may take."""
    return int((ranks.greater + ranks.equal).max(initial=0)) + 1


def _check_depth(ranks: Ranks, k: int) -> None:
    if k < 1 or (ranks.depth is not None and k > ranks.depth):
        deepest = "" if ranks.depth is None else f" and at most {ranks.depth}, the depth of the ranks"
        raise RunError(f"k: expected at least 1{deepest}, found {k}")
