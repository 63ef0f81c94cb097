"""Softmax over all training items.

Shapes: P targets, U items of a batch (here all that occur in training), D width.
"""

from dataclasses import dataclass

from torch import Tensor

from tcf.train.batch.batch import Batch
from tcf.train.batch.candidates import AllItems
from tcf.train.batch.training_data import TrainingData
from tcf.train.loss.softmax_kernel import Columns, softmax_loss

__all__ = ["FullSoftmax"]


@dataclass(frozen=True)
class FullSoftmax:
    """Every item that occurs in training is a candidate for every target, without corrections or masks.

    Attributes:
        candidates: all those items.
    """

    candidates: AllItems

    @staticmethod
    def build(data: TrainingData) -> "FullSoftmax":
        """Over the items of this data."""
        return FullSoftmax(AllItems(data.items))

    def __call__(self, states_PD: Tensor, vectors_UD: Tensor, batch: Batch) -> Tensor:
        """See `tcf.train.loss.losses.Loss`."""
        nothing_U = vectors_UD.new_zeros(len(vectors_UD))
        columns = Columns(nothing_U, nothing_U, nothing_U, None)
        return softmax_loss(states_PD, vectors_UD, batch.targets_P, columns, batch.n_targets)
