"""The in-batch softmax against the study's own form, in which every place of the batch is a candidate of its own."""

from typing import Literal

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from small.train.losses import CPU, SEQUENCES, Floats, batch_of, check, log_sum, some, training
from tcf.common.errors import DataError
from tcf.config.train import TrainConfig
from tcf.train.assemble import batch_rows
from tcf.train.batch.pairs import PairRows
from tcf.train.batch.windows import last_windows
from tcf.train.loss.losses import InBatchSoftmax, Loss, build_loss

DATA = training(SEQUENCES, 9)  # item 8 occurs in no sequence
LOG_P = np.log(np.maximum(DATA.counts, 1e-9) / DATA.counts.sum())
EVERY = list(range(len(SEQUENCES)))


def of(backbone: str, loss: str, **settings: object) -> Loss:
    config = TrainConfig(backbone=backbone, loss=loss, **settings)  # type: ignore[arg-type]
    return build_loss(config, DATA, batch_rows(config, DATA), CPU)


def users_loss(states: Floats, vectors: dict[int, Floats], sequences: list[list[int]]) -> float:
    """SASRec, from the description: one position, one candidate at a time; the user's own items masked."""
    candidates = [(u, j, item) for u, sequence in enumerate(sequences) for j, item in enumerate(sequence)]
    losses, position = [], 0
    for user, sequence in enumerate(sequences):
        for j in range(1, len(sequence)):
            scores = {(u, k): float(states[position] @ vectors[i] - LOG_P[i]) for u, k, i in candidates}
            own = scores[user, j]
            losses.append(log_sum([own] + [scores[u, k] for u, k, i in candidates if i not in sequence]) - own)
            position += 1
    return float(np.mean(losses))


def pairs_loss(states: Floats, vectors: dict[int, Floats], pairs: list[tuple[int, int]]) -> float:
    """DSSM, from the description: every pair's item is a candidate, unless another one of the user's history."""
    losses = []
    for p, (user, target) in enumerate(pairs):
        scores = [float(states[p] @ vectors[item] - LOG_P[item]) for _, item in pairs]
        masked = set(SEQUENCES[user]) - {target}
        losses.append(log_sum([s for s, (_, i) in zip(scores, pairs, strict=True) if i not in masked]) - scores[p])
    return float(np.mean(losses))


def test_users_equal_the_duplicated_form_in_value_and_gradient() -> None:
    loss = of("sasrec", "in-batch")
    batch = batch_of(last_windows(DATA), loss, EVERY)
    items = batch.items_U.tolist()

    def reference(s: Floats, v: Floats) -> float:
        return users_loss(s, dict(zip(items, v, strict=True)), SEQUENCES)

    check(lambda s, v: loss(s, v, batch), reference, *some(batch))


@pytest.mark.parametrize("reads", ["nothing", "all"])
def test_pairs_equal_the_duplicated_form_in_value_and_gradient(reads: Literal["nothing", "all"]) -> None:
    loss, rows = of("dssm", "in-batch"), PairRows(DATA, reads)
    # By hand: of user 0 items 1, 2 and 1; of user 2 two of its three 4; of user 3 items 1 and 0; user 4's 2.
    which, pairs = [1, 2, 3, 6, 8, 9, 11, 14], [(0, 1), (0, 2), (0, 1), (2, 4), (2, 4), (3, 1), (3, 0), (4, 2)]
    batch = batch_of(rows, loss, which)
    items = batch.items_U.tolist()

    def reference(s: Floats, v: Floats) -> float:
        return pairs_loss(s, dict(zip(items, v, strict=True)), pairs)

    check(lambda s, v: loss(s, v, batch), reference, *some(batch))


def test_pairs_of_which_no_history_is_left_to_mask() -> None:
    loss = of("dssm", "in-batch")
    batch = batch_of(PairRows(DATA, reads="nothing"), loss, [6, 7])  # the item is all that user 2 has
    assert batch.masked_BK.shape == (2, 0)
    # Both places hold the target: its share is one half, whatever the scores.
    assert loss(*some(batch), batch).item() == pytest.approx(np.log(2), rel=1e-5)


