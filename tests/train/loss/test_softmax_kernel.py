"""The softmax kernel: whatever the chunks and blocks, the same value and gradient."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from small.train.losses import Floats, check, log_sum
from tcf.train.loss.softmax_kernel import Columns, Masks, softmax_loss

SIZES = [1, 7, 20, 90, 8 * 64, 1 << 22]


def problem(masked: bool, seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Columns]:
    """Six targets and eight columns, of which 2 and 5 are no candidates but for their own targets."""
    generator = torch.Generator().manual_seed(seed)
    states, vectors = torch.randn(6, 3, generator=generator), torch.randn(8, 3, generator=generator)
    candidate, own, numerator = torch.randn(3, 8, generator=generator)
    candidate[[2, 5]] = float("-inf")
    places = torch.tensor([[7, 7], [0, 1], [1, 3], [2, 4], [6, 0], [3, 3]])
    masks = Masks(places, torch.tensor([1, 2, 0, 3, 4, 5])) if masked else None
    return states, vectors, torch.tensor([2, 0, 7, 5, 1, 0]), Columns(candidate, own, numerator, masks)


def definition(s: Floats, v: Floats, targets: Tensor, columns: Columns) -> float:
    candidate, own, numerator = (x.double().numpy() for x in (columns.candidate_U, columns.own_U, columns.numerator_U))
    total = 0.0
    for p, target in enumerate(targets.tolist()):
        masked = set() if columns.masks is None else set(columns.masks.places_BK[columns.masks.rows_P[p]].tolist())
        scores = v @ s[p]
        others = [u for u in range(len(v)) if u != target and u not in masked and np.isfinite(candidate[u])]
        total += log_sum([scores[target] + own[target], *(scores[u] + candidate[u] for u in others)])
        total -= scores[target] + numerator[target]
    return total / 4


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("chunk_scores", SIZES)
def test_equals_the_definition_in_value_and_gradient(chunk_scores: int, masked: bool) -> None:
    states, vectors, targets, columns = problem(masked)

    def loss(s: Tensor, v: Tensor) -> Tensor:
        return softmax_loss(s, v, targets, columns, 4, chunk_scores)

    check(loss, lambda s, v: definition(s, v, targets, columns), states, vectors)


@pytest.mark.parametrize("chunk_scores", [300, 5000, 1 << 22])
def test_a_larger_one_equals_cross_entropy_of_torch(chunk_scores: int) -> None:
    generator = torch.Generator().manual_seed(1)
    states, vectors = torch.randn(130, 16, generator=generator), torch.randn(900, 16, generator=generator)
    targets, zeros = torch.randint(0, 900, (130,), generator=generator), torch.zeros(900)
    inputs = states.requires_grad_(), vectors.requires_grad_()
    found = softmax_loss(states, vectors, targets, Columns(zeros, zeros, zeros, None), 130, chunk_scores)
    wanted = F.cross_entropy(states @ vectors.T, targets)
    torch.testing.assert_close(found, wanted)
    gradients = [torch.autograd.grad(loss, inputs) for loss in (found, wanted)]
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("chunk_scores", [4, 1 << 22])
def test_scores_of_any_size_give_finite_losses(chunk_scores: int) -> None:
    states, vectors = torch.tensor([[1e4], [-1e4]]).requires_grad_(), torch.tensor([[1.0], [-1.0], [0.0]])
    zeros = torch.zeros(3)
    found = softmax_loss(states, vectors, torch.tensor([1, 1]), Columns(zeros, zeros, zeros, None), 1, chunk_scores)
    assert found.item() == pytest.approx(2e4)
    (by_state,) = torch.autograd.grad(found, states)
    assert by_state.flatten().tolist() == [2.0, 0.0]


@pytest.mark.parametrize("masked", [False, True])
def test_no_targets_give_zero_and_a_gradient_of_zeros(masked: bool) -> None:
    _, vectors, _, columns = problem(masked)
    none = torch.zeros(0, 3, requires_grad=True)
    masks = None if columns.masks is None else replace(columns.masks, rows_P=columns.masks.rows_P[:0])
    columns = Columns(columns.candidate_U, columns.own_U, columns.numerator_U, masks)
    found = softmax_loss(none, vectors.requires_grad_(), torch.zeros(0, dtype=torch.long), columns, 5)
    by_state, by_vector = torch.autograd.grad(found, (none, vectors))
    assert found.item() == 0 and by_state.shape == (0, 3) and not by_vector.any()


@pytest.mark.parametrize(("n_targets", "n_items"), [(2000, 300), (40, 20_000)])
def test_memory_is_that_of_a_chunk(n_targets: int, n_items: int) -> None:
    """600,000 or 800,000 scores, of which at most 2^14 are in memory, beside tensors as large as what was given."""
    states, vectors, zeros = torch.zeros(n_targets, 2), torch.zeros(n_items, 2), torch.zeros(n_items)
    targets = torch.zeros(n_targets, dtype=torch.long)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        softmax_loss(states, vectors, targets, Columns(zeros, zeros, zeros, None), n_targets, 1 << 14)
    most = max(event.self_cpu_memory_usage for event in profile.events())
    assert most <= 4 * max(1 << 14, states.numel(), vectors.numel())
