"""Metrics of ranked targets; ties count with their expected value.

A target with g candidates above it and e others with the same score takes each of the positions g + 1 to g + 1 + e with
equal probability, and items of equal scores are in random order. Every metric is the expected value over these orders,
so constant scores get the same value as random ones. A target that is not a candidate counts as never found.

A user may have several targets (a given split). With one, `recall@k` is `hr@k`, and is not measured on its own.

Shapes: U users, T targets of all users.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tcf.common.errors import RunError
from tcf.common.units import as_percent
from tcf.ranking.ranks import Ranks
from tcf.ranking.tied_targets import first_target, hits_of_tied

__all__ = [
    "VALIDATION_DEPTH",
    "VALIDATION_METRICS",
    "Metric",
    "hit_rate",
    "means",
    "measured_among",
    "named_as_validation",
    "ndcg",
    "rank_metric",
    "rank_metrics",
    "recall",
    "reciprocal_rank",
]


def hit_rate(ranks: Ranks, k: int) -> npt.NDArray[np.float64]:
    """Return the probability that a target is among the first k, by user, (U,).

    The second target below ties with three others for positions 2 to 5, of which two are within the first three:

    >>> counts = np.array([[0, 1, 3], [0, 3, 0]])
    >>> hit_rate(Ranks(counts[0], counts[1], np.array([9, 9, 9])), 3)
    array([1. , 0.5, 0. ])

    Raises:
        RunError: k is less than 1 or beyond the depth of the ranks.
    """
    within_T = _within(ranks, k)
    if len(ranks) == len(within_T):
        return within_T
    return hits_of_tied(ranks, k, within_T)


def recall(ranks: Ranks, k: int) -> npt.NDArray[np.float64]:
    """Return the expected share of the user's targets that are among the first k, by user, (U,).

    One user whose targets are at positions 2 and 7:

    >>> recall(Ranks(np.array([1, 6]), np.array([0, 0]), np.array([9]), offsets=np.array([0, 2])), 5)
    array([0.5])

    Raises:
        RunError: k is less than 1 or beyond the depth of the ranks.
    """
    found_U: npt.NDArray[np.float64] = _sums(ranks, _within(ranks, k)) / ranks.n_targets
    return found_U


def ndcg(ranks: Ranks, k: int) -> npt.NDArray[np.float64]:
    """Return the expected normalised discounted cumulative gain within the first k, by user, (U,).

    A target at a position p of at most k adds 1 / log2(1 + p); the sum is divided by that of targets at the first
    positions (Jarvelin and Kekalainen 2002, with gains of 1). The first target below takes position 3, the second
    one of the positions 1 to 3: (1 + 1 / log2(3) + 1 / log2(4)) / 3.

    >>> counts = np.array([[2, 0, 3], [0, 2, 0]])
    >>> ndcg(Ranks(counts[0], counts[1], np.array([9, 9, 9])), 3).round(4)
    array([0.5   , 0.7103, 0.    ])

    Raises:
        RunError: k is less than 1 or beyond the depth of the ranks.
    """
    _check_depth(ranks, k)
    most = min(k, max(_largest(ranks), int(ranks.n_targets.max(initial=1))))
    gains = 1 / np.log2(1 + np.arange(1, most + 1))
    ideal = np.cumsum(gains)[np.minimum(ranks.n_targets, len(gains)) - 1]
    found_U: npt.NDArray[np.float64] = _sums(ranks, _expected(ranks, gains)) / ideal
    return found_U


def reciprocal_rank(ranks: Ranks, k: int) -> npt.NDArray[np.float64]:
    """Return the expected value of 1 / position of the user's first target, by user, (U,); 0 beyond position k.

    The second target below takes position 2 or 3: (1/2 + 1/3) / 2.

    >>> counts = np.array([[0, 1], [0, 1]])
    >>> reciprocal_rank(Ranks(counts[0], counts[1], np.array([4, 4])), 4).round(4)
    array([1.    , 0.4167])

    Raises:
        RunError: k is less than 1 or beyond the depth of the ranks.
    """
    _check_depth(ranks, k)
    gains = 1 / np.arange(1, min(_largest(ranks), k) + 1)
    single_T = _expected(ranks, gains)
    return single_T if len(ranks) == len(single_T) else first_target(ranks, gains, single_T)


@dataclass(frozen=True)
class _Kind:
    """A kind of metric.

    Attributes:
        key: its name without a cutoff.
        per_user: its value for each user, (U,), from ranks and a cutoff; None for a metric of lists.
        shown: a mean as tables for people show it.
        several: whether it is measured only where some user has several targets.
        validated: whether it is measured after every epoch of training, too.
        whole: whether it is also measured without a cutoff.
    """

    key: str
    per_user: Callable[[Ranks, int], npt.NDArray[np.float64]] | None = None
    shown: Callable[[float], str] = as_percent
    several: bool = False
    validated: bool = False
    whole: bool = False


def _as_number(value: float) -> str:
    return f"{value:.4g}"


_KINDS = (
    _Kind("hr", hit_rate, validated=True),
    _Kind("recall", recall, several=True),
    _Kind("ndcg", ndcg, validated=True),
    _Kind("mrr", reciprocal_rank, whole=True),
    _Kind("coverage"),
    _Kind("popularity", shown=_as_number),
    _Kind("novelty", shown=_as_number),
    _Kind("diversity"),
)
"""All metrics, in the order of files and tables, which follow from it, as do the log and the results of a search."""


@dataclass(frozen=True)
class Metric:
    """A measured number; its value for several users is the mean.

    Attributes:
        name: what it is called in files and tables, such as `hr@10`.
        key: the same without the cutoff: in the state of an unfinished run and between processes.
        cutoff: the last position that it looks at; None: it looks at all positions.
        shown: a mean as tables for people show it.
        place: where it stands in files and tables: by cutoff, metrics of ranks first.
    """

    name: str
    key: str
    cutoff: int | None
    shown: Callable[[float], str]
    place: tuple[bool, float, int]

    @staticmethod
    def named(name: str) -> "Metric | None":
        """Return the metric of this name; None if there is none.

        >>> Metric.named("hr@5").cutoff, Metric.named("users")
        (5, None)
        """
        key, at, k = name.partition("@")
        place = next((number for number, kind in enumerate(_KINDS) if kind.key == key), None)
        if place is None or (not _KINDS[place].whole if not at else not (k.isdecimal() and k.isascii())):
            return None
        of_lists = _KINDS[place].per_user is None
        order = (of_lists, float(k) if at else math.inf, place)
        return Metric(name, key, int(k) if at else None, _KINDS[place].shown, order)

    def per_user(self, ranks: Ranks) -> npt.NDArray[np.float64]:
        """Return the value for each user, (U,), of a metric of ranks.

        Raises:
            RunError: the ranks are not exact to the cutoff.
        """
        function = next(kind.per_user for kind in _KINDS if kind.key == self.key)
        if function is None:
            raise ValueError(f"{self.name} does not follow from ranks")
        return function(ranks, self.cutoff or ranks.deepest)

    @property
    def validation_name(self) -> str:
        """What its mean on validation is called for people, so that nobody takes it for a result of a test."""
        return f"validation {self.name}"

    @property
    def validation_key(self) -> str:
        """The same for programs."""
        return f"validation_{self.name}"


def rank_metrics(cutoffs: Iterable[int], *, several: bool = False) -> tuple[Metric, ...]:
    """Return the metrics of ranks in the order of files and tables.

    >>> [metric.name for metric in rank_metrics([5], several=True)]
    ['hr@5', 'recall@5', 'ndcg@5', 'mrr@5', 'mrr']

    Args:
        cutoffs: the depths of those that have one.
        several: whether some user has several targets, so that recall is another number than the hit rate.
    """
    kinds = [kind for kind in _KINDS if kind.per_user is not None and (several or not kind.several)]
    names = [f"{kind.key}@{k}" for k in cutoffs for kind in kinds]
    return measured_among([*names, *(kind.key for kind in kinds if kind.whole)])


def measured_among(names: Iterable[str]) -> tuple[Metric, ...]:
    """Return the metrics among some names, in the order of files and tables.

    >>> [metric.name for metric in measured_among(["coverage@5", "mrr", "hr@10", "users", "ndcg@5"])]
    ['ndcg@5', 'hr@10', 'mrr', 'coverage@5']
    """
    metrics = (metric for metric in map(Metric.named, names) if metric is not None)
    return tuple(sorted(metrics, key=lambda metric: metric.place))


VALIDATION_METRICS = measured_among(f"{kind.key}@10" for kind in _KINDS if kind.validated)
"""What is measured after every epoch of training."""
VALIDATION_DEPTH = max(metric.cutoff or 0 for metric in VALIDATION_METRICS)


def rank_metric(name: str) -> Metric | None:
    """Return the metric of ranks of this name, with any cutoff; None if there is none.

    >>> rank_metric("recall@7").name, rank_metric("hr"), rank_metric("coverage@10"), rank_metric("hr@0")
    ('recall@7', None, None, None)
    """
    metric = Metric.named(name)
    if metric is None or metric.place[0] or metric.cutoff == 0:
        return None
    return metric


def named_as_validation(values: Mapping[str, Any]) -> dict[str, Any]:
    """The same values, those of metrics under their names for validation.

    >>> named_as_validation({"epoch": 1, "hr@10": 0.5})
    {'epoch': 1, 'validation_hr@10': 0.5}
    """
    keys = {metric.name: metric.validation_key for metric in VALIDATION_METRICS}
    return {keys.get(name, name): value for name, value in values.items()}


def means(ranks: Ranks, metrics: Sequence[Metric]) -> dict[str, float]:
    """Return the mean of each metric over the users, as fractions.

    >>> means(Ranks(np.array([0, 7]), np.array([0, 0]), np.array([8, 8])), rank_metrics([5]))
    {'hr@5': 0.5, 'ndcg@5': 0.5, 'mrr@5': 0.5, 'mrr': 0.5625}

    Raises:
        RunError: there are no users, or a metric looks beyond the depth of the ranks.
    """
    if not len(ranks):
        raise RunError("metrics: expected the ranks of at least one user, found none")
    return {metric.name: float(metric.per_user(ranks).mean()) for metric in metrics}


def _within(ranks: Ranks, k: int) -> npt.NDArray[np.float64]:
    """Return the probability that each target is among the first k, (T,)."""
    _check_depth(ranks, k)
    within = np.clip(k - ranks.greater, 0, ranks.equal + 1)
    return np.where(ranks.is_candidate, within / (ranks.equal + 1), 0.0)


def _sums(ranks: Ranks, values_T: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the sum of the values of each user's targets, (U,)."""
    if len(values_T) == len(ranks):
        return values_T
    return np.bincount(ranks.owners, values_T, minlength=len(ranks)).astype(np.float64)


def _expected(ranks: Ranks, gains: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return each target's mean gain over its possible positions, (T,).

    Position p has gains[p - 1], or 0 beyond the end.
    """
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
