"""Binary cross-entropy of each target against items that are drawn for it.

Shapes: P targets, U items of a batch, K items drawn for each target, E = 1 + K, D width.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from tcf.train.batch.batch import Batch
from tcf.train.batch.candidates import PerTarget
from tcf.train.batch.training_data import TrainingData
from tcf.train.loss.logistic_kernel import logistic_loss

__all__ = ["BinaryCrossEntropy"]


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
