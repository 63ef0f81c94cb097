"""Weighs the members of a combination by validation targets, and measures it and them."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tcf.common.progress import Progress
from tcf.config.combine import CombineConfig
from tcf.evaluate.combination.fit_weights import Choices, fit_weights
from tcf.evaluate.combination.judged_members import JudgedMembers
from tcf.evaluate.combination.members import MemberKind
from tcf.evaluate.combination.shortlists import Shortlists
from tcf.ranking.metrics import VALIDATION_METRICS, means
from tcf.train.run.open_run import Run

__all__ = ["Weighed", "weigh"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Weighed:
    """What the validation targets say of members and their combination.

    Attributes:
        weights: of each member, 1 together.
        of_members: each member's validation metrics, as fractions, by name.
        metrics: those of the combination.
        users: number of users of whom all of these are.
        fitted: number of their targets that the weights were fitted to; 0 if the weights were given.
    """

    weights: tuple[float, ...]
    of_members: tuple[Mapping[str, float], ...]
    metrics: Mapping[str, float]
    users: int
    fitted: int


def weigh(kinds: Sequence[MemberKind], runs: Sequence[Run], config: CombineConfig) -> Weighed:
    """Fit the weights of members to validation targets, unless they are given, and measure.

    Args:
        kinds: the kinds of all members.
        runs: those that are runs, in order; none was trained on validation targets.
        config: settings.

    Raises:
        DataError: no user has a validation target and an item before it.
        RunError: a score is not finite.
    """
    judged = JudgedMembers.of(kinds, runs, config)
    ranks, lists = judged.ranks_and_lists(config.shortlist)
    weights, fitted = config.shares, 0
    if not weights:
        shortlists = Shortlists.of(lists, judged.queries.targets, judged.n_items)
        weights, fitted = _fitted(judged, shortlists), len(shortlists)
    of_members = tuple(means(found, VALIDATION_METRICS) for found in ranks)
    metrics = means(judged.combined_ranks(weights), VALIDATION_METRICS)
    return Weighed(weights, of_members, metrics, len(judged.queries), fitted)


def _fitted(judged: JudgedMembers, shortlists: Shortlists) -> tuple[float, ...]:
    """Fit the weights to the targets that have shortlists."""
    if not len(shortlists):
        logger.warning("combine: no validation target is among the best candidates of a member; all weights are equal")
    scores_EM = np.empty((len(shortlists.items.items), len(judged.members)))
    with Progress("combine: weights", len(judged.members), "members", hidden_for=2) as shown:
        for place, member in enumerate(judged.members):
            scores_EM[:, place] = member.scores_of(shortlists.users, shortlists.items)
            shown.advance(1)
    choices = Choices(scores_EM, shortlists.items.offsets, shortlists.targets)
    return tuple(fit_weights(choices).tolist())
