"""Intervals of the means of metrics over users.

Shapes: U users.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from tcf.config.evaluate import EvaluateConfig
from tcf.evaluate.statistics.binomial import wilson
from tcf.evaluate.statistics.bootstrap import bootstrap_intervals
from tcf.ranking.metrics import Metric

__all__ = ["Bootstrap", "Interval", "are_hits", "end_columns", "interval_words", "intervals_of"]

Interval: TypeAlias = tuple[float, float]
"""Lower and upper end."""


@dataclass(frozen=True)
class Bootstrap:
    """How intervals are computed.

    Attributes:
        resamples: how often the users are drawn again; 0: there are no intervals.
        seed: seed of the draws.
        confidence: the probability of the intervals.
    """

    resamples: int
    seed: int
    confidence: float

    @staticmethod
    def of(settings: EvaluateConfig) -> "Bootstrap":
        """As the settings of an evaluation say."""
        return Bootstrap(settings.resamples, settings.bootstrap_seed, settings.confidence)

    @staticmethod
    def recorded(settings: Mapping[str, Any]) -> "Bootstrap":
        """As the manifest of an evaluation says."""
        return Bootstrap(settings["resamples"], settings["bootstrap_seed"], settings["confidence"])

    @property
    def words(self) -> str:
        """The probability, and from how many draws: `95 % (10,000 resamples)`."""
        return f"{100 * self.confidence:g} % ({self.resamples:,} resamples)"


def intervals_of(columns: Mapping[str, npt.NDArray[np.float64]], bootstrap: Bootstrap) -> dict[str, Interval]:
    """Return the interval of the mean of each metric; none if there are no resamples.

    That of `hr@k` is Wilson's where every user has a hit or none, which is so unless a target ties with others across
    position k (or the value is a mean over seeds); all others are bootstrapped over users.

    >>> low, high = intervals_of({"hr@10": np.array([1.0, 0.0, 0.0, 0.0])}, Bootstrap(1000, 0, 0.95))["hr@10"]
    >>> round(low, 4), round(high, 4)
    (0.0456, 0.6994)

    Args:
        columns: each user's value, (U,), by the metric's name; all finite.
        bootstrap: how.

    Raises:
        RunError: there are no users, or a value is not finite.
    """
    if not bootstrap.resamples or not columns:
        return {}
    shares = [name for name, values_U in columns.items() if name.startswith("hr@") and are_hits(values_U)]
    others = [name for name in columns if name not in shares]
    found: dict[str, Interval] = {}
    if others:
        values_UM = np.stack([columns[name] for name in others], axis=1)
        ends = bootstrap_intervals(
            values_UM, confidence=bootstrap.confidence, resamples=bootstrap.resamples, seed=bootstrap.seed
        )
        found = {name: (float(low), float(high)) for name, low, high in zip(others, *ends, strict=True)}
    for name in shares:
        found[name] = wilson(int(columns[name].sum()), len(columns[name]), bootstrap.confidence)
    return {name: found[name] for name in columns}


def are_hits(values_U: npt.NDArray[np.float64]) -> bool:
    """Return whether every user's value is 0 or 1."""
    return bool(((values_U == 0) | (values_U == 1)).all())


def interval_words(metric: Metric, interval: Interval) -> str:
    """Format an interval for people; the mean beside it has the unit.

    >>> from tcf.ranking.metrics import rank_metrics
    >>> interval_words(rank_metrics([10])[0], (0.0891, 0.0985))
    '8.91 to 9.85'
    """
    return " to ".join(_unsigned_zero(metric.shown(end).removesuffix("%")) for end in interval)


def _unsigned_zero(number: str) -> str:
    """Drop the sign of a number that was rounded to 0."""
    return number if float(number) else number.removeprefix("-")


def end_columns(intervals: Mapping[str, Interval]) -> dict[str, float]:
    """Return the ends of intervals by the names of columns.

    >>> end_columns({"hr@10": (0.25, 0.5)})
    {'hr@10_low': 0.25, 'hr@10_high': 0.5}
    """
    return {
        f"{name}_{end}": value
        for name, ends in intervals.items()
        for end, value in zip(("low", "high"), ends, strict=True)
    }
