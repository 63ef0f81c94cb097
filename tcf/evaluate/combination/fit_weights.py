"""Weights of members under which held-out targets are most likely among the best candidates of all members.

The probability of a target is the softmax, over its shortlist, of the sum of its members' standardised scores, each
times a factor of at least 0. This is a conditional logit (McFadden 1974, "Conditional logit analysis of qualitative
choice behavior"): its log-likelihood is concave in the factors, so there is one best point. Weights are the factors
divided by their sum, since a common factor changes no rank.

Shapes: P targets, E entries of all their shortlists, M members.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Choices", "fit_weights"]

_RIDGE = 1e-4
"""Half of it times the squared factors is added to the loss: members that are alike share their weight equally, and
targets that every member has at the top do not drive the factors to infinity. The loss curves some 1,000 times more."""
_STEPS = 200
_DONE = 1e-10
_DECIMALS = 6  # fewer than an optimum has, more than a rank can show

Vector = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Choices:
    """Targets among the entries of their shortlists; target p has the entries offsets[p] to offsets[p + 1] - 1.

    Attributes:
        scores_EM: (E, M) float64, each member's standardised score of each entry.
        offsets: (P + 1,) int64.
        targets_P: (P,) int64, the entry that is the target.
    """

    scores_EM: Vector
    offsets: npt.NDArray[np.int64]
    targets_P: npt.NDArray[np.int64]

    def __len__(self) -> int:
        """Number of targets."""
        return len(self.targets_P)

    @property
    def owners_E(self) -> npt.NDArray[np.int64]:
        """The target whose shortlist each entry is in."""
        return np.repeat(np.arange(len(self)), np.diff(self.offsets))


def fit_weights(choices: Choices) -> Vector:
    """Return the weight of each member, (M,): at least 0, and 1 together; equal ones if there is nothing to learn.

    Newton steps in those factors that are above 0 or would rise, with the step halved until the loss falls (Bertsekas
    1982, "Projected Newton methods for optimization problems with simple constraints"). In float64, from equal factors,
    so that equal inputs give equal weights.
    """
    n_members = choices.scores_EM.shape[1]
    factors_M = np.ones(n_members)
    if not len(choices):
        return np.full(n_members, 1 / n_members)
    owners_E = choices.owners_E
    for _ in range(_STEPS):
        loss, gradient_M, curvature_MM = _loss_of(choices, owners_E, factors_M)
        free_M = (factors_M > 0) | (gradient_M < 0)
        step_M = np.zeros(n_members)
        step_M[free_M] = -np.linalg.solve(curvature_MM[np.ix_(free_M, free_M)], gradient_M[free_M])
        moved_M = _moved(choices, owners_E, factors_M, step_M, loss)
        change = float(np.abs(moved_M - factors_M).max())
        factors_M = moved_M
        if change < _DONE:
            break
    if not factors_M.any():  # every member prefers others to the targets
        factors_M[:] = 1
    weights_M = np.round(factors_M / factors_M.sum(), _DECIMALS)
    return np.asarray(weights_M / weights_M.sum())


def _moved(choices: Choices, owners_E: npt.NDArray[np.int64], factors_M: Vector, step_M: Vector, loss: float) -> Vector:
    """Return the factors after the longest of ever shorter steps that does not raise the loss."""
    share = 1.0
    while share > _DONE:
        moved_M = np.maximum(factors_M + share * step_M, 0)
        if _loss_of(choices, owners_E, moved_M)[0] <= loss:
            return moved_M
        share /= 2
    return factors_M


def _loss_of(choices: Choices, owners_E: npt.NDArray[np.int64], factors_M: Vector) -> tuple[float, Vector, Vector]:
    """Return the mean negative log-likelihood with its ridge, its gradient, (M,), and its second derivative, (M, M)."""
    scores_EM, starts_P = choices.scores_EM, choices.offsets[:-1]
    sums_E = scores_EM @ factors_M
    sums_E -= np.maximum.reduceat(sums_E, starts_P)[owners_E]
    exps_E = np.exp(sums_E)
    totals_P = np.add.reduceat(exps_E, starts_P)
    chances_E = exps_E / totals_P[owners_E]
    expected_PM = np.add.reduceat(scores_EM * chances_E[:, None], starts_P)
    n = len(choices)
    loss = float((np.log(totals_P) - sums_E[choices.targets_P]).sum() / n)
    gradient_M = (expected_PM - scores_EM[choices.targets_P]).sum(0) / n
    curvature_MM = ((scores_EM * chances_E[:, None]).T @ scores_EM - expected_PM.T @ expected_PM) / n
    ridge = _RIDGE / 2 * float(factors_M @ factors_M)
    return loss + ridge, gradient_M + _RIDGE * factors_M, curvature_MM + _RIDGE * np.eye(len(factors_M))
