"""The bootstrap over users: against drawing users with replacement, against formulas, and its intervals' coverage."""

import os
import subprocess
import sys

import numpy as np
import numpy.typing as npt
import pytest

from tcf.common.errors import RunError
from tcf.evaluate.statistics.bootstrap import bootstrap_intervals, bootstrap_means

MANY = 17_000  # users of which each group's draws are shared


def drawn_with_replacement(values: npt.NDArray[np.float64], resamples: int) -> npt.NDArray[np.float64]:
    users = np.random.default_rng(3).integers(0, len(values), (resamples, len(values)))
    return np.stack([values[drawn].mean(axis=0) for drawn in users])


def skewed(users: int, columns: int) -> npt.NDArray[np.float64]:
    """Reciprocal ranks of a kind: many near 0, a few at 1."""
    return 1 / np.ceil(np.random.default_rng(1).pareto(0.7, (users, columns)) * 5 + 0.01)


def test_means_are_distributed_as_those_of_users_drawn_with_replacement() -> None:
    values = skewed(150, 3)
    ours, theirs = bootstrap_means(values, resamples=20_000), drawn_with_replacement(values, 20_000)
    error = values.std(axis=0) / np.sqrt(150)
    for tail in (0.005, 0.025, 0.2, 0.5, 0.8, 0.975, 0.995):
        ends = np.quantile(ours, tail, axis=0), np.quantile(theirs, tail, axis=0)
        assert (ends[0] - ends[1]) / error == pytest.approx(0, abs=0.12)
    assert ours.std(axis=0) / error == pytest.approx(1, abs=0.03)
    assert np.corrcoef(ours.T) == pytest.approx(np.corrcoef(values.T), abs=0.03)  # one resample, one set of users


@pytest.mark.parametrize("users", [1000, 5000, MANY])
def test_spread_and_middle_of_the_means(users: int) -> None:
    values = np.concatenate([skewed(users, 20), np.random.default_rng(2).random((users, 20)) < 0.01], axis=1)
    means = bootstrap_means(values, resamples=4000)
    errors = values.std(axis=0) / np.sqrt(users)
    assert means.std(axis=0) / errors == pytest.approx(1, abs=0.06)
    # The mean of 4,000 is off by one 63rd of an error; 1,024 draws in common would put it off by one 32nd.
    shifts = (means.mean(axis=0) - values.mean(axis=0)) / errors
    assert np.sqrt((shifts**2).mean()) < 1.4 / np.sqrt(4000)
    assert len(np.unique(means[:, 0])) == 4000


def test_resamples_of_many_users_share_next_to_nothing() -> None:
    """Two halves of the resamples are as far from each other as independent ones."""
    means = bootstrap_means(skewed(MANY, 30), resamples=2000)
    neighbours = [np.corrcoef(means[:-lag, m], means[lag:, m])[0, 1] for m in range(30) for lag in (1, 2, 7)]
    assert np.abs(neighbours).max() < 5 / np.sqrt(2000)
    assert abs(np.mean(neighbours)) < 4 / np.sqrt(2000 * 90)


def test_one_user_and_constant_columns_have_an_interval_without_length() -> None:
    assert bootstrap_intervals(np.array([[0.1, 0.7]]), resamples=200).tolist() == [[0.1, 0.7]] * 2
    for users in (2, 37, MANY):
        values = np.full((users, 3), [0.1, 1 / 3, 1e-12])
        assert bootstrap_intervals(values, resamples=50).tolist() == values[:2].tolist()


def test_two_users() -> None:
    """Poisson's probabilities, by hand: both count equally often, or one never."""
    means = bootstrap_means(np.array([[1.0], [0.0]]), resamples=40_000)[:, 0]
    # Nobody counts with probability e^-2, which then counts as both. First alone: e^-1 (1 - e^-1).
    assert (means == 1).mean() == pytest.approx(0.23254, abs=0.01)
    assert (means == 0).mean() == pytest.approx(0.23254, abs=0.01)
    assert (means == 0.5).mean() == pytest.approx(0.30851, abs=0.01)  # e^-2 * sum of 1 / k!^2


@pytest.mark.parametrize("users", [100, 1025, MANY])
def test_seeds(users: int) -> None:
    values = skewed(users, 2)
    assert np.array_equal(bootstrap_means(values, resamples=99, seed=4), bootstrap_means(values, resamples=99, seed=4))
    assert not np.isin(
        bootstrap_means(values, resamples=99, seed=4), bootstrap_means(values, resamples=99, seed=5)
    ).all()


def test_the_number_of_threads_changes_no_byte() -> None:
    script = (
        "import hashlib, numpy as np\n"
        "from tcf.evaluate.statistics.bootstrap import bootstrap_means\n"
        "values = np.random.default_rng(0).standard_normal((3000, 9))\n"
        "print(hashlib.sha256(bootstrap_means(values, resamples=400).tobytes()).hexdigest())"
    )
    running = [
        subprocess.Popen(
            [sys.executable, "-c", script],
            env=os.environ | {"OMP_NUM_THREADS": n, "OPENBLAS_NUM_THREADS": n},
            stdout=subprocess.PIPE,
            text=True,
        )
        for n in ("1", "3")
    ]
    found = {process.communicate()[0] for process in running}
    assert len(found) == 1
    assert len(found.pop()) == 65


def test_intervals_hold_the_mean_as_often_as_they_say() -> None:
    """2,000 repeats, one in each column: 200 users of normal values, and of hits with probability 0.3."""
    rng = np.random.default_rng(8)
    normal, hits = rng.standard_normal((200, 2000)), (rng.random((200, 2000)) < 0.3).astype(np.float64)
    for values, truth in ((normal, 0.0), (hits, 0.3)):
        low, high = bootstrap_intervals(values, resamples=999)
        assert 0.93 <= ((low <= truth) & (truth <= high)).mean() <= 0.97
        # Both ends are missed, and each about equally often.
        assert 0.01 <= (low > truth).mean() <= 0.04
        assert 0.01 <= (high < truth).mean() <= 0.04
    low, high = bootstrap_intervals(normal, resamples=999, confidence=0.8)
    assert 0.77 <= ((low <= 0) & (high >= 0)).mean() <= 0.83


@pytest.mark.parametrize(
    ("values", "found"),
    [
        (np.zeros((0, 2)), "the shape 0 x 2"),
        (np.zeros((2, 0)), "the shape 2 x 0"),
        (np.zeros(3), "the shape 3"),
        (np.array([[0.0], [np.nan], [np.inf]]), "found 2 that are not"),
    ],
)
def test_wrong_values(values: npt.NDArray[np.float64], found: str) -> None:
    with pytest.raises(RunError, match=f"^values: expected .*{found}"):
        bootstrap_means(values)


def test_wrong_settings() -> None:
    with pytest.raises(RunError, match=r"^resamples: expected at least 1, found 0"):
        bootstrap_means(np.ones((2, 1)), resamples=0)
    with pytest.raises(RunError, match=r"^confidence: expected a probability between 0 and 1, found 95"):
        bootstrap_intervals(np.ones((2, 1)), confidence=95)
