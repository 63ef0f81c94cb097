"""The loss against the study's own form, in which every position of every sequence of the batch is a candidate.

Shapes: P positions with a target, S candidates (all items of all sequences), U distinct items, D width.
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor, nn

from small_runs import csr, make_cache, make_dataset
from tcf.config import TrainConfig
from tcf.data.dataset import Dataset, Histories
from tcf.data.split import training_histories
from tcf.train.batches import Batch, TrainingData
from tcf.train.losses import in_batch_softmax
from tcf.train.model import Recommender, build_model
from tcf.train.vectors import load_item_vectors

Floats = npt.NDArray[np.float64]
CPU = torch.device("cpu")

# Repeats inside a sequence, items shared by users, targets that lie in their own history or follow themselves.
SEQUENCES = [[0, 1, 2, 1], [3, 0], [4, 4, 4], [1, 5, 0, 5, 6], [2, 7]]


def duplicated_loss(states: Floats, vectors: dict[int, Floats], sequences: list[list[int]], log_p: Floats) -> float:
    """The study's loss, written from its description: one position, one candidate at a time."""
    candidates = [(u, j, item) for u, sequence in enumerate(sequences) for j, item in enumerate(sequence)]
    losses, position = [], 0
    for user, sequence in enumerate(sequences):
        for j in range(len(sequence) - 1):
            logits, own = [], 0.0
            for other, place, item in candidates:
                score = float(states[position] @ vectors[item] - log_p[item])
                is_target = (other, place) == (user, j + 1)
                if is_target:
                    own = score
                if is_target or item not in sequence:
                    logits.append(score)
            highest = max(logits)
            losses.append(highest + np.log(sum(np.exp(s - highest) for s in logits)) - own)
            position += 1
    return float(np.mean(losses))


@pytest.mark.parametrize("chunk_scores", [1, 20, 1 << 24])
def test_equals_the_duplicated_form_in_value_and_gradient(chunk_scores: int) -> None:
    batch = Batch.build(csr(SEQUENCES), 5, CPU)
    generator = torch.Generator().manual_seed(0)
    states = torch.randn(len(batch.targets_P), 4, generator=generator, requires_grad=True)
    vectors = torch.randn(8, 4, generator=generator, requires_grad=True)
    log_p = np.log(np.array([4, 3, 2, 1, 3, 2, 1, 1]) / 17)
    loss = in_batch_softmax(states, vectors, batch, torch.tensor(log_p, dtype=torch.float32), chunk_scores)
    (3 * loss).backward()  # type: ignore[no-untyped-call]

    s, v = states.detach().double().numpy(), vectors.detach().double().numpy()

    def reference(ds: Floats, dv: Floats) -> float:
        return 3 * duplicated_loss(s + ds, dict(enumerate(v + dv)), SEQUENCES, log_p)

    assert 3 * loss.item() == pytest.approx(reference(0 * s, 0 * v), rel=1e-6)
    assert states.grad is not None and vectors.grad is not None
    for index in np.ndindex(s.shape):
        step = np.zeros_like(s)
        step[index] = 1e-6
        numeric = (reference(step, 0 * v) - reference(-step, 0 * v)) / 2e-6
        assert float(states.grad[index]) == pytest.approx(numeric, rel=1e-4, abs=1e-6)
    for index in np.ndindex(v.shape):
        step = np.zeros_like(v)
        step[index] = 1e-6
        numeric = (reference(0 * s, step) - reference(0 * s, -step)) / 2e-6
        assert float(vectors.grad[index]) == pytest.approx(numeric, rel=1e-4, abs=1e-6)


def test_a_worked_example() -> None:
    """Two users, [a, b] and [a, c]: for the first, a is masked, b is the target and c the only other candidate."""
    batch = Batch.build(csr([[0, 1], [0, 2]]), 3, CPU)
    states = torch.tensor([[1.0], [2.0]])
    vectors = torch.tensor([[9.0], [0.5], [0.25]])
    popularity = torch.tensor([0.5, 0.25, 0.25])
    loss = in_batch_softmax(states, vectors, batch, popularity.log())
    first, second = np.log(1 + np.exp(0.25 - 0.5)), np.log(1 + np.exp(1.0 - 0.5))
    assert loss.item() == pytest.approx((first + second) / 2, rel=1e-6)


