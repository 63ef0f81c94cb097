"""Products that are standardised for each user over all items."""

import numpy as np
import pytest

from tcf.evaluate.combination.standardise import StandardScores

RNG = np.random.default_rng(3)
VECTORS = (RNG.normal(size=(50, 6)) * [1, 2, 3, 0.1, 5, 0] + 4).astype(np.float32)
STATES = (RNG.normal(size=(20, 6)) * np.geomspace(1e-3, 1e3, 20)[:, None]).astype(np.float32)


def test_scores_are_a_weight_times_those_that_numpy_standardises() -> None:
    scores_BN = STATES.astype(np.float64) @ VECTORS.astype(np.float64).T
    expected_BN = (scores_BN - scores_BN.mean(1, keepdims=True)) / scores_BN.std(1, keepdims=True)
    standard = StandardScores.of(VECTORS)
    found_BN = standard.states(STATES, 0.25).astype(np.float64) @ standard.vectors_ND.astype(np.float64).T
    np.testing.assert_allclose(found_BN, 0.25 * expected_BN, atol=2e-6)


def test_many_items_and_users_are_taken_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = StandardScores.of(VECTORS)
    states = whole.states(STATES)
    monkeypatch.setattr("tcf.evaluate.combination.standardise._AT_ONCE", 7)
    parts = StandardScores.of(VECTORS)
    np.testing.assert_allclose(parts.covariance_DD, whole.covariance_DD, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(parts.states(STATES), states, rtol=1e-6)


def test_equal_vectors_stay_equal_bit_by_bit() -> None:
    twice = np.concatenate([VECTORS, VECTORS[::-1]])
    found = StandardScores.of(twice).vectors_ND
    assert found[:50].tobytes() == found[50:][::-1].tobytes()


@pytest.mark.parametrize("value", [0.1, 1e6, 0.0])
def test_a_member_to_whom_all_items_are_alike_gives_0(value: float) -> None:
    standard = StandardScores.of(np.full((1000, 3), value, np.float32))
    assert not standard.states(np.ones((4, 3), np.float32)).any()


def test_a_user_to_whom_all_items_are_alike_gets_0_and_others_do_not() -> None:
    vectors = np.zeros((9, 2), np.float32)
    vectors[:, 0] = np.arange(9) / 7
    standard = StandardScores.of(vectors)
    states = standard.states(np.array([[0, 5], [1, 5], [0, 0]], np.float32))
    assert not states[[0, 2]].any()
    np.testing.assert_allclose(
        (vectors[:, 0] - 4 / 7) * states[1, 0], (np.arange(9) - 4) / np.arange(9).std(), rtol=1e-5
    )
