"""Several tests at once: Holm's correction, letters, and the smallest detectable difference."""

from itertools import combinations, pairwise
from statistics import NormalDist

import numpy as np
import numpy.typing as npt
import pytest

from tcf.common.errors import RunError
from tcf.evaluate.statistics.detectable import smallest_detectable_difference
from tcf.evaluate.statistics.holm import holm
from tcf.evaluate.statistics.letters import groups_alike, letters
from tcf.evaluate.statistics.sign_flip import sign_flip


def test_holm_by_hand() -> None:
    # 3 * 0.01; 2 * 0.02 = 0.04; 1 * 0.03, but not below the one before it.
    assert holm(np.array([0.02, 0.03, 0.01])) == pytest.approx([0.04, 0.04, 0.03])
    assert holm(np.array([0.5, 0.9, 0.4])).tolist() == [1.0, 1.0, 1.0]
    assert holm(np.array([0.04])).tolist() == [0.04]
    assert holm(np.array([])).tolist() == []


def test_holm_equals_its_definition_in_steps() -> None:
    """The k-th smallest is rejected if each of the j-th smallest, j <= k, is at most level / (P - j + 1)."""
    rng = np.random.default_rng(0)
    for _ in range(200):
        p = np.round(rng.random(6) ** 3, 2)
        rejected = np.zeros(6, bool)
        for step, test in enumerate(np.argsort(p, kind="stable")):
            if p[test] > 0.05 / (6 - step):
                break
            rejected[test] = True
        assert ((holm(p) <= 0.05 + 1e-12) == rejected).all()


def test_a_true_null_among_many_is_rejected_as_often_as_the_level_says() -> None:
    """2,000 repeats of all 6 pairs of 4 equal rankings on the same 40 users; without correction a fifth is rejected."""
    scores = np.random.default_rng(1).standard_normal((4, 40, 2000))
    p_values = np.stack([sign_flip(scores[a] - scores[b], flips=999) for a, b in combinations(range(4), 2)])
    adjusted = np.stack([holm(column) for column in p_values.T], axis=1)
    assert 0.03 <= (adjusted.min(axis=0) <= 0.05).mean() <= 0.06
    assert (p_values.min(axis=0) <= 0.05).mean() > 0.15


def test_holm_of_no_probability() -> None:
    with pytest.raises(RunError, match=r"^p-values: expected numbers from 0 to 1, found 2 others"):
        holm(np.array([0.1, np.nan, 1.5]))


def random_pairs(rng: np.random.Generator, n: int) -> npt.NDArray[np.bool_]:
    upper = np.triu(rng.random((n, n)) < rng.random(), 1)
    return upper | upper.T


def test_a_letter_in_common_means_no_difference() -> None:
    rng = np.random.default_rng(2)
    for _ in range(150):
        n = int(rng.integers(1, 9))
        differs, order = random_pairs(rng, n), rng.permutation(n).tolist()
        found = letters(differs, order)
        for first, second in combinations(range(n), 2):
            assert bool(set(found[first]) & set(found[second])) is not bool(differs[first, second])
        assert all(found)


def test_groups_are_the_largest_without_a_difference() -> None:
    """All sets of rankings without a difference that no other ranking can join, found by looking at every set."""
    rng = np.random.default_rng(3)
    for _ in range(60):
        n = int(rng.integers(1, 8))
        differs = random_pairs(rng, n)
        alike = {
            frozenset(chosen)
            for size in range(1, n + 1)
            for chosen in combinations(range(n), size)
            if not differs[np.ix_(chosen, chosen)].any()
        }
        largest = {group for group in alike if not any(group < other for other in alike)}
        found = groups_alike(differs, range(n))
        assert len(found) == len(largest)
        assert {frozenset(group) for group in found} == largest
        assert found == sorted(found)


def test_letters_follow_the_order_of_the_table() -> None:
    """Five rankings on a line, of which those further apart than 1 differ; the best is the last."""
    place = np.array([4.0, 3.2, 2.5, 1.4, 0.0])
    differs = np.abs(place[:, None] - place) > 1.2
    assert letters(differs, [0, 1, 2, 3, 4]) == ["a", "ab", "bc", "c", "d"]
    assert letters(differs, [4, 3, 2, 1, 0]) == ["d", "cd", "bc", "b", "a"]
    assert groups_alike(differs, [4, 3, 2, 1, 0]) == [(4,), (3, 2), (2, 1), (1, 0)]


def test_letters_where_all_or_none_differ() -> None:
    assert letters(np.zeros((3, 3), bool), [2, 0, 1]) == ["a", "a", "a"]
    found = letters(~np.eye(60, dtype=bool), range(60))
    assert found[:2] + found[25:28] + found[51:54] == ["a", "b", "z", "A", "B", "Z", "(53)", "(54)"]
    assert len(set(found)) == 60


def test_letters_of_no_table() -> None:
    with pytest.raises(RunError, match=r"^groups: expected an order of all rankings.*found 2 in the order"):
        letters(np.zeros((3, 3), bool), [0, 1])
    with pytest.raises(RunError, match=r"^groups: expected an order of all"):
        letters(np.zeros((2, 2), bool), [0, 0])
    with pytest.raises(RunError, match=r"^groups: expected pairs that differ either way"):
        letters(np.array([[False, True], [False, False]]), [0, 1])


def test_a_detectable_difference_is_found_as_often_as_its_power_says() -> None:
    """2,000 repeats of 80 users with normal differences, by the sign-flip test itself."""
    rng = np.random.default_rng(4)
    for power in (0.8, 0.5):
        difference = smallest_detectable_difference(0.4, 80, power=power)
        p = sign_flip(difference + 0.4 * rng.standard_normal((80, 2000)), flips=499)
        assert (p <= 0.05).mean() == pytest.approx(power, abs=0.035)


def test_detectable_differences_by_hand() -> None:
    assert smallest_detectable_difference(1.0, 1) == pytest.approx(1.959964 + 0.841621, abs=1e-5)
    assert smallest_detectable_difference(0.0, 10) == 0
    strict = smallest_detectable_difference(0.5, 100, level=0.01, power=0.9)
    assert strict == pytest.approx((2.575829 + 1.281552) * 0.05, abs=1e-6)
    found = [smallest_detectable_difference(1.0, n) for n in (10, 100, 1000)]
    assert all(larger / smaller == pytest.approx(10**0.5) for larger, smaller in pairwise(found))
    assert found[1] == pytest.approx(NormalDist().inv_cdf(0.975) * 0.1 + NormalDist().inv_cdf(0.8) * 0.1)
    with pytest.raises(RunError, match=r"^level: expected a probability"):
        smallest_detectable_difference(1.0, 10, level=0)
    with pytest.raises(RunError, match=r"^deviation: expected a number of at least 0, found nan"):
        smallest_detectable_difference(float("nan"), 10)
