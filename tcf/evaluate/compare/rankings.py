"""The rankings to compare: one for each evaluation, or for several ones of one setting with different seeds.

Shapes: N rankings, S seeds of a ranking, U users, T targets of all users.
"""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tcf.common.errors import ConfigError
from tcf.evaluate.evaluation import Evaluation
from tcf.evaluate.evaluation_table import Compared
from tcf.evaluate.groups.grouping import Grouping
from tcf.evaluate.groups.target_groups import target_groups
from tcf.evaluate.ranks_table import ranks_of
from tcf.evaluate.same_questions import refuse_other_questions
from tcf.evaluate.seeds import SeedEvaluations
from tcf.ranking.metrics import Metric
from tcf.ranking.ranks import Ranks

__all__ = ["Part", "Ranking", "Rankings"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Ranking:
    """The ranks under one setting.

    Attributes:
        name: what it is called.
        of_seeds: the ranks under each of its seeds; one, if there is one evaluation.
    """

    name: str
    of_seeds: tuple[Ranks, ...]

    def values(self, metric: Metric) -> npt.NDArray[np.float64]:
        """Each user's value under each seed, (S, U)."""
        return np.stack([metric.per_user(ranks) for ranks in self.of_seeds])


@dataclass(frozen=True)
class Part:
    """All targets, or a group of them.

    Attributes:
        by: what decided the group; empty for all targets.
        group: what the group is called; empty for all targets.
        rankings: the rankings, of these targets alone; none if there are no targets.
        users: users with a target in the group.
        targets: targets in it.
    """

    by: str
    group: str
    rankings: tuple[Ranking, ...]
    users: int
    targets: int


@dataclass(frozen=True)
class Rankings:
    """Rankings of the same targets.

    Attributes:
        rankings: the rankings.
        targets: a file of ranks; all have the same users and targets in the same order.
    """

    rankings: tuple[Ranking, ...]
    targets: pa.Table

    @staticmethod
    def of(evaluations: Mapping[str, Compared]) -> "Rankings":
        """Read the ranks of evaluations.

        Raises:
            ConfigError: there are fewer than two, they are of different datasets, splits, policies or users, or two
                settings have several seeds, but not as many.
            RunError: a file of ranks is missing or damaged.
        """
        if len(evaluations) < 2:
            raise ConfigError(f"evaluations: expected two or more, found {len(evaluations) or 'none'}; name another")
        singles = {name: [*_of_seeds(compared)] for name, compared in evaluations.items()}
        refuse_other_questions({_shown(n, s): e for n, found in singles.items() for s, e in found}, measured=False)
        _refuse_other_seeds({name: len(found) for name, found in singles.items()})
        targets: pa.Table | None = None
        rankings = []
        for name, found in singles.items():
            of_seeds = []
            for seed, evaluation in found:
                table = evaluation.table()
                targets = table if targets is None else targets
                _refuse_other_targets(targets, table, next(iter(evaluations)), _shown(name, seed))
                of_seeds.append(ranks_of(table))
            rankings.append(Ranking(name, tuple(of_seeds)))
        return Rankings(tuple(rankings), targets)

    def parts(self, groupings: Mapping[str, Grouping]) -> Iterator[list[Part]]:
        """Iterate over all targets, and over the groups of each grouping; those of one are together.

        Groups without targets are left out, which is said.
        """
        everything = np.ones(len(self.targets), np.bool_)
        yield [self._part("", "", everything)]
        for by, grouping in groupings.items():
            parts = [self._part(by, name, chosen_T) for name, chosen_T in target_groups(grouping, self.targets)]
            empty = [part.group for part in parts if not part.targets]
            if empty:
                logger.warning(f"{by}: no targets in {', '.join(empty)}; nothing to compare there")
            yield [part for part in parts if part.targets]

    def _part(self, by: str, group: str, chosen_T: npt.NDArray[np.bool_]) -> Part:
        if not chosen_T.any():
            return Part(by, group, (), 0, 0)
        rankings = self.rankings
        if not chosen_T.all():
            rankings = tuple(
                replace(ranking, of_seeds=tuple(ranks.where(chosen_T) for ranks in ranking.of_seeds))
                for ranking in rankings
            )
        return Part(by, group, rankings, len(rankings[0].of_seeds[0]), int(chosen_T.sum()))


def _of_seeds(compared: Compared) -> Iterator[tuple[int | None, Evaluation]]:
    match compared:
        case SeedEvaluations():
            yield from compared.evaluations.items()
        case Evaluation():
            yield None, compared


def _shown(name: str, seed: int | None) -> str:
    return name if seed is None else f"{name}, seed {seed}"


def _refuse_other_seeds(numbers: Mapping[str, int]) -> None:
    """The seeds of two settings stand beside one another in an interval; one evaluation stands beside any number."""
    several = {name: number for name, number in numbers.items() if number > 1}
    if len({*several.values()}) > 1:
        found = ", ".join(f"{number} ({name})" for name, number in several.items())
        raise ConfigError(f"evaluations: expected as many seeds of each setting, found {found}; leave out some seeds")


def _refuse_other_targets(first: pa.Table, other: pa.Table, first_name: str, other_name: str) -> None:
    for column, noun in (("user_id", "users"), ("item_id", "targets")):
        if not first[column].equals(other[column]):
            raise ConfigError(
                f"evaluations: expected those of the same {noun} in the same order, found other {noun} in {other_name} "
                f"than in {first_name}; evaluate all alike"
            )
