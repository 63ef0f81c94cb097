"""Explicit ensembles over dense scores in float64, and ranks counted one by one, to compare combinations with.

Shapes: U users, N items, K places.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from small.train.runs import csr
from tcf.train.run.open_run import open_run

__all__ = ["co_occurrence_scores", "ranks_by_hand", "run_scores", "standardised"]

Scores = npt.NDArray[np.float64]


def run_scores(run: Path, histories: Sequence[Sequence[int]]) -> Scores:
    """A run's scores of all items after these items of every user of its dataset, (U, N)."""
    opened = open_run(run, device="cpu")
    states_UD = opened.user_states(np.arange(len(histories)), csr(histories)).astype(np.float64)
    return np.asarray(states_UD @ opened.item_vectors().astype(np.float64).T)


def co_occurrence_scores(training: Sequence[Sequence[int]], histories: Sequence[Sequence[int]], n_items: int) -> Scores:
    """log(1 + c) / its deviation, (U, N); c: 1 / distance of pairs in training, x 1 / position from the end."""
    counts_NN = np.zeros((n_items, n_items))
    for items in training:
        for at, one in enumerate(items):
            for distance, other in enumerate(items[at + 1 : at + 6], start=1):
                counts_NN[one, other] += 1 / distance
                counts_NN[other, one] += 1 / distance
    scores_UN = np.zeros((len(histories), n_items))
    for user, items in enumerate(histories):
        for position, item in enumerate(reversed(items[-5:]), start=1):
            scores_UN[user] += counts_NN[item] / position
    spread_U1 = np.log1p(scores_UN).std(axis=1, keepdims=True)
    return np.log1p(scores_UN) / np.where(spread_U1 > 0, spread_U1, 1)


def standardised(scores_UN: Scores) -> Scores:
    """The same with mean 0 and standard deviation 1 for every user, over all items."""
    spread_U1 = scores_UN.std(axis=1, keepdims=True)
    centred_UN = scores_UN - scores_UN.mean(axis=1, keepdims=True)
    return np.asarray(centred_UN / np.where(spread_U1 > 0, spread_U1, 1))


def ranks_by_hand(scores_UN: Scores, histories: Sequence[Sequence[int]], targets: Sequence[int]) -> list[float]:
    """Each target's rank among the items that its user has not had, the mean one among equal scores."""
    ranks = []
    for scores_N, had, target in zip(scores_UN, histories, targets, strict=True):
        others = [item for item in range(len(scores_N)) if item not in had and item != target]
        above = sum(scores_N[item] > scores_N[target] + 1e-6 for item in others)
        same = sum(abs(scores_N[item] - scores_N[target]) <= 1e-6 for item in others)
        ranks.append(1 + above + same / 2)
    return ranks
