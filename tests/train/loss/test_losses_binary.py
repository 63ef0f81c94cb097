"""Binary cross-entropy, plain and calibrated, against float64 NumPy written from the definition."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from small.train.losses import CPU, SEQUENCES, Floats, batch_of, check, some, training
from tcf.config.train import TrainConfig
from tcf.train.batch.pairs import PairRows
from tcf.train.batch.rows import EpochRows
from tcf.train.batch.windows import last_windows
from tcf.train.loss import logistic_kernel
from tcf.train.loss.logistic_kernel import logistic_loss
from tcf.train.loss.losses import BinaryCrossEntropy, build_loss

DATA = training(SEQUENCES, 9)


def definition(beta: float, places: npt.NDArray[np.int64], s: Floats, v: Floats) -> float:
    """-log of sigmoid(own) to the power beta, and of 1 - sigmoid of each other; mean over them, then over targets.

    Of one target and K others, the odds of a target are 1 to K before anything is learned: exp(score) / K.
    """
    losses = []
    for p, (own, *others) in enumerate(places.tolist()):
        odds = [np.exp(v[place] @ s[p]) / len(others) for place in (own, *others)]
        sigmoid = [odd / (1 + odd) for odd in odds]
        parts = [-np.log(sigmoid[0] ** beta)] + [-np.log(1 - value) for value in sigmoid[1:]]
        losses.append(np.mean(parts))
    return float(np.mean(losses))


@pytest.mark.parametrize(
    ("kind", "negatives", "t"), [("bce", 1, 0.0), ("bce", 5, 0.0), ("gbce", 3, 0.75), ("gbce", 3, 0.4)]
)
@pytest.mark.parametrize("rows", [last_windows(DATA), PairRows(DATA, reads="nothing")])
def test_equals_its_definition_in_value_and_gradient(kind: str, negatives: int, t: float, rows: EpochRows) -> None:
    config = TrainConfig(loss=kind, negatives=negatives)  # type: ignore[arg-type]
    loss = build_loss(replace(config, gbce_t=t) if kind == "gbce" else config, DATA, last_windows(DATA), CPU)
    batch = batch_of(rows, loss, [0, 1, 2, 3, 4])
    alpha = negatives / (9 - 1)  # all items, although item 8 does not occur in training
    beta = 1.0 if kind == "bce" else alpha * (t * (1 - 1 / alpha) + 1 / alpha)
    places = np.concatenate([batch.targets_P[:, None].numpy(), batch.drawn.numpy()], 1)
    assert places.shape == (len(batch.targets_P), 1 + negatives)
    check(lambda s, v: loss(s, v, batch), lambda s, v: definition(beta, places, s, v), *some(batch))


def test_beta_by_hand() -> None:
    """256 negatives of 10,001 items: a rate of 0.0256."""
    data = training([list(range(10_001))], 10_001)
    assert BinaryCrossEntropy.build(data, 256, 0.0).beta == 1
    assert BinaryCrossEntropy.build(data, 256, 1.0).beta == pytest.approx(0.0256)
    assert BinaryCrossEntropy.build(data, 256, 0.75).beta == pytest.approx(0.25 + 0.75 * 0.0256)
    assert BinaryCrossEntropy.build(data, 10**6, 0.75).beta == 1


@pytest.mark.parametrize("chunk_numbers", [1, 30, 1 << 20])
def test_chunks_change_nothing(chunk_numbers: int) -> None:
    generator = torch.Generator().manual_seed(0)
    states, vectors = torch.randn(7, 3, generator=generator), torch.randn(5, 3, generator=generator)
    places = torch.randint(0, 5, (7, 4), generator=generator)

    def loss(s: Tensor, v: Tensor) -> Tensor:
        return logistic_loss(s, v, places, 0.4, len(s), chunk_numbers)

    check(loss, lambda s, v: definition(0.4, places.numpy(), s, v), states, vectors)


def test_scores_of_any_size_give_finite_losses() -> None:
    """Own score -10^4 and other one 10^4: both wrong by 10^4. The other way round: nothing to learn."""
    states, vectors, places = torch.tensor([[1e4]]), torch.tensor([[-1.0], [1.0]]), torch.tensor([[0, 1]])
    states.requires_grad_()
    wrong = logistic_loss(states, vectors, places, 1.0, 1)
    assert wrong.item() == pytest.approx(1e4)
    (by_state,) = torch.autograd.grad(wrong, states)
    assert by_state.item() == pytest.approx(1.0)
    right = logistic_loss(states, -vectors, places, 1.0, 1)
    assert right.item() == 0 and torch.autograd.grad(right, states)[0].item() == 0


@pytest.mark.parametrize("negatives", [1, 4, 100])
def test_scores_of_zero_are_where_a_model_that_knows_nothing_ends(negatives: int) -> None:
    """The gradients of a target and of its negatives cancel: no direction is common to all items."""
    states, vectors = torch.ones(1, 1), torch.zeros(negatives + 1, 1, requires_grad=True)
    logistic_loss(states, vectors, torch.arange(negatives + 1)[None], 1.0, 1).backward()  # type: ignore[no-untyped-call]
    assert vectors.grad is not None and vectors.grad[0].item() < 0
    assert vectors.grad.sum().item() == pytest.approx(0.0, abs=1e-7)


def test_each_pair_is_scored_with_its_own_items_alone() -> None:
    """Two pairs whose states differ: a product of every state with every item would average four scores each way."""
    states, vectors = torch.tensor([[2.0], [-1.0]]), torch.tensor([[1.0], [3.0], [0.5], [-1.0]])
    found = logistic_loss(states, vectors, torch.tensor([[0, 1], [2, 3]]), 1.0, 2)
    own, other = np.array([2.0, -0.5]), np.array([6.0, 1.0])
    expected = np.mean(np.log1p(np.exp(-own)) + np.log1p(np.exp(other))) / 2
    assert found.item() == pytest.approx(float(expected), rel=1e-6)


def test_memory_grows_with_no_product_of_targets() -> None:
    """3,000 targets of 64 items each at width 64 take 46 MiB if all vectors are gathered, targets squared 34 MiB."""
    loss = BinaryCrossEntropy.build(training([list(range(500))], 500), 63, 0.0)
    states, vectors = torch.zeros(3000, 64), torch.zeros(500, 64)
    places = torch.zeros(3000, 64, dtype=torch.long)
    assert loss.beta == 1
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        logistic_loss(states, vectors, places, 1.0, 3000)
    most = max(event.self_cpu_memory_usage for event in profile.events())
    assert most <= 4 * (1 << 20)


def test_chunks_of_pairs_change_nothing_beyond_rounding() -> None:
    """One target at a time, some with a smaller last chunk, and all at once."""
    generator = torch.Generator().manual_seed(0)
    states, vectors = torch.randn(50, 4, generator=generator), torch.randn(9, 4, generator=generator)
    places = torch.randint(9, (50, 6), generator=generator)
    found = []
    for pairs in (1, 40, logistic_kernel.CHUNK_PAIRS):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(logistic_kernel, "CHUNK_PAIRS", pairs)
            s, v = states.clone().requires_grad_(), vectors.clone().requires_grad_()
            loss = logistic_loss(s, v, places, 0.5, 50)
            found.append((loss.detach(), *torch.autograd.grad(loss, (s, v))))
    for other in found[1:]:
        torch.testing.assert_close(other, found[0], rtol=1e-5, atol=1e-6)
