"""What an evaluation asks: whose held-out items are ranked, among which items, without which."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tcf.common.errors import DataError
from tcf.config.evaluate import CataloguePolicy, EvaluateConfig, TargetPolicy
from tcf.config.fields import option_name
from tcf.data.dataset import Dataset, Histories
from tcf.data.seen import distinct_items
from tcf.data.split import Part, Queries, further_targets_words, held_out
from tcf.ranking.ranked_items import RankedItems

__all__ = ["POLICIES", "Questions", "held_out_queries", "ranked_items", "unusual_policies"]

logger = logging.getLogger(__name__)

POLICIES = ("several_targets", "catalogue", "exclude", "seen", "untrained_users")
"""The settings that decide what is ranked for whom, besides the split; every result names them."""


@dataclass(frozen=True)
class Questions:
    """The questions of an evaluation.

    Attributes:
        queries: the evaluated users, their items before the targets, and the targets, as item indices of the dataset.
        seen: the items of each evaluated user that are no candidates, except perhaps the target (`--seen`).
        ranked: the items that are ranked.
        targets: each user's targets as places among them; -1 where a target is none of them.
        without_training: number of users without a training interaction who have a target and an item before it.
    """

    queries: Queries
    seen: Histories
    ranked: RankedItems
    targets: Histories
    without_training: int

    @staticmethod
    def of(dataset: Dataset, config: EvaluateConfig) -> "Questions":
        """Collect the questions that these settings ask of a dataset.

        Raises:
            DataError: no user can be evaluated, or no item can be ranked.
        """
        queries = held_out_queries(dataset, config.split, config.several_targets)
        trained = dataset.split.training[queries.users] > 0
        if config.untrained_users == "leave-out":
            queries = _some(queries, trained, dataset)
        seen = queries.earlier
        if config.exclude == "all-seen":
            seen = distinct_items(seen, dataset.seen.earlier.take(queries.users))
        ranked = ranked_items(dataset, config.catalogue)
        return Questions(queries, seen, ranked, ranked.places_of(queries.targets), int((~trained).sum()))

    @property
    def targets_outside(self) -> int:
        """Number of targets that are not ranked."""
        return int((self.targets.items < 0).sum())

    def facts(self, config: EvaluateConfig) -> dict[str, int | str]:
        """What metrics are of: how many users and items, and the policies."""
        return {
            "users": len(self.queries),
            "targets": len(self.targets.items),
            "users_without_training": self.without_training,
            "candidates": len(self.ranked),
            "targets_outside_catalogue": self.targets_outside,
            **{name: getattr(config, name) for name in POLICIES},
            "split": config.split,
        }

    def say(self, dataset: Dataset, config: EvaluateConfig) -> None:
        """Log who is not evaluated, and which targets cannot be found."""
        left_out = self.without_training if config.untrained_users == "leave-out" else 0
        asked = len(self.queries) + left_out
        if asked < dataset.n_users:
            counted = f"{asked:,} of {dataset.n_users:,} users have a {config.split} target and an item before it"
            logger.info(f"{counted}; the others are not evaluated")
        if left_out:
            logger.info(f"{left_out:,} of these {asked:,} users have no training interaction and are left out")
        further = further_targets_words(dataset.split, config.split)
        if config.several_targets == "first" and further is not None:
            logger.info(f"{dataset.path}: {further}")
        if config.catalogue == "trained":
            logger.info(
                f"{len(self.ranked):,} of {dataset.n_items:,} items have a training interaction and are ranked; "
                f"{self.targets_outside:,} of {len(self.targets.items):,} targets are none of them and count as never "
                "found"
            )


def unusual_policies(metrics: Mapping[str, Any]) -> dict[str, str]:
    """The policies of metrics that are not the default ones, by the name of their option."""
    usual = EvaluateConfig()
    policies = {name: str(metrics.get(name, getattr(usual, name))) for name in POLICIES}
    return {option_name(name).lstrip("-"): value for name, value in policies.items() if value != getattr(usual, name)}


def held_out_queries(dataset: Dataset, part: Part, targets: TargetPolicy = "all") -> Queries:
    """The queries of a part of the dataset's split, with all targets of a user or the first alone.

    Raises:
        DataError: there are none.
    """
    queries = held_out(dataset.split, part, targets)
    if not len(queries):
        raise DataError(
            f"{dataset.path}: expected users with a {part} target and an item before it, found none among "
            f"{dataset.n_users} users; prepare a dataset with {'longer histories' if dataset.n_users else 'events'}"
        )
    return queries


def ranked_items(dataset: Dataset, policy: CataloguePolicy) -> RankedItems:
    """The items that a policy ranks: all, or those with a training interaction.

    Raises:
        DataError: there are none.
    """
    if policy == "all":
        return RankedItems.where(np.ones(dataset.n_items, np.bool_))
    trained = RankedItems.where(dataset.training_interactions > 0)
    if not len(trained):
        raise DataError(
            f"{dataset.path}: expected items with a training interaction, found none among {dataset.n_items}; rank "
            "them all with --catalogue all"
        )
    return trained


def _some(queries: Queries, chosen: npt.NDArray[np.bool_], dataset: Dataset) -> Queries:
    """Return the queries of the users that are marked."""
    if not chosen.any():
        raise DataError(
            f"{dataset.path}: expected evaluated users with a training interaction, found none among {len(queries)}; "
            "use --untrained-users keep"
        )
    if chosen.all():
        return queries
    return queries.take(np.flatnonzero(chosen))
