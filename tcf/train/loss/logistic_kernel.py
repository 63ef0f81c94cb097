"""Binary cross-entropy of each target against a few negatives; the gradient is computed in the forward pass.

Shapes: P targets, E items of each (the target first), U items, D width, C targets of a chunk.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from tcf.train.loss.known_gradients import KnownGradients, with_known_gradients

__all__ = ["CHUNK_PAIRS", "logistic_loss"]

# About the size of a CPU core's cache: twice as fast as with larger chunks.
_CHUNK_NUMBERS = 1 << 20
# Pairs of a target and one of its items; sorting takes about 48 bytes for each.
CHUNK_PAIRS = 1 << 20


def logistic_loss(
    states_PD: Tensor,
    vectors_UD: Tensor,
    places_PE: Tensor,
    beta: float,
    n_targets: int,
    chunk_numbers: int = _CHUNK_NUMBERS,
) -> Tensor:
    """Mean over E of -beta log sigmoid(target) and -log(1 - sigmoid(negative)), summed and divided by `n_targets`.

    Before the sigmoid, every score is lowered by log(E - 1), the logarithm of the number of negatives for each target:
    equal scores of 0 then stand for a target that is no more probable than each of its negatives. That does not change
    the order of items. Without it the model would have to learn this number as a direction that all item vectors share,
    in which the items of a history look alike.

    Args:
        states_PD: the user's state for each target, (P, D) float32.
        vectors_UD: item vectors, (U, D) float32.
        places_PE: positions of the target and of its E - 1 negatives among the items.
        beta: weight of the targets.
        n_targets: divisor of the sum.
        chunk_numbers: maximum number of gathered vector elements in memory at once.

    Returns:
        A scalar; its gradient reaches `states_PD` and `vectors_UD`, once.
    """
    known = _loss_and_gradient(states_PD, vectors_UD, places_PE, beta, chunk_numbers)
    return with_known_gradients(states_PD, vectors_UD, known) / (n_targets * places_PE.shape[1])


@torch.no_grad()
def _loss_and_gradient(
    states_PD: Tensor, vectors_UD: Tensor, places_PE: Tensor, beta: float, chunk_numbers: int
) -> KnownGradients:
    """Score chunks of targets, and accumulate both gradients as weighted sums of rows.

    Vectors are gathered for one chunk at a time.
    """
    total = states_PD.new_zeros(())
    by_state_PD, by_vector_UD = torch.empty_like(states_PD), torch.zeros_like(vectors_UD)
    rows = max(1, CHUNK_PAIRS // places_PE.shape[1])
    for start in range(0, len(states_PD), rows):
        part = slice(start, start + rows)
        states_CD, places_CE = states_PD[part], places_PE[part]
        wrong_CE = _scores(states_CD, vectors_UD, places_CE, chunk_numbers).sub_(math.log(places_CE.shape[1] - 1))
        wrong_CE[:, 0].neg_()
        losses_CE, residue_CE = F.softplus(wrong_CE), wrong_CE.sigmoid()
        losses_CE[:, 0].mul_(beta)
        residue_CE[:, 0].mul_(-beta)
        total += losses_CE.sum()
        by_state_PD[part] = F.embedding_bag(places_CE, vectors_UD, per_sample_weights=residue_CE, mode="sum")
        by_vector_UD += _by_item(states_CD, places_CE, residue_CE, len(vectors_UD))
    return KnownGradients(total, by_state_PD, by_vector_UD)


def _scores(states_PD: Tensor, vectors_UD: Tensor, places_PE: Tensor, chunk_numbers: int) -> Tensor:
    """Inner products of each target's state with the vectors of its items, (P, E)."""
    n_each, width = places_PE.shape[1], states_PD.shape[1]
    scores_PE = states_PD.new_empty(places_PE.shape)
    chunk = max(1, chunk_numbers // (n_each * width))
    gathered = states_PD.new_empty(min(chunk, len(states_PD)) * n_each, width)
    for start in range(0, len(states_PD), chunk):
        places_CE = places_PE[start : start + chunk]
        rows = torch.index_select(vectors_UD, 0, places_CE.flatten(), out=gathered[: places_CE.numel()])
        states_C1D = states_PD[start : start + chunk, None]
        torch.linalg.vecdot(rows.view(*places_CE.shape, width), states_C1D, out=scores_PE[start : start + chunk])
    return scores_PE


def _by_item(states_PD: Tensor, places_PE: Tensor, weights_PE: Tensor, n_items: int) -> Tensor:
    """For each item, the weighted sum of the states that it was scored with, (U, D), in a fixed order of summation."""
    rising, order = torch.sort(places_PE.flatten(), stable=True)
    firsts_U = torch.searchsorted(rising, torch.arange(n_items, device=rising.device))
    owners = order // places_PE.shape[1]
    weights = weights_PE.flatten()[order]
    return F.embedding_bag(owners, states_PD, firsts_U, per_sample_weights=weights, mode="sum")