def test_a_worked_example() -> None:
    """Two users, [a, b] and [a, c]: for the first, a is masked, b is the target and c the only other candidate."""
    data = training([[0, 1], [0, 2]], 3)
    loss = InBatchSoftmax(torch.tensor([0.5, 0.25, 0.25]).log(), masks_target=True)
    batch = batch_of(last_windows(data), loss, [0, 1])
    found = loss(torch.tensor([[1.0], [2.0]]), torch.tensor([[9.0], [0.5], [0.25]]), batch)
    first, second = np.log(1 + np.exp(0.25 - 0.5)), np.log(1 + np.exp(1.0 - 0.5))
    assert found.item() == pytest.approx((first + second) / 2, rel=1e-6)


def test_repeats_of_a_candidate_count() -> None:
    """User 0 sees 2 and 3 twice among the candidates, so they weigh twice; all scores are 0, popularities equal."""
    data = training([[0, 1], [3, 2, 3, 2]], 4)
    loss = InBatchSoftmax(torch.full((4,), 0.25).log(), masks_target=True)
    batch = batch_of(last_windows(data), loss, [0, 1])
    # User 0: target 1 against 2, 2, 3, 3. User 1, each of three targets: itself once against 0 and 1.
    found = loss(torch.zeros(4, 1), torch.zeros(4, 1), batch)
    assert found.item() == pytest.approx((np.log(5) + 3 * np.log(3)) / 4, rel=1e-6)


def test_the_correction_is_by_what_batches_hold() -> None:
    """Windows of two items: the last ones hold 1 and 2 once, never 0, which the history has three times."""
    data = training([[0, 0, 0, 1, 2], [1, 2]], 4, positions=1)
    log_share = np.log(np.array([1, 0.5, 0.5, 1]))  # nothing is said of what is never a candidate
    for settings, expected in (({}, log_share), ({"windows": "all"}, np.log(np.array([5 / 10, 3 / 10, 2 / 10, 1])))):
        config = TrainConfig(history=1, **settings)  # type: ignore[arg-type]
        loss = build_loss(config, data, batch_rows(config, data), CPU)
        assert isinstance(loss, InBatchSoftmax)
        np.testing.assert_allclose(loss.log_frequency_N, expected, rtol=1e-6)


def test_an_item_that_is_read_and_never_a_candidate_changes_nothing() -> None:
    """The first item of a user makes no pair where earlier items are read: item 0 is in the batch, and no candidate."""
    data = training([[0, 1], [0, 2]], 3)
    config = TrainConfig(backbone="dssm", user_tower="history", tower_reads="earlier")
    rows = batch_rows(config, data)
    loss = build_loss(config, data, rows, CPU)
    batch = batch_of(rows.in_epoch(0, 1), loss, [0, 1])
    assert batch.items_U.tolist() == [0, 1, 2] and batch.counts_U.tolist() == [0, 1, 1]
    found = loss(torch.tensor([[1.0], [2.0]]), torch.tensor([[9.0], [0.5], [0.25]]), batch)
    first, second = np.log(1 + np.exp(0.25 - 0.5)), np.log(1 + np.exp(1.0 - 0.5))
    assert found.item() == pytest.approx((first + second) / 2, rel=1e-6)


def test_a_lone_user_has_no_other_candidate() -> None:
    loss = of("sasrec", "in-batch")
    batch = batch_of(last_windows(DATA), loss, [0])
    states, vectors = some(batch)
    found = loss(states, vectors, batch)
    found.backward()  # type: ignore[no-untyped-call]
    assert found.item() == pytest.approx(0.0, abs=1e-6)
    assert states.grad is not None
    torch.testing.assert_close(states.grad, torch.zeros(3, 4), atol=1e-6, rtol=0)


