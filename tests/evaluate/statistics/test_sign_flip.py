"""The sign-flip test: against all signs of few users, and its size by simulation."""

import itertools

import numpy as np
import numpy.typing as npt
import pytest

from tcf.common.errors import RunError
from tcf.evaluate.statistics.sign_flip import sign_flip


def by_all_signs(differences: npt.NDArray[np.float64]) -> float:
    """The share of all 2^U signs whose sum is as far from 0; differences are whole numbers here."""
    sums = [abs(np.dot(signs, differences)) for signs in itertools.product((-1, 1), repeat=len(differences))]
    return float(np.mean(np.array(sums) >= abs(differences.sum())))


def test_p_is_the_share_of_signs_as_far_from_0() -> None:
    differences = np.random.default_rng(0).integers(-3, 6, (10, 12)).astype(np.float64)
    expected = np.array([by_all_signs(column) for column in differences.T])
    assert sign_flip(differences, flips=40_000) == pytest.approx(expected, abs=0.012)
    assert expected.min() < 0.05 < expected.max()


@pytest.mark.parametrize("users", [64, 1000, 3001])
def test_p_is_that_of_the_normal_distribution_for_many_users(users: int) -> None:
    """Differences whose sum is 1.96 and 1 of its standard deviations from 0, either way."""
    base = np.tile([1.0, -1.0], users)[:users] + np.random.default_rng(1).random(users)
    base -= base.mean()
    columns = []
    for errors in (1.96, -1.96, 1.0, -1.0):
        shift = errors / np.sqrt(users) * base.std() / np.sqrt(1 - errors**2 / users)
        columns.append(base + shift)
    assert sign_flip(np.stack(columns, axis=1)) == pytest.approx([0.05, 0.05, 0.317, 0.317], abs=0.018)


def test_both_directions_count_and_p_is_never_0() -> None:
    better = np.random.default_rng(2).random((400, 1)) + 0.5
    assert sign_flip(better, flips=999)[0] == 1 / 1000
    assert sign_flip(-better, flips=999)[0] == 1 / 1000
    mixed = np.random.default_rng(3).standard_normal((200, 6))
    assert sign_flip(mixed, flips=999).tolist() == sign_flip(-mixed, flips=999).tolist()


def test_equal_sums_count_whatever_their_rounding() -> None:
    """Sevenths and thirds are rounded, and sums of them that ought to be equal often differ; whole numbers do not."""
    whole = np.random.default_rng(9).integers(-4, 7, (12, 40)).astype(np.float64)
    expected = sign_flip(whole, flips=2000).tolist()
    for parts in (3, 7, 10, 1e5, 3e-7):
        assert sign_flip(whole / parts, flips=2000).tolist() == expected
        assert sign_flip((whole / parts)[::-1], flips=2000) == pytest.approx(expected, abs=0.06)
    assert sign_flip(np.full((5, 1), 0.1), flips=20_000)[0] == pytest.approx(2 / 32, abs=0.01)


def test_users_without_a_difference_change_nothing() -> None:
    differences = np.random.default_rng(4).standard_normal((30, 2))
    spread = np.zeros((2500, 2))
    spread[np.random.default_rng(5).permutation(2500)[:30]] = differences
    rows = spread[spread.any(axis=1)]
    assert sign_flip(spread, flips=499).tolist() == sign_flip(rows, flips=499).tolist()
    assert sign_flip(np.zeros((7, 2)), flips=99).tolist() == [1.0, 1.0]


def test_scale_changes_nothing() -> None:
    differences = np.random.default_rng(6).standard_normal((300, 5))
    scaled = differences * [1e-9, 1e9, 1.0, 1024.0, 0.1]
    assert sign_flip(scaled, flips=999).tolist() == sign_flip(differences, flips=999).tolist()


def test_seeds() -> None:
    differences = np.random.default_rng(7).standard_normal((1500, 3))
    assert sign_flip(differences, seed=1).tolist() == sign_flip(differences, seed=1).tolist()
    assert sign_flip(differences, seed=1).tolist() != sign_flip(differences, seed=2).tolist()


def test_a_true_null_is_rejected_as_often_as_the_level_says() -> None:
    """2,000 repeats, one in each column: normal differences, skewed gains with either sign, and hits of one ranking."""
    rng = np.random.default_rng(8)
    gains = rng.pareto(2.5, (100, 2000)) * rng.choice([-1.0, 1.0], (100, 2000))
    hits = rng.choice([-1.0, 0.0, 1.0], (200, 2000), p=[0.2, 0.6, 0.2])
    for differences in (rng.standard_normal((60, 2000)), gains, hits):
        p = sign_flip(differences, flips=499)
        assert 0.03 <= (p <= 0.05).mean() <= 0.07
        assert p.min() >= 1 / 500
    # A single tail, and a tail taken the wrong way round, would reject half or twice as often.
    assert 0.08 <= (p <= 0.1).mean() <= 0.12


def test_wrong_arguments() -> None:
    with pytest.raises(RunError, match=r"^differences: expected an array of \(users, columns\)"):
        sign_flip(np.zeros((0, 1)))
    with pytest.raises(RunError, match=r"^differences: expected finite values, found 1 that are not"):
        sign_flip(np.array([[np.nan]]))
    with pytest.raises(RunError, match=r"^flips: expected at least 1, found 0"):
        sign_flip(np.ones((3, 1)), flips=0)
