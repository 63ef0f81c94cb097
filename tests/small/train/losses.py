"""What the tests of the losses share: small training data, batches, and gradients by finite differences."""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from small.train.runs import csr
from tcf.train.batch.batch import Batch
from tcf.train.batch.rows import EpochRows
from tcf.train.batch.training_data import TrainingData
from tcf.train.loss.losses import Loss

Floats = npt.NDArray[np.float64]
CPU = torch.device("cpu")

# Repeats inside a sequence, items shared by users, targets that lie in their own history or follow themselves.
SEQUENCES = [[0, 1, 2, 1], [3, 0], [4, 4, 4], [1, 5, 0, 5, 6], [2, 7]]


def training(sequences: Sequence[Sequence[int]], n_items: int, positions: int = 5) -> TrainingData:
    """Training data that is these sequences."""
    return training_of(np.arange(len(sequences)), sequences, n_items, positions)


def training_of(
    users: npt.NDArray[np.int64], sequences: Sequence[Sequence[int]], n_items: int, positions: int = 5
) -> TrainingData:
    """Training data in which these users have these sequences."""
    histories = csr(sequences)
    counts = np.bincount(histories.items, minlength=n_items)
    return TrainingData(histories, users, histories.offsets[:-1], histories.offsets[1:], counts, positions, 0)


def batch_of(rows: EpochRows, loss: Loss, which: Sequence[int], part: tuple[int, int] = (0, 1), seed: int = 0) -> Batch:
    """A batch of these rows, with the items that the loss draws for it."""
    chosen = rows.choose(np.array(which))
    owners_S = np.repeat(np.arange(len(chosen.sequences)), chosen.sequences.lengths)
    drawn = loss.candidates.draw(chosen.sequences, owners_S[chosen.target_S], np.random.default_rng(seed))
    return Batch.build(chosen, drawn, 5, CPU, part)


def some(batch: Batch, width: int = 4, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Random states of a batch's targets and vectors of its items."""
    generator = torch.Generator().manual_seed(seed)
    states = torch.randn(len(batch.targets_P), width, generator=generator, requires_grad=True)
    return states, torch.randn(len(batch.items_U), width, generator=generator, requires_grad=True)


def check(
    loss: Callable[[Tensor, Tensor], Tensor],
    reference: Callable[[Floats, Floats], float],
    states: Tensor,
    vectors: Tensor,
) -> None:
    """Compare three times the loss, and its gradient, with a float64 reference and its central differences."""
    states, vectors = (x.detach().clone().requires_grad_() for x in (states, vectors))
    found = 3 * loss(states, vectors)
    found.backward()  # type: ignore[no-untyped-call]
    s, v = states.detach().double().numpy(), vectors.detach().double().numpy()
    np.testing.assert_allclose(found.item(), 3 * reference(s, v), rtol=2e-6, atol=1e-6)
    assert states.grad is not None and vectors.grad is not None
    by_state = _differences(lambda changed: 3 * reference(changed, v), s)
    by_vector = _differences(lambda changed: 3 * reference(s, changed), v)
    np.testing.assert_allclose(states.grad.numpy(), by_state, rtol=1e-4, atol=3e-6)
    np.testing.assert_allclose(vectors.grad.numpy(), by_vector, rtol=1e-4, atol=3e-6)


def _differences(function: Callable[[Floats], float], at: Floats) -> Floats:
    gradient = np.empty_like(at)
    for index in np.ndindex(at.shape):
        step = np.zeros_like(at)
        step[index] = 1e-5
        gradient[index] = (function(at + step) - function(at - step)) / 2e-5
    return gradient


def log_sum(values: Sequence[float]) -> float:
    """Log of the sum of the powers."""
    highest = max(values)
    return highest + float(np.log(sum(np.exp(value - highest) for value in values)))
