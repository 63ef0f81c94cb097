"""Binary cross-entropy of one item against a few others for each target, with its gradient computed along the way.

Shapes: P targets, E items of each (its own first), U items, D width, C targets of a chunk.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from tcf.train.loss.known_gradients import KnownGradients, with_known_gradients

__all__ = ["CHUNK_PAIRS", "logistic_loss"]

# About what a processor core's cache holds: twice as fast there as with larger ones.
_CHUNK_NUMBERS = 1 << 20
# Targets with their others: what sorting them takes is some 48 bytes for each.
CHUNK_PAIRS = 1 << 20


def logistic_loss(
    states_PD: Tensor,
    vectors_UD: Tensor,
    places_PE: Tensor,
    beta: float,
    n_targets: int,
    chunk_numbers: int = _CHUNK_NUMBERS,
) -> Tensor:
    """Mean over E of -beta log sigmoid(own) and -log(1 - sigmoid(other)) scores, summed and divided by `n_targets`.

    Args:
        states_PD: the user's state for each target, (P, D) float32.
        vectors_UD: item vectors, (U, D) float32.
        places_PE: places of the target and of its E - 1 others among the items.
        beta: weight of the targets.
        n_targets: what the sum is divided by.
        chunk_numbers: the most numbers of gathered vectors that are in memory at once.

    Returns:
        A scalar; its gradient reaches `states_PD` and `vectors_UD`, once.
    """
    known = _loss_and_gradient(states_PD, vectors_UD, places_PE, beta, chunk_numbers)
    return with_known_gradients(states_PD, vectors_UD, known) / (n_targets * places_PE.shape[1])


@torch.no_grad()
def _loss_and_gradient(
    states_PD: Tensor, vectors_UD: Tensor, places_PE: Tensor, beta: float, chunk_numbers: int
) -> KnownGradients:
    """Score some targets, then add up both gradients as weighted sums of rows.

    No vectors are gathered for more than a chunk.
    """
    total = states_PD.new_zeros(())
    by_state_PD, by_vector_UD = torch.empty_like(states_PD), torch.zeros_like(vectors_UD)
    rows = max(1, CHUNK_PAIRS // places_PE.shape[1])
    for start in range(0, len(states_PD), rows):
        part = slice(start, start + rows)
        states_CD, places_CE = states_PD[part], places_PE[part]
        wrong_CE = _scores(states_CD, vectors_UD, places_CE, chunk_numbers)
        wrong_CE[:, 0].neg_()
        losses_CE, residue_CE = F.softplus(wrong_CE), wrong_CE.sigmoid()
        losses_CE[:, 0].mul_(beta)
        residue_CE[:, 0].mul_(-beta)
        total += losses_CE.sum()
        by_state_PD[part] = F.embedding_bag(places_CE, vectors_UD, per_sample_weights=residue_CE, mode="sum")
        by_vector_UD += _by_item(states_CD, places_CE, residue_CE, len(vectors_UD))
    return KnownGradients(total, by_state_PD, by_vector_UD)


def _scores(states_PD: Tensor, vectors_UD: Tensor, places_PE: Tensor, chunk_numbers: int) -> Tensor:
    """Products of each target's state with the vectors at its places, (P, E)."""
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
    """For each item the weighted sum of the states at whose targets it is, (U, D); in an order that never changes."""
    rising, order = torch.sort(places_PE.flatten(), stable=True)
    firsts_U = torch.searchsorted(rising, torch.arange(n_items, device=rising.device))
    owners = order // places_PE.shape[1]
    weights = weights_PE.flatten()[order]
    return F.embedding_bag(owners, states_PD, firsts_U, per_sample_weights=weights, mode="sum")
