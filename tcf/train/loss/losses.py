"""The losses: each chooses the items that it needs besides a batch's own, and evaluates a batch.

Shapes: N items, I training items, P targets, U items of a batch, M items drawn for a batch, K items drawn for each
target or masked in each row, E = 1 + K, D width.
"""

from dataclasses import dataclass
from typing import Literal, Protocol, assert_never

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tcf.config.train import TrainConfig
from tcf.train.batch.batch import Batch
from tcf.train.batch.candidates import AllItems, Candidates, OwnItems, PerBatch, PerTarget
from tcf.train.batch.rows import BatchRows
from tcf.train.batch.training_data import TrainingData
from tcf.train.loss.logistic_kernel import logistic_loss
from tcf.train.loss.softmax_kernel import Columns, Masks, softmax_loss

__all__ = ["BinaryCrossEntropy", "FullSoftmax", "InBatchSoftmax", "Loss", "SampledSoftmax", "build_loss"]


class Loss(Protocol):
    """A training loss."""

    @property
    def candidates(self) -> Candidates:
        """Chooses the items that the loss needs besides those of a batch's sequences."""

    def __call__(self, states_PD: Tensor, vectors_UD: Tensor, batch: Batch) -> Tensor:
        """Sum over this device's targets, divided by the number of targets of the whole batch.

        Args:
            states_PD: the user's state for each target, (P, D).
            vectors_UD: the vectors of the batch's items, (U, D).
            batch: targets and candidates.

        Returns:
            A scalar; its gradient reaches `states_PD` and `vectors_UD`, once.
        """


def build_loss(config: TrainConfig, data: TrainingData, rows: BatchRows, device: torch.device) -> Loss:
    """Build the loss that the settings name.

    Args:
        config: which loss, and how many items it draws.
        data: the training part of a dataset: its items, and how often each occurs.
        rows: the rows of every epoch: how often each item is a candidate of the in-batch softmax.
        device: device of the batches.
    """
    match config.loss:
        case "in-batch":
            return InBatchSoftmax.build(rows.candidate_counts(len(data.counts)), device, config.backbone == "sasrec")
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
    """In-batch softmax: the candidates are all item occurrences of the batch, corrected by their log frequency.

    Equal candidates have equal scores, so each distinct item is one column, to which the log of its count is added. The
    items of the target's row are masked. If the target itself is masked, as in a sequence, its column represents its
    own occurrence alone and no count is added; if it is not, as for a pair, its other occurrences count in the sum.
    Loss and gradient equal those of the study as long as equal items have equal vectors within a batch.

    Attributes:
        log_frequency_N: log of each item's share of all candidates of an epoch; 0 for an item that is never one.
        masks_target: whether other occurrences of the target are masked.
    """

    log_frequency_N: Tensor
    masks_target: bool

    @staticmethod
    def build(
        counts_N: npt.NDArray[np.int64 | np.float64], device: torch.device, masks_target: bool
    ) -> "InBatchSoftmax":
        """Build the loss.

        Args:
            counts_N: how often each item is a candidate in an epoch, or is expected to be.
            device: device of the batches.
            masks_target: whether other occurrences of the target are masked.
        """
        share_N = np.where(counts_N > 0, counts_N / counts_N.sum(), 1)
        return InBatchSoftmax(torch.from_numpy(np.log(share_N).astype(np.float32)).to(device), masks_target)

    @property
    def candidates(self) -> OwnItems:
        """Only the batch's own items."""
        return OwnItems()

    def __call__(self, states_PD: Tensor, vectors_UD: Tensor, batch: Batch) -> Tensor:
        """See `tcf.train.loss.losses.Loss`."""
        numerator_U = -self.log_frequency_N[batch.items_U]
        candidate_U = batch.counts_U.log() + numerator_U
        own_U = numerator_U if self.masks_target else candidate_U
        columns = Columns(candidate_U, own_U, numerator_U, Masks(batch.masked_BK, batch.rows_P))
        return softmax_loss(states_PD, vectors_UD, batch.targets_P, columns, batch.n_targets)


@dataclass(frozen=True)
class FullSoftmax:
    """Full softmax: every training item is a candidate for every target, without corrections or masks.

    Attributes:
        candidates: all training items.
    """

    candidates: AllItems

    @staticmethod
    def build(data: TrainingData) -> "FullSoftmax":
        """Build the loss over the training items."""
        return FullSoftmax(AllItems(data.items))

    def __call__(self, states_PD: Tensor, vectors_UD: Tensor, batch: Batch) -> Tensor:
        """See `tcf.train.loss.losses.Loss`."""
        nothing_U = vectors_UD.new_zeros(len(vectors_UD))
        columns = Columns(nothing_U, nothing_U, nothing_U, None)
        return softmax_loss(states_PD, vectors_UD, batch.targets_P, columns, batch.n_targets)


@dataclass(frozen=True)
class SampledSoftmax:
    """Sampled softmax: the candidates are the target and M training items drawn with replacement for the whole batch.

    From every score, including the target's, the log of the item's expected number of draws is subtracted. An item
    drawn several times is one column, to which the log of that number is added. The target is a candidate exactly once,
    drawn or not. Items that the batch contains for another reason, for example because they are read, are not.

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
        """Build the loss.

        Args:
            data: the items, and how often each occurs.
            count: M.
            sampling: draw items in proportion to their occurrences in training, or uniformly.
            device: device of the batches.
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
    """Binary cross-entropy, averaged over a target and K negatives: items of the catalogue that are not in its row.

    The target's log likelihood is multiplied by beta (Petrov and Macdonald 2023, arXiv 2308.07192): K negatives are
    fewer than all possible ones, which makes the model overestimate every item's probability; beta corrects that.

    Attributes:
        candidates: draws the items.
        beta: 1 for the plain loss.
    """

    candidates: PerTarget
    beta: float

    @staticmethod
    def build(data: TrainingData, count: int, calibration: float) -> "BinaryCrossEntropy":
        """Build the loss.

        Args:
            data: how large the catalogue is.
            count: K.
            calibration: t, from 0 (the plain loss) to 1 (probabilities as without sampling).
        """
        # A rate above 1 would be more draws than there are negatives.
        n_items = len(data.counts)
        rate = min(1.0, count / max(1, n_items - 1))
        # alpha (t (1 - 1 / alpha) + 1 / alpha), where alpha is the rate, multiplied out.
        return BinaryCrossEntropy(PerTarget(n_items, count), calibration * (rate - 1) + 1)

    def __call__(self, states_PD: Tensor, vectors_UD: Tensor, batch: Batch) -> Tensor:
        """See `tcf.train.loss.losses.Loss`."""
        places_PE = torch.cat([batch.targets_P[:, None], batch.drawn], 1)
        return logistic_loss(states_PD, vectors_UD, places_PE, self.beta, batch.n_targets)
