"""Training batches: slices of a permutation of users, cut from the histories without a step a user.

Shapes: B users of a batch, S items of their sequences (packed), P = S - B positions with a target, U distinct items, K
longest sequence.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tcf.data.dataset import Histories
from tcf.data.split import latest, training_counts, training_histories
from tcf.errors import DataError
from tcf.train.layout import Layout, to_device

__all__ = ["Batch", "TrainingData", "batches", "user_order"]


@dataclass(frozen=True)
class TrainingData:
    """What training sees: nothing of the validation and test targets.

    Attributes:
        sequences: the last items of each user that has a target: those read, and one more.
        log_popularity: (n_items,) float32, log of an item's share in all training items; -inf where it has none.
        positions: items of a history that the model reads.
        left_out: users without a target, because they have fewer than two training items.
    """

    sequences: Histories
    log_popularity: npt.NDArray[np.float32]
    positions: int
    left_out: int

    @staticmethod
    def build(histories: Histories, n_items: int, positions: int) -> "TrainingData":
        """Cut the training part out of the whole histories.

        Args:
            histories: every user's items, held-out ones included.
            n_items: size of the catalogue.
            positions: items of a history that the model reads.

        Raises:
            DataError: no user has a target.
        """
        training = training_histories(histories)
        users = np.flatnonzero(training.lengths >= 2)
        if not len(users):
            raise DataError("no user has two training items, so there is nothing to learn; prepare a larger dataset")
        counts = training_counts(histories, n_items)
        with np.errstate(divide="ignore"):
            log_popularity = np.log(counts / counts.sum()).astype(np.float32)
        sequences = latest(training, positions + 1).take(users)
        return TrainingData(sequences, log_popularity, positions, len(histories) - len(users))


@dataclass(frozen=True)
class Batch:
    """The sequences of some users, on the device. Items are named by their place among the batch's distinct items.

    Attributes:
        items_U: item indices, rising.
        counts_U: how often each occurs in the batch's sequences.
        inputs_P: the item read at each position.
        targets_P: the item that follows it.
        sequences_BK: each user's whole sequence; shorter ones repeat their last item.
        layout: where the inputs lie.
    """

    items_U: Tensor
    counts_U: Tensor
    inputs_P: Tensor
    targets_P: Tensor
    sequences_BK: Tensor
    layout: Layout

    @staticmethod
    def build(sequences: Histories, positions: int, device: torch.device) -> "Batch":
        """Make a batch of sequences with at least two items each.

        Args:
            sequences: B sequences, oldest item first, at most `positions` + 1 long.
            positions: items of a history that the model reads.
            device: where the tensors are wanted.
        """
        offsets = sequences.offsets
        items_U, places_S, counts_U = np.unique(sequences.items, return_inverse=True, return_counts=True)
        ends = np.arange(int(sequences.lengths.max()))
        grid_BK = np.minimum(offsets[:-1, None] + ends, offsets[1:, None] - 1)
        inputs_P, targets_P = np.delete(places_S, offsets[1:] - 1), np.delete(places_S, offsets[:-1])
        arrays = (items_U.astype(np.int64), counts_U, inputs_P, targets_P, places_S[grid_BK].ravel())
        items, counts, inputs, targets, grid = to_device(arrays, device)
        layout = Layout.build(offsets - np.arange(len(offsets)), positions, device)
        return Batch(items, counts, inputs, targets, grid.view(grid_BK.shape), layout)


def user_order(n_users: int, seed: int, epoch: int) -> npt.NDArray[np.int64]:
    """The order of users in an epoch, (n_users,): a function of seed and epoch alone."""
    return np.random.default_rng([seed, epoch]).permutation(n_users)


def batches(data: TrainingData, order: npt.NDArray[np.int64], users: int, device: torch.device) -> Iterator[Batch]:
    """Cut an epoch into batches.

    Args:
        data: the training part of a dataset.
        order: users of `data.sequences` in the order to visit them.
        users: B, users a batch; the last batch holds what is left.
        device: where the tensors are wanted.
    """
    for start in range(0, len(order), users):
        yield Batch.build(data.sequences.take(order[start : start + users]), data.positions, device)
