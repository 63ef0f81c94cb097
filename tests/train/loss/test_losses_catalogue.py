"""Softmax over the catalogue and over drawn items, against float64 NumPy written from the definitions."""

from typing import Literal

import numpy as np
import pytest
import torch

from small.train.losses import CPU, SEQUENCES, Floats, batch_of, check, log_sum, some, training
from tcf.train.batch.pairs import PairRows
from tcf.train.batch.rows import EpochRows
from tcf.train.batch.windows import last_windows
from tcf.train.loss.losses import FullSoftmax, SampledSoftmax

DATA = training(SEQUENCES, 10)  # items 8 and 9 occur in no sequence
TARGETS = [item for sequence in SEQUENCES for item in sequence[1:]]


def rows_of(kind: str) -> tuple[EpochRows, list[int], list[int]]:
    """EpochRows, some of them, and the items that are their targets."""
    if kind == "users":
        return last_windows(DATA), list(range(len(SEQUENCES))), TARGETS
    return PairRows(DATA, reads="all"), [1, 2, 3, 9, 14], [1, 2, 1, 1, 2]


@pytest.mark.parametrize("kind", ["users", "pairs"])
def test_full_is_the_cross_entropy_over_all_training_items(kind: str) -> None:
    rows, which, targets = rows_of(kind)
    loss = FullSoftmax.build(DATA)
    batch = batch_of(rows, loss, which)
    assert batch.items_U.tolist() == list(range(8))

    def reference(s: Floats, v: Floats) -> float:
        return float(np.mean([log_sum(list(v @ s[p])) - v[t] @ s[p] for p, t in enumerate(targets)]))

    check(lambda s, v: loss(s, v, batch), reference, *some(batch))


def test_full_at_zero_is_the_log_of_the_number_of_items() -> None:
    loss = FullSoftmax.build(DATA)
    batch = batch_of(last_windows(DATA), loss, [1])
    assert loss(torch.zeros(1, 3), torch.zeros(8, 3), batch).item() == pytest.approx(np.log(8), rel=1e-6)


@pytest.mark.parametrize("kind", ["users", "pairs"])
@pytest.mark.parametrize("sampling", ["popularity", "uniform"])
def test_sampled_equals_its_definition(kind: str, sampling: Literal["popularity", "uniform"]) -> None:
    """Every draw that is not the target is a candidate of its own, so nothing is said of columns and counts."""
    rows, which, targets = rows_of(kind)
    count = 7
    loss = SampledSoftmax.build(DATA, count, sampling, CPU)
    batch = batch_of(rows, loss, which, seed=1)
    items, draws = batch.items_U.tolist(), batch.items_U[batch.drawn].tolist()
    assert len(set(draws)) < count and set(targets) & set(draws) and not set(items) <= set(draws)
    counts = np.bincount([i for sequence in SEQUENCES for i in sequence]) if sampling == "popularity" else np.ones(8)
    expected = count * counts / counts.sum()

    def reference(s: Floats, v: Floats) -> float:
        losses = []
        for p, target in enumerate(targets):
            scores = {item: float(v[u] @ s[p] - np.log(expected[item])) for u, item in enumerate(items)}
            others = [scores[item] for item in draws if item != target]
            losses.append(log_sum([scores[target], *others]) - scores[target])
        return float(np.mean(losses))

    check(lambda s, v: loss(s, v, batch), reference, *some(batch))


@pytest.mark.parametrize("sampling", ["popularity", "uniform"])
def test_sampled_comes_near_the_catalogue_with_many_draws(sampling: Literal["popularity", "uniform"]) -> None:
    """That is what the correction is for: however unequal the chances, the others sum up to those of the catalogue.

    The target itself, of which E draws are expected, has the weight 1 / E.
    """
    loss = SampledSoftmax.build(DATA, 400_000, sampling, CPU)
    batch = batch_of(last_windows(DATA), loss, [0, 3])
    states, vectors = some(batch)
    assert batch.items_U.tolist() == list(range(8))
    expected = 400_000 * (DATA.counts[:8] / DATA.counts.sum() if sampling == "popularity" else np.full(8, 1 / 8))
    scores = (states @ vectors.T).detach().double().numpy()
    wanted = []
    for p, target in enumerate(batch.targets_P.tolist()):
        own = scores[p, target] - np.log(expected[target])
        wanted.append(log_sum([own, *np.delete(scores[p], target)]) - own)
    assert loss(states, vectors, batch).item() == pytest.approx(float(np.mean(wanted)), abs=0.01)
