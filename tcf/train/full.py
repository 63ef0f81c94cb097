"""Softmax over all training items.

Shapes: P targets, U items of a batch (here all that occur in training), D width.
"""

from dataclasses import dataclass

from torch import Tensor

from tcf.train.batches import Batch
from tcf.train.candidates import AllItems
from tcf.train.softmax import Columns, softmax_loss
from tcf.train.training_data import TrainingData

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
        """See `tcf.train.losses.Loss`."""
        nothing_U = vectors_UD.new_zeros(len(vectors_UD))
        columns = Columns(nothing_U, nothing_U, nothing_U, None)
        return softmax_loss(states_PD, vectors_UD, batch.targets_P, columns, batch.n_targets)