def duplicated_in_torch(vectors_ND: Tensor, states: Tensor) -> Tensor:
    """The same in torch, as a cross-entropy over all places, from the vectors of the whole catalogue."""
    items = torch.tensor([item for sequence in SEQUENCES for item in sequence])
    owners = torch.tensor([user for user, sequence in enumerate(SEQUENCES) for _ in sequence])
    first = torch.cat([torch.tensor([True]), owners[1:] != owners[:-1]])
    places = torch.nonzero(~first).flatten()
    logits = states @ vectors_ND[items].T - torch.tensor(LOG_P, dtype=torch.float32)[items]
    own = torch.stack([torch.isin(items, items[owners == user]) for user in owners[places]])
    own[torch.arange(len(places)), places] = False
    return nn.functional.cross_entropy(logits.masked_fill(own, float("-inf")), places)


def test_gradient_through_shared_vectors_equals_that_of_the_duplicated_form() -> None:
    """States made of the same vectors, as in a model: both ways of the gradient reach the table of items."""
    loss = of("sasrec", "in-batch")
    batch = batch_of(last_windows(DATA), loss, EVERY)
    table = torch.randn(9, 4, generator=torch.Generator().manual_seed(2), requires_grad=True)
    read = torch.tensor([item for sequence in SEQUENCES for item in sequence[:-1]])
    wanted = duplicated_in_torch(table, table[read].tanh())
    vectors = table[batch.items_U]
    found = loss(vectors[batch.inputs_I].tanh(), vectors, batch)
    assert found.item() == pytest.approx(wanted.item(), rel=1e-5)
    gradients = [torch.autograd.grad(x, table)[0] for x in (found, wanted)]
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-6)


LOSSES = {"in-batch": {}, "full": {}, "sampled": {"negatives": 6}, "bce": {}, "gbce": {"negatives": 3}}


@pytest.mark.parametrize("backbone", ["sasrec", "dssm"])
@pytest.mark.parametrize("kind", LOSSES)
def test_parts_of_a_batch_add_up_to_the_whole(backbone: str, kind: str) -> None:
    """Four rows for six devices: two have nothing to do, all have the same items, and the sums are those of one."""
    loss = of(backbone, kind, **LOSSES[kind])
    rows = last_windows(DATA) if backbone == "sasrec" else PairRows(DATA, reads="all")
    which = [0, 1, 3, 4] if backbone == "sasrec" else [2, 4, 9, 11]
    whole = batch_of(rows, loss, which)
    states, vectors = some(whole)
    expected = loss(states, vectors, whole)
    wanted = torch.autograd.grad(expected, (states, vectors))
    total, by_states, by_vectors, at = 0.0, [], torch.zeros_like(vectors), 0
    for i in range(6):
        part = batch_of(rows, loss, which, (i, 6))
        assert torch.equal(part.items_U, whole.items_U) and part.n_targets == len(states)
        mine = states[at : at + len(part.targets_P)].detach().requires_grad_()
        at += len(mine)
        found = loss(mine, vectors, part)
        by_state, by_vector = torch.autograd.grad(found, (mine, vectors))
        total, by_vectors = total + found.item(), by_vectors + by_vector
        by_states.append(by_state)
    assert at == len(states) and any(not len(one) for one in by_states)
    assert total == pytest.approx(expected.item(), rel=1e-5)
    torch.testing.assert_close((torch.cat(by_states), by_vectors), wanted, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", LOSSES)
def test_numbers_that_are_not_finite_are_not_hidden(kind: str) -> None:
    loss = of("sasrec", kind, **LOSSES[kind])
    batch = batch_of(last_windows(DATA), loss, EVERY)
    states, vectors = some(batch)
    with torch.no_grad():
        states[3, 1] = float("nan")
    assert torch.isnan(loss(states, vectors, batch))


def test_a_user_who_has_everything_is_refused_where_negatives_are_drawn() -> None:
    data = training([[0, 1, 2], [1, 2]], 3)
    loss = build_loss(TrainConfig(loss="bce"), data, last_windows(data), CPU)
    assert batch_of(last_windows(data), loss, [1]).drawn.tolist() == [[0]]
    with pytest.raises(DataError, match="a user with all 3 items of the catalogue; train with --loss in-batch"):
        batch_of(last_windows(data), loss, [0, 1])
