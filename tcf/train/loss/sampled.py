"""Softmax over items that are drawn for each batch.

Shapes: N items, I training items, P targets, U items of a batch, M items drawn, D width.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from tcf.train.batch.batch import Batch
from tcf.train.batch.candidates import PerBatch
from tcf.train.batch.training_data import TrainingData
from tcf.train.loss.softmax_kernel import Columns, softmax_loss

__all__ = ["SampledSoftmax"]


@dataclass(frozen=True)
class SampledSoftmax:
    """The candidates are M training items, drawn with replacement for all targets of a batch together, and the target.

    Every score, the target's too, is lowered by the log of how often its item is expected among the M. An item that is
    drawn several times is one column, raised by the log of that number. The target is a candidate once, drawn or not.
    Items that the batch holds for another reason, because they are read for example, are none.

    Attributes:
        candidates: draws the items.
        log_expected_N: log of the expected number of draws of each item; -inf for one that does not occur in training.
    """

    candidates: PerBatch
    log_expected_N: Tensor

    @staticmethod
    def build(
        data: TrainingData, count: int, sampling: Literal["popularity", "uniform"], device: torch.device
    ) -> "SampledSoftmax":
        """Prepare the draws.

        Args:
            data: the items, and how often each occurs.
            count: M.
            sampling: whether items are drawn as often as they occur in training, or all alike.
            device: where batches will be.
        """
        weights_I = data.counts[data.items] if sampling == "popularity" else np.ones(len(data.items))
        chances_I = weights_I / weights_I.sum()
        log_expected_N = np.full(len(data.counts), -np.inf, np.float32)
        log_expected_N[data.items] = np.log(count * chances_I)
        candidates = PerBatch.build(data.items, chances_I, count)
        return SampledSoftmax(candidates, torch.from_numpy(log_expected_N).to(device))

    def __call__(self, states_PD: Tensor, vectors_UD: Tensor, batch: Batch) -> Tensor:
        """See `tcf.train.loss.losses.Loss`."""
        ones_M = vectors_UD.new_ones(len(batch.drawn))
        draws_U = vectors_UD.new_zeros(len(vectors_UD)).index_add_(0, batch.drawn, ones_M)
        own_U = -self.log_expected_N[batch.items_U]
        columns = Columns(draws_U.log() + own_U, own_U, own_U, None)
        return softmax_loss(states_PD, vectors_UD, batch.targets_P, columns, batch.n_targets)
