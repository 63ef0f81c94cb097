"""The study's in-batch softmax, over the distinct items of a batch.

In the study every position of every sequence in the batch is a candidate; its score is lowered by the log of the item's
training popularity (logQ), and the items of the user's own sequence are masked, all but the target's own place. Equal
candidates have equal scores, so here each distinct item is one column, raised by the log of its count. The target's
column stands for its own place alone, because its other places are masked: it has no count. Loss and gradient are the
same as long as equal items have equal vectors within a batch.

Shapes: P positions with a target, U distinct items, D width, B users, K longest sequence, C positions of a chunk.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from tcf.train.batches import Batch

__all__ = ["in_batch_softmax"]

_CHUNK_SCORES = 1 << 24


def in_batch_softmax(
    states_PD: Tensor, vectors_UD: Tensor, batch: Batch, log_popularity_U: Tensor, chunk_scores: int = _CHUNK_SCORES
) -> Tensor:
    """Mean cross-entropy of the targets.

    Args:
        states_PD: the user's state at each position, (P, D) float32.
        vectors_UD: the vectors of the batch's distinct items, (U, D) float32.
        batch: where positions and targets are.
        log_popularity_U: log of each item's share in the training items, (U,).
        chunk_scores: the most scores that are in memory at once.

    Returns:
        A scalar; its gradient reaches `states_PD` and `vectors_UD`, once.
    """
    own_U = -log_popularity_U
    candidate_U = batch.counts_U.log() + own_U
    loss: Tensor = _Softmax.apply(  # type: ignore[no-untyped-call]
        states_PD, vectors_UD, candidate_U, own_U, batch, max(1, chunk_scores // len(own_U))
    )
    return loss


class _Softmax(torch.autograd.Function):
    """The loss, with its gradient computed along the way, so that no scores outlive their chunk."""

    @staticmethod
    def forward(
        ctx: Any, states_PD: Tensor, vectors_UD: Tensor, candidate_U: Tensor, own_U: Tensor, batch: Batch, chunk: int
    ) -> Tensor:
        """Go through the positions `chunk` at a time."""
        total = states_PD.new_zeros(())
        by_state_PD, by_vector_UD = torch.empty_like(states_PD), torch.zeros_like(vectors_UD)
        for start in range(0, len(states_PD), chunk):
            part = slice(start, start + chunk)
            targets_C1 = batch.targets_P[part, None]
            logits_CU = torch.addmm(candidate_U, states_PD[part], vectors_UD.T)
            own_C1 = logits_CU.gather(1, targets_C1) + (own_U - candidate_U)[targets_C1]
            logits_CU.scatter_(1, batch.sequences_BK[batch.layout.rows_P[part]], float("-inf"))
            logits_CU.scatter_(1, targets_C1, own_C1)
            sums_C1 = logits_CU.logsumexp(1, keepdim=True)
            total += (sums_C1 - own_C1).sum()
            residue_CU = logits_CU.sub_(sums_C1).exp_()
            residue_CU.scatter_add_(1, targets_C1, torch.full_like(own_C1, -1))
            torch.mm(residue_CU, vectors_UD, out=by_state_PD[part])
            by_vector_UD.addmm_(residue_CU.T, states_PD[part])
        ctx.save_for_backward(by_state_PD, by_vector_UD)
        return total / len(states_PD)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, by_loss: Tensor) -> tuple[Tensor | None, ...]:
        """Scale the gradient that `forward` has left."""
        by_state_PD, by_vector_UD = ctx.saved_tensors
        scale = by_loss / len(by_state_PD)
        return by_state_PD * scale, by_vector_UD * scale, None, None, None, None
