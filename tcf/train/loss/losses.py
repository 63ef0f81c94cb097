"""The losses: each says which items it needs beside a batch's own, and scores a batch.

Shapes: N items, I training items, P targets, U items of a batch, M items drawn for a batch, K items drawn for each
target or masked in each row, E = 1 + K, D width.
"""

from dataclasses import dataclass
from typing import Literal, Protocol, assert_never

import numpy as np
import torch
from torch import Tensor

from tcf.config.train import TrainConfig
from tcf.train.batch.batch import Batch
from tcf.train.batch.candidates import AllItems, Candidates, OwnItems, PerBatch, PerTarget
from tcf.train.batch.training_data import TrainingData
from tcf.train.loss.logistic_kernel import logistic_loss
from tcf.train.loss.softmax_kernel import Columns, Masks, softmax_loss

__all__ = ["BinaryCrossEntropy", "FullSoftmax", "InBatchSoftmax", "Loss", "SampledSoftmax", "build_loss"]


class Loss(Protocol):
    """A loss."""

    @property
    def candidates(self) -> Candidates:
        """Chooses the items that the loss needs beside those of a batch's sequences."""

    def __call__(self, states_PD: Tensor, vectors_UD: Tensor, batch: Batch) -> Tensor:
        """Sum over the targets at hand, divided by the number of targets of the whole batch.

        Args:
            states_PD: the user's state for each target, (P, D).
            vectors_UD: the vectors of the batch's items, (U, D).
            batch: where targets and candidates are.

        Returns:
            A scalar; its gradient reaches `states_PD` and `vectors_UD`, once.
        """


def build_loss(config: TrainConfig, data: TrainingData, device: torch.device) -> Loss:
    """The loss that the settings ask for.

    Args:
        config: which loss, and how many items it draws.
        data: the training part of a dataset: its items, and how often each occurs.
        device: where batches will be.
    """
    match config.loss:
        case "in-batch":
            return InBatchSoftmax.build(data, device, masks_target=config.backbone == "sasrec")
        case "full":
            return FullSoftmax.build(data)
        case "sampled":
            return SampledSoftmax.build(data, config.resolved_negatives, config.sampling, device)
        case "bce":
            return BinaryCrossEntropy.build(data, config.resolved_negatives, calibration=0.0)
        case "gbce":
            return BinaryCrossEntropy.build(data, config.resolved_negatives, calibration=config.gbce_t)
        case _:
            assert_never(config.loss)


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


@dataclass(frozen=True)
class BinaryCrossEntropy:
    """The mean over a target and K items, drawn alike likely among those that its row does not hold.

    The target's log likelihood is multiplied by beta (Petrov and Macdonald 2023, arXiv 2308.07192): K items are fewer
    than all that are none of the row's, so that the model would think too much of every item; beta takes that back.

    Attributes:
        candidates: draws the items.
        beta: 1 for the plain loss.
    """

    candidates: PerTarget
    beta: float

    @staticmethod
    def build(data: TrainingData, count: int, calibration: float) -> "BinaryCrossEntropy":
        """Prepare the draws.

        Args:
            data: the items to draw from.
            count: K.
            calibration: t, from 0 (the plain loss) to 1 (probabilities as if nothing were drawn).
        """
        # More draws than there are other items are no less than all of them.
        rate = min(1.0, count / max(1, len(data.items) - 1))
        # alpha (t (1 - 1 / alpha) + 1 / alpha), where alpha is the rate, multiplied out.
        return BinaryCrossEntropy(PerTarget(data.items, count), calibration * (rate - 1) + 1)

    def __call__(self, states_PD: Tensor, vectors_UD: Tensor, batch: Batch) -> Tensor:
        """See `tcf.train.loss.losses.Loss`."""
        places_PE = torch.cat([batch.targets_P[:, None], batch.drawn], 1)
        return logistic_loss(states_PD, vectors_UD, places_PE, self.beta, batch.n_targets)
