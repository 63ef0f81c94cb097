"""The comparison of all rankings by all metrics, for all targets and for groups of them.

Shapes: N rankings, S seeds of a ranking, U users.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from tcf.common.errors import ConfigError, did_you_mean
from tcf.common.progress import Progress
from tcf.evaluate.compare.comparison import Comparison
from tcf.evaluate.compare.pairs import Draws, PairStatistics, metric_statistics, pairs_of
from tcf.evaluate.compare.rankings import Part, Rankings
from tcf.evaluate.compare.rows import DifferenceRow, MeanRow, ServedRow
from tcf.evaluate.compare.served import pair_shares, served_shares
from tcf.evaluate.evaluation_table import Compared
from tcf.evaluate.groups.grouping import Grouping
from tcf.evaluate.statistics.holm import holm
from tcf.evaluate.statistics.letters import letters
from tcf.ranking.metrics import Metric, rank_metric

__all__ = ["compare", "metrics_named"]

logger = logging.getLogger(__name__)


def compare(
    evaluations: Mapping[str, Compared],
    draws: Draws,
    *,
    metrics: Sequence[Metric] = (),
    groupings: Mapping[str, Grouping] | None = None,
) -> Comparison:
    """Compare evaluations of the same users, each two of them by each metric.

    Args:
        evaluations: two or more, by the name to show; several ones of one setting with different seeds as one.
        draws: what is drawn at random, and how sure the result is.
        metrics: what to compare by; none: the metrics of ranks that all evaluations have.
        groupings: groups of targets to compare as well, by their names.

    Raises:
        ConfigError: there are fewer than two evaluations, or they are of different datasets, splits, policies or users.
        DataError: a file of groups cannot be read.
        RunError: a file of ranks is missing or damaged.
    """
    rankings = Rankings.of(evaluations)
    chosen = tuple(metrics) or _measured_by_all(evaluations)
    families = [*rankings.parts(groupings or {})]
    means: list[MeanRow] = []
    differences: list[DifferenceRow] = []
    served: list[ServedRow] = []
    _warn_of_too_few_draws(families, draws)
    with Progress("compare", len(chosen) * sum(map(len, families)), "metrics") as progress:
        for parts in families:
            for metric in chosen:
                compared = [_ComparedPart(part, metric, draws) for part in parts]
                adjusted = _adjusted([one.pairs for one in compared])
                progress.advance(len(parts))
                for one, p_holm in zip(compared, adjusted, strict=True):
                    rows = [*one.differences(p_holm, sum(map(len, adjusted)))]
                    differences += rows
                    means += one.means(rows)
                    served += one.served()
    return Comparison(tuple(means), tuple(differences), tuple(served), tuple(chosen), draws, _about(evaluations))


def metrics_named(names: Sequence[str], where: str) -> tuple[Metric, ...]:
    """Return the metrics of these names, each once.

    Args:
        names: such as `hr@10`; any cutoff can be computed from saved ranks.
        where: the argument's name, for messages.

    Raises:
        ConfigError: one is none that follows from ranks.
    """
    found = {}
    for name in names:
        metric = rank_metric(name)
        if metric is None:
            known = ("hr@10", "recall@10", "ndcg@10", "mrr@10", "mrr")
            hint = did_you_mean(name, known) or "; lists of metrics have commas between them"
            raise ConfigError(
                f"{where}: expected metrics of ranks, hr@K, recall@K, ndcg@K, mrr@K or mrr, found {name!r}{hint}"
            )
        found[name] = metric
    return tuple(found.values())


class _ComparedPart:
    """All pairs of rankings by one metric, of all targets or of a group."""

    def __init__(self, part: Part, metric: Metric, draws: Draws) -> None:
        self.part, self.metric, self.draws = part, metric, draws
        self.values = [ranking.values(metric) for ranking in part.rankings]
        self.pairs, self.ends = metric_statistics(self.values, draws, hits=self._is_hit_rate)
        self.place = (part.by, part.group, metric.name)

    @property
    def _is_hit_rate(self) -> bool:
        return self.metric.key == "hr"

    def differences(self, p_holm: Sequence[float], tests: int) -> Iterator[DifferenceRow]:
        """Yield a row for each pair, with its adjusted p-value."""
        names = [ranking.name for ranking in self.part.rankings]
        for (first, second), pair, p in zip(pairs_of(len(names)), self.pairs, p_holm, strict=True):
            only_first, only_second, both, neither = (
                pair_shares(self.values[first], self.values[second]) if self._is_hit_rate else (None,) * 4
            )
            yield DifferenceRow(
                *self.place,
                first=names[first],
                second=names[second],
                difference=pair.difference,
                low=pair.low,
                high=pair.high,
                p=pair.p,
                p_holm=p,
                p_mcnemar=pair.p_mcnemar,
                p_seeds=pair.p_seeds,
                told_apart=p <= self.draws.level,
                detectable=pair.detectable(self.draws.level / tests),
                only_first=only_first,
                only_second=only_second,
                both=both,
                neither=neither,
            )

    def means(self, rows: Sequence[DifferenceRow]) -> Iterator[MeanRow]:
        """Yield a row for each ranking; `rows` say which of them differ."""
        part = self.part
        means = [float(values_SU.mean()) for values_SU in self.values]
        alike = letters(_differing(len(means), rows), np.argsort([-mean for mean in means], kind="stable").tolist())
        for place, ranking in enumerate(part.rankings):
            about = (*self.place, ranking.name, len(ranking.of_seeds), part.users, part.targets)
            yield MeanRow(*about, means[place], *self.ends[place], alike[place])

    def served(self) -> Iterator[ServedRow]:
        """Yield who serves which share of the users, if that can be told of the metric."""
        if self._is_hit_rate:
            names = [ranking.name for ranking in self.part.rankings]
            for who, share in served_shares(names, self.values).items():
                yield ServedRow(*self.place, who, share)


def _warn_of_too_few_draws(families: Sequence[Sequence[Part]], draws: Draws) -> None:
    for parts in families:
        tests = sum(len(pairs_of(len(part.rankings))) for part in parts)
        crossed = any(len(ranking.of_seeds) > 1 for part in parts for ranking in part.rankings)
        if words := draws.too_few(tests, crossed=crossed):
            logger.warning(f"{parts[0].by or 'all targets'}: {words}")


def _adjusted(pairs: Sequence[Sequence[PairStatistics]]) -> list[list[float]]:
    """The p-values of all groups, corrected for all of them together."""
    adjusted = iter(holm(np.array([pair.p_of_both for of_group in pairs for pair in of_group])).tolist())
    return [[next(adjusted) for _ in of_group] for of_group in pairs]


def _differing(n_rankings: int, rows: Sequence[DifferenceRow]) -> npt.NDArray[np.bool_]:
    differs_NN = np.zeros((n_rankings, n_rankings), np.bool_)
    for (first, second), row in zip(pairs_of(n_rankings), rows, strict=True):
        differs_NN[first, second] = differs_NN[second, first] = row.told_apart
    return differs_NN


def _measured_by_all(evaluations: Mapping[str, Compared]) -> tuple[Metric, ...]:
    first, *others = ([metric.name for metric in found.measured] for found in evaluations.values())
    common = [name for name in first if all(name in other for other in others)]
    return tuple(metric for name in common if (metric := rank_metric(name)) is not None)


def _about(evaluations: Mapping[str, Compared]) -> dict[str, object]:
    """What the comparison is of."""
    first = next(iter(evaluations.values()))
    paths = {name: str(found.path) for name, found in evaluations.items()}
    rankings = {name: found.ranking for name, found in evaluations.items()}
    about = {name: first.metrics[name] for name in ("split", "users", "targets", "candidates")}
    return {"evaluations": paths, "rankings": rankings, **about}