def test_repeats_of_a_candidate_count() -> None:
    """User 0 sees c twice among the candidates, so c weighs twice; all scores are 0 and popularities equal."""
    batch = Batch.build(csr([[0, 1], [3, 2, 3, 2]]), 5, CPU)
    states = torch.zeros(4, 1)
    loss = in_batch_softmax(states, torch.zeros(4, 1), batch, torch.full((4,), 0.25).log())
    # User 0: target 1 against 2, 2, 3, 3. User 1, each of three targets: itself once against 0 and 1.
    assert loss.item() == pytest.approx((np.log(5) + 3 * np.log(3)) / 4, rel=1e-6)


def test_chunks_change_nothing_beyond_rounding() -> None:
    rng = np.random.default_rng(0)
    sequences = [rng.integers(0, 50, n).tolist() for n in rng.integers(2, 9, 40)]
    batch = Batch.build(csr(sequences), 8, CPU)
    results = []
    for chunk_scores in (1, 700, 1 << 24):
        torch.manual_seed(1)
        states = torch.randn(len(batch.targets_P), 16, requires_grad=True)
        vectors = torch.randn(len(batch.items_U), 16, requires_grad=True)
        loss = in_batch_softmax(states, vectors, batch, torch.rand(len(vectors)).log(), chunk_scores)
        loss.backward()  # type: ignore[no-untyped-call]
        results.append((loss.detach(), states.grad, vectors.grad))
    for other in results[1:]:
        torch.testing.assert_close(other, results[0], rtol=1e-5, atol=1e-7)


def test_a_lone_user_has_no_other_candidate() -> None:
    batch = Batch.build(csr([[0, 1, 2]]), 3, CPU)
    states = torch.randn(2, 4, requires_grad=True)
    loss = in_batch_softmax(states, torch.randn(3, 4), batch, torch.zeros(3))
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss.item() == pytest.approx(0.0, abs=1e-6)
    assert states.grad is not None
    torch.testing.assert_close(states.grad, torch.zeros(2, 4), atol=1e-6, rtol=0)


def duplicated_model_loss(model: Recommender, sequences: Histories, log_p: Tensor, positions: int) -> Tensor:
    """The same in torch: the item tower is run on every place of every sequence, nothing is shared."""
    items = torch.from_numpy(sequences.items.astype(np.int64))
    owner = torch.from_numpy(np.repeat(np.arange(len(sequences)), sequences.lengths))
    vectors = model.items(items)
    is_last = torch.zeros(len(items), dtype=torch.bool)
    is_last[torch.from_numpy(sequences.offsets[1:] - 1)] = True
    layout = Batch.build(sequences, positions, CPU).layout
    states = model.backbone(vectors[~is_last], layout)
    logits = states @ vectors.T - log_p[items]
    in_own = torch.stack([torch.isin(items, items[owner == user]) for user in range(len(sequences))])
    own_place = torch.nonzero(~is_last).flatten() + 1
    mask = in_own[owner[~is_last]]
    mask[torch.arange(len(states)), own_place] = False
    return nn.functional.cross_entropy(logits.masked_fill(mask, float("-inf")), own_place)


@pytest.mark.parametrize("items", ["text", "id"])
def test_model_gradient_equals_that_of_the_duplicated_form(items: str, tmp_path: Path) -> None:
    histories = [[*sequence, 0, 1] for sequence in SEQUENCES]
    dataset: Dataset = make_dataset(tmp_path, histories, [f"text {i}" for i in range(8)])
    cache = make_cache(tmp_path, dataset, np.random.default_rng(0).normal(size=(8, 6)).astype(np.float32))
    config = TrainConfig(items=items, width=8, history=5, dropout=0.0)  # type: ignore[arg-type]
    vectors = load_item_vectors(cache, dataset, CPU)
    model = build_model(config, 8, vectors if items == "text" else None, CPU)
    training = TrainingData.build(dataset.histories, 8, 5)
    assert np.array_equal(training.sequences.items, training_histories(dataset.histories).items)
    log_p = torch.from_numpy(training.log_popularity)

    expected = duplicated_model_loss(model, training.sequences, log_p, 5)
    wanted = torch.autograd.grad(expected, list(model.parameters()))
    batch = Batch.build(training.sequences, 5, CPU)
    states, vectors_U = model(batch)
    loss = in_batch_softmax(states, vectors_U, batch, log_p[batch.items_U])
    found = torch.autograd.grad(loss, list(model.parameters()))
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-6)
