"""Weights under which held-out targets are most likely."""

import numpy as np
import numpy.typing as npt
import pytest

from small.train.runs import csr
from tcf.evaluate.combination.fit_weights import Choices, fit_weights
from tcf.evaluate.combination.shortlists import Shortlists
from tcf.ranking.ranked_lists import RankedLists


def choices_of(scores_UNM: npt.NDArray[np.float64], targets_U: npt.NDArray[np.int64]) -> Choices:
    """Every item is in every shortlist."""
    n_users, n_items, n_members = scores_UNM.shape
    return Choices(
        scores_UNM.reshape(-1, n_members),
        np.arange(n_users + 1) * n_items,
        np.arange(n_users) * n_items + targets_U,
    )


def chosen_by(factors: npt.ArrayLike, n_users: int = 4000, n_items: int = 12, seed: int = 0) -> Choices:
    """Targets drawn from the softmax of members' random scores, times factors."""
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=(n_users, n_items, len(np.asarray(factors))))
    gumbel = rng.gumbel(size=(n_users, n_items))
    return choices_of(scores, (scores @ np.asarray(factors, np.float64) + gumbel).argmax(1))


def loss_of(choices: Choices, factors: npt.ArrayLike) -> float:
    """The mean negative log-likelihood, user by user."""
    losses = []
    for number, target in enumerate(choices.targets_P):
        sums = choices.scores_EM[choices.offsets[number] : choices.offsets[number + 1]] @ np.asarray(factors)
        losses.append(np.log(np.exp(sums).sum()) - sums[target - choices.offsets[number]])
    return float(np.mean(losses))


def test_the_factors_that_drew_the_targets_are_found() -> None:
    weights = fit_weights(chosen_by([0.5, 1.5]))
    assert weights.sum() == pytest.approx(1, abs=1e-12)
    np.testing.assert_allclose(weights, [0.25, 0.75], atol=0.02)


def test_no_other_weights_make_the_targets_likelier() -> None:
    choices = chosen_by([0.3, 1.0, 0.6], n_users=120, seed=2)
    weights = fit_weights(choices)
    scale = min(np.linspace(0.5, 4, 36), key=lambda scale: loss_of(choices, scale * weights))
    best = loss_of(choices, scale * weights)
    for shift in np.random.default_rng(1).normal(size=(40, 3)) * 0.1:
        assert loss_of(choices, np.maximum(scale * weights + shift, 0)) > best - 1e-5


def test_a_member_that_is_noise_or_worse_gets_next_to_nothing() -> None:
    assert fit_weights(chosen_by([1.0, 0.0], seed=5))[1] <= 0.02
    assert fit_weights(chosen_by([1.0, -0.7]))[1] == 0


def test_noise_among_the_lists_of_members_gets_next_to_nothing() -> None:
    rng = np.random.default_rng(8)
    scores = rng.normal(size=(1500, 200, 2))
    targets = (2 * scores[:, :, 0] + rng.gumbel(size=(1500, 200))).argmax(1)
    lists = [
        RankedLists(np.argsort(-scores[:, :, m])[:, :20].astype(np.int32), np.zeros((1500, 20), np.float32))
        for m in (0, 1)
    ]
    short = Shortlists.of(lists, csr(targets[:, None].tolist()), 200)
    owners = np.repeat(short.users, short.items.lengths)
    assert fit_weights(Choices(scores[owners, short.items.items], short.items.offsets, short.targets))[1] <= 0.02


def test_members_that_are_alike_share_their_weight_equally() -> None:
    one = chosen_by([1.0, 0.5])
    twice = Choices(one.scores_EM[:, [0, 1, 0]], one.offsets, one.targets_P)
    alone, shared = fit_weights(one), fit_weights(twice)
    np.testing.assert_allclose(shared, [alone[0] / 2, alone[1], alone[0] / 2], atol=1e-3)
    assert shared[0] == shared[2]


def test_permuted_members_have_permuted_weights() -> None:
    one = chosen_by([0.2, 1.0, 0.5], n_users=500)
    order = [2, 0, 1]
    permuted = Choices(one.scores_EM[:, order], one.offsets, one.targets_P)
    np.testing.assert_allclose(fit_weights(permuted), fit_weights(one)[order], atol=2e-6)


def test_equal_inputs_give_equal_weights() -> None:
    assert fit_weights(chosen_by([0.2, 1.0])).tobytes() == fit_weights(chosen_by([0.2, 1.0])).tobytes()


def test_targets_that_all_members_have_at_the_top_still_give_finite_weights() -> None:
    scores = np.zeros((10, 5, 2))
    scores[:, 3] = 1, 1
    np.testing.assert_allclose(fit_weights(choices_of(scores, np.full(10, 3))), [0.5, 0.5])


def test_nothing_to_learn_from_gives_equal_weights() -> None:
    nothing = Choices(np.zeros((0, 4)), np.zeros(1, np.int64), np.zeros(0, np.int64))
    assert fit_weights(nothing).tolist() == [0.25] * 4
    assert fit_weights(chosen_by([-1.0, -1.0])).tolist() == [0.5, 0.5]


def test_shortlists_join_the_lists_and_leave_out_targets_that_nobody_lists() -> None:
    one = RankedLists(np.array([[5, 1], [2, 3], [4, 0]], np.int32), np.zeros((3, 2), np.float32))
    other = RankedLists(np.array([[7, 5], [3, -1], [0, 1]], np.int32), np.zeros((3, 2), np.float32))
    short = Shortlists.of([one, other], csr([[1, 7], [9], [0]]), 10)
    assert short.users.tolist() == [0, 0, 2]
    assert [short.items.of(p).tolist() for p in range(3)] == [[1, 5], [5, 7], [0, 1, 4]]  # without the other target
    assert short.items.items[short.targets].tolist() == [1, 7, 0]
