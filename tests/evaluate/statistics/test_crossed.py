"""Intervals over users and seeds: what they are where one part vanishes, and their coverage."""

import numpy as np
import numpy.typing as npt
import pytest

from tcf.common.errors import RunError
from tcf.evaluate.statistics.bootstrap import bootstrap_intervals, bootstrap_means
from tcf.evaluate.statistics.crossed import crossed_intervals, crossed_statistics
from tcf.evaluate.statistics.students_t import students_t_quantile

USERS, REPEATS = 40, 2000


def tables(seeds: int, shares: tuple[float, float, float], draw: int = 0) -> npt.NDArray[np.float64]:
    """Values of mean 0 in as many columns as repeats; a variance of 1 of their mean is shared by seeds, users, rest."""
    rng = np.random.default_rng([seeds, draw])
    scales = np.sqrt(np.array(shares) * [seeds, USERS, seeds * USERS])
    shapes = [(seeds, 1, REPEATS), (1, USERS, REPEATS), (seeds, USERS, REPEATS)]
    return sum(
        (scale * rng.standard_normal(shape) for scale, shape in zip(scales, shapes, strict=True)),
        start=np.zeros(shapes[-1]),
    )


def held(intervals: npt.NDArray[np.float64]) -> float:
    return float(((intervals[0] <= 0) & (intervals[1] >= 0)).mean())


def by_seeds_alone(values_SUM: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Student's t interval of the seeds' means, as if the users were all there are."""
    means_SM = values_SUM.mean(axis=1)
    half_M = students_t_quantile(len(means_SM) - 1) * means_SM.std(axis=0, ddof=1) / np.sqrt(len(means_SM))
    return np.asarray(means_SM.mean(axis=0) + np.stack([-half_M, half_M]))


def pigeonhole(values_SUM: npt.NDArray[np.float64], resamples: int) -> npt.NDArray[np.float64]:
    """Users and seeds both resampled."""
    seeds, users, columns = values_SUM.shape
    means_RSM = bootstrap_means(values_SUM.transpose(1, 0, 2).reshape(users, -1), resamples=resamples)
    times_RS = np.random.default_rng(0).multinomial(seeds, [1 / seeds] * seeds, size=resamples)
    means_RM = np.einsum("rs,rsm->rm", times_RS / seeds, means_RSM.reshape(resamples, seeds, columns))
    return np.asarray(np.quantile(means_RM, [0.025, 0.975], axis=0))


@pytest.mark.parametrize(
    ("seeds", "shares"),
    [
        (3, (1.0, 0.0, 0.0)),
        (3, (0.33, 0.33, 0.34)),
        (3, (0.0, 0.0, 1.0)),
        (5, (0.33, 0.33, 0.34)),
        (5, (0.0, 1.0, 0.0)),
    ],
)
def test_intervals_hold_the_mean_as_often_as_they_say_or_a_little_more(
    seeds: int, shares: tuple[float, float, float]
) -> None:
    intervals = crossed_intervals(tables(seeds, shares), resamples=200)
    assert 0.93 <= held(intervals) <= 0.98


def test_known_wrong_intervals_would_fail() -> None:
    """Seeds in place of users miss what the users are; resampling three seeds misses a third of their variance."""
    users_alone, seeds_alone = tables(3, (0.01, 0.99, 0.0)), tables(3, (0.99, 0.01, 0.0))
    assert held(by_seeds_alone(users_alone)) < 0.6
    assert held(by_seeds_alone(seeds_alone)) > 0.93
    assert held(pigeonhole(seeds_alone[..., :500], 200)) < 0.85


def test_without_differences_of_seeds_the_interval_is_that_of_the_users() -> None:
    values = np.random.default_rng(3).pareto(2.0, (200, 4))
    crossed = crossed_intervals(np.stack([values, values, values]), resamples=2001, seed=6)
    assert crossed == pytest.approx(bootstrap_intervals(values, resamples=2001, seed=6), rel=1e-3)


def test_without_differences_of_users_the_interval_is_students() -> None:
    values = np.repeat(np.random.default_rng(4).random((4, 1, 3)), 50, axis=1)
    assert crossed_intervals(values, resamples=100) == pytest.approx(by_seeds_alone(values), abs=1e-8)
    assert crossed_intervals(values[:, :1], resamples=100) == pytest.approx(by_seeds_alone(values), abs=1e-8)


def test_what_never_varies_has_an_interval_without_length() -> None:
    found = crossed_intervals(np.full((2, 30, 2), [0.1, 0.25]), resamples=50)
    assert found == pytest.approx(np.array([[0.1, 0.25]] * 2), abs=1e-12)


def test_the_rest_is_not_counted_twice() -> None:
    """Of values without effects of users nothing is left to the bootstrap; the seeds' means have all the variance."""
    values = tables(5, (0.0, 0.0, 1.0))[..., :300]
    lengths = np.diff(crossed_intervals(values, resamples=300), axis=0) / np.diff(by_seeds_alone(values), axis=0)
    assert 1.0 <= np.median(lengths) < 1.02


def test_p_values_say_the_same_as_the_intervals() -> None:
    values = tables(3, (0.33, 0.33, 0.34))[..., :500] + 0.5
    for confidence in (0.8, 0.95):
        (low_M, high_M), p_M = crossed_statistics(values, confidence=confidence, resamples=999)
        assert 0 < p_M.min() < 0.01 < 0.99 < p_M.max() <= 1
        sure = np.abs(p_M - (1 - confidence)) > 0.002  # one more draw is counted
        assert sure.sum() > 450
        assert (((low_M > 0) | (high_M < 0)) == (p_M < 1 - confidence))[sure].all()


def test_p_values_of_what_never_varies() -> None:
    _, p_M = crossed_statistics(np.full((3, 30, 2), [0.0, 0.25]), resamples=99)
    assert p_M == pytest.approx([1.0, 0.01])


def test_wrong_arguments() -> None:
    with pytest.raises(RunError, match=r"^seeds: expected at least 2, found 1"):
        crossed_intervals(np.ones((1, 5, 2)))
    with pytest.raises(RunError, match=r"^values: expected an array of \(seeds, users, columns\).* the shape 5 x 2"):
        crossed_intervals(np.ones((5, 2)))
    with pytest.raises(RunError, match=r"^confidence: expected"):
        crossed_intervals(np.ones((2, 5, 2)), confidence=1.0)
