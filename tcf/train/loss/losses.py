"""The losses: each says which items it needs beside a batch's own, and scores a batch.

Shapes: P targets, U items of a batch, D width.
"""

from typing import Protocol

import torch
from torch import Tensor

from tcf.config.train import TrainConfig
from tcf.train.batch.batch import Batch
from tcf.train.batch.candidates import Candidates
from tcf.train.batch.training_data import TrainingData
from tcf.train.loss.binary import BinaryCrossEntropy
from tcf.train.loss.full import FullSoftmax
from tcf.train.loss.in_batch import InBatchSoftmax
from tcf.train.loss.sampled import SampledSoftmax

__all__ = ["Loss", "build_loss"]


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
