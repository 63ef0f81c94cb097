"""Softmax cross-entropy over the distinct items of a batch; the gradient is computed in the forward pass.

Shapes: P targets, U items (columns), D width, K masked items of a row, C targets of a chunk, W columns of a block.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from tcf.train.loss.known_gradients import KnownGradients, with_known_gradients

__all__ = ["CHUNK_SCORES", "Columns", "Masks", "softmax_loss"]

# 16 MiB of float32: products of this size are as fast as larger ones, and their results still fit the CPU's caches.
CHUNK_SCORES = 1 << 22
_FEWEST_TARGETS = 64


@dataclass(frozen=True)
class Masks:
    """Items that are not candidates for a target, except the target itself.

    Attributes:
        places_BK: positions of the items, a row for each user or pair.
        rows_P: the row of each target.
    """

    places_BK: Tensor
    rows_P: Tensor


@dataclass(frozen=True)
class Columns:
    """Corrections added to the scores, and masks.

    Attributes:
        candidate_U: added to the score of an item that is not the target; -inf for items that are not candidates.
        own_U: added to the target's score in the denominator.
        numerator_U: added to the target's score in the numerator.
        masks: items that are not candidates; None if all are.
    """

    candidate_U: Tensor
    own_U: Tensor
    numerator_U: Tensor
    masks: Masks | None


def softmax_loss(
    states_PD: Tensor,
    vectors_UD: Tensor,
    targets_P: Tensor,
    columns: Columns,
    n_targets: int,
    chunk_scores: int = CHUNK_SCORES,
) -> Tensor:
    """Cross-entropy of the targets, summed and divided by `n_targets`.

    Args:
        states_PD: the user's state for each target, (P, D) float32.
        vectors_UD: item vectors, (U, D) float32.
        targets_P: the position of each target among the items.
        columns: corrections and masks.
        n_targets: divisor of the sum.
        chunk_scores: maximum number of scores in memory at once; with masks, at least those of one target.

    Returns:
        A scalar; its gradient reaches `states_PD` and `vectors_UD`, once.
    """
    known = _loss_and_gradient(states_PD, vectors_UD, targets_P, columns, chunk_scores)
    return with_known_gradients(states_PD, vectors_UD, known) / n_targets


@torch.no_grad()
def _loss_and_gradient(
    states_PD: Tensor, vectors_UD: Tensor, targets_P: Tensor, columns: Columns, chunk_scores: int
) -> KnownGradients:
    """Loop over chunks of targets; no scores outlive their chunk."""
    rows, width = _shape(len(states_PD), len(vectors_UD), chunk_scores, masked=columns.masks is not None)
    scores = _Scores(vectors_UD, columns, states_PD.new_empty(rows * width), width)
    total = states_PD.new_zeros(())
    by_state_PD, by_vector_UD = torch.zeros_like(states_PD), torch.zeros_like(vectors_UD)
    for start in range(0, len(states_PD), rows):
        part = slice(start, start + rows)
        masks = columns.masks
        masked_CK = None if masks is None else masks.places_BK[masks.rows_P[part]]
        chunk = _Chunk.build(states_PD[part], targets_P[part, None], masked_CK, vectors_UD, columns)
        total += scores.add_gradient(chunk, by_state_PD[part], by_vector_UD) - chunk.numerator_C1.sum()
    return KnownGradients(total, by_state_PD, by_vector_UD)


def _shape(n_targets: int, n_items: int, chunk_scores: int, *, masked: bool) -> tuple[int, int]:
    """Targets and columns per chunk: all columns, unless that leaves too few targets for a fast product."""
    if masked or n_items * _FEWEST_TARGETS <= chunk_scores:
        return max(1, min(n_targets, chunk_scores // n_items)), n_items
    rows = max(1, min(n_targets, math.isqrt(chunk_scores)))
    return rows, max(1, min(n_items, chunk_scores // rows))


@dataclass(frozen=True)
class _Chunk:
    """A chunk of targets: their states, positions and masks, and their terms in denominator and numerator."""

    states_CD: Tensor
    targets_C1: Tensor
    masked_CK: Tensor | None
    own_C1: Tensor
    numerator_C1: Tensor

    @staticmethod
    def build(
        states_CD: Tensor, targets_C1: Tensor, masked_CK: Tensor | None, vectors_UD: Tensor, columns: Columns
    ) -> "_Chunk":
        # Not taken from the other scores: there, the target may not be a candidate and have an infinite score.
        score_C1 = torch.linalg.vecdot(states_CD, vectors_UD[targets_C1[:, 0]])[:, None]
        own_C1, numerator_C1 = columns.own_U[targets_C1], columns.numerator_U[targets_C1]
        return _Chunk(states_CD, targets_C1, masked_CK, score_C1 + own_C1, score_C1 + numerator_C1)


@dataclass(frozen=True)
class _Scores:
    """Scores of a chunk of targets with blocks of columns, in one reused buffer."""

    vectors_UD: Tensor
    columns: Columns
    memory: Tensor
    width: int

    def add_gradient(self, chunk: _Chunk, by_state_CD: Tensor, by_vector_UD: Tensor) -> Tensor:
        """Add the gradient of a chunk in place; returns the sum of the logs of its denominators."""
        blocks = [slice(at, at + self.width) for at in range(0, len(self.vectors_UD), self.width)]
        if len(blocks) == 1:
            highest_C1, sums_C1, powers_CW = _normaliser(self._logits(chunk, blocks[0]))
            self._add_block(powers_CW.div_(sums_C1), chunk, blocks[0], by_state_CD, by_vector_UD)
            return (highest_C1 + sums_C1.log()).sum()
        logs_C1 = self._denominators(chunk, blocks)
        for block in blocks:
            shares_CW = self._logits(chunk, block).sub_(logs_C1).exp_()
            self._add_block(shares_CW, chunk, block, by_state_CD, by_vector_UD)
        return logs_C1.sum()

    def _denominators(self, chunk: _Chunk, blocks: list[slice]) -> Tensor:
        """Logs of the sums over all blocks, (C, 1)."""
        logs_C1 = torch.full_like(chunk.own_C1, float("-inf"))
        for block in blocks:
            logs_C1 = torch.logaddexp(logs_C1, self._logits(chunk, block).logsumexp(1, keepdim=True))
        return logs_C1

    def _logits(self, chunk: _Chunk, block: slice) -> Tensor:
        """Corrected and masked scores of a block, (C, W)."""
        vectors_WD = self.vectors_UD[block]
        shape = (len(chunk.states_CD), len(vectors_WD))
        logits_CW = self.memory[: math.prod(shape)].view(shape)
        torch.addmm(self.columns.candidate_U[block], chunk.states_CD, vectors_WD.T, out=logits_CW)
        if chunk.masked_CK is not None:  # then there is one block
            logits_CW.scatter_(1, chunk.masked_CK, float("-inf"))
        places_C1, inside_C1 = _places(chunk.targets_C1, block, len(vectors_WD))
        own_C1 = torch.where(inside_C1, chunk.own_C1, logits_CW.gather(1, places_C1))
        return logits_CW.scatter_(1, places_C1, own_C1)

    def _add_block(
        self, shares_CW: Tensor, chunk: _Chunk, block: slice, by_state_CD: Tensor, by_vector_UD: Tensor
    ) -> None:
        """Add the gradient, given each candidate's softmax probability."""
        places_C1, inside_C1 = _places(chunk.targets_C1, block, shares_CW.shape[1])
        residue_CW = shares_CW.scatter_add_(1, places_C1, -inside_C1.to(shares_CW.dtype))
        by_state_CD.addmm_(residue_CW, self.vectors_UD[block])
        by_vector_UD[block].addmm_(residue_CW.T, chunk.states_CD)


def _normaliser(logits_CW: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The maximum logit of each row, the sum of the exponentials of the differences from it, and these, in place."""
    highest_C1 = logits_CW.amax(1, keepdim=True)
    powers_CW = logits_CW.sub_(highest_C1).exp_()
    return highest_C1, powers_CW.sum(1, keepdim=True), powers_CW


def _places(targets_C1: Tensor, block: slice, width: int) -> tuple[Tensor, Tensor]:
    """The columns of the targets in a block, and whether they are in it at all; does not synchronise."""
    exact_C1 = targets_C1 - block.start
    places_C1 = exact_C1.clamp(0, width - 1)
    return places_C1, places_C1 == exact_C1
