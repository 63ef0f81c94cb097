"""The study's softmax: the candidates are the items of the batch.

Shapes: N items, P targets, U items of a batch, D width, K masked items of a row.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from tcf.train.batch.batch import Batch
from tcf.train.batch.candidates import OwnItems
from tcf.train.batch.training_data import TrainingData
from tcf.train.loss.softmax_kernel import Columns, Masks, softmax_loss

__all__ = ["InBatchSoftmax"]


@dataclass(frozen=True)
class InBatchSoftmax:
    """The candidates are the items at all places of the batch, lowered by their log popularity.

    Equal candidates have equal scores, so each distinct item is one column, raised by the log of its count. The items
    of the target's row are masked. Where the target itself is masked, as in a sequence, its column stands for its own
    place alone and has no count; where it is not, as for a pair, its other places count in the sum. Loss and gradient
    are those of the study as long as equal items have equal vectors within a batch.

    Attributes:
        log_popularity_N: log of each item's share in the training items.
        masks_target: whether other places of the target are masked.
    """

    log_popularity_N: Tensor
    masks_target: bool

    @staticmethod
    def build(data: TrainingData, device: torch.device, *, masks_target: bool) -> "InBatchSoftmax":
        """With the popularity in training."""
        return InBatchSoftmax(torch.from_numpy(data.log_popularity).to(device), masks_target)

    @property
    def candidates(self) -> OwnItems:
        """None beside the batch's own."""
        return OwnItems()

    def __call__(self, states_PD: Tensor, vectors_UD: Tensor, batch: Batch) -> Tensor:
        """See `tcf.train.loss.losses.Loss`."""
        numerator_U = -self.log_popularity_N[batch.items_U]
        candidate_U = batch.counts_U.log() + numerator_U
        own_U = numerator_U if self.masks_target else candidate_U
        columns = Columns(candidate_U, own_U, numerator_U, Masks(batch.masked_BK, batch.rows_P))
        return softmax_loss(states_PD, vectors_UD, batch.targets_P, columns, batch.n_targets)
