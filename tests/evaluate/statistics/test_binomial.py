"""Wilson's interval and McNemar's test against published and independent values."""

from fractions import Fraction
from math import comb

import numpy as np
import pytest

from tcf.common.errors import RunError
from tcf.evaluate.statistics.binomial import mcnemar, wilson


# Newcombe, Stat. Med. 1998, table I, method 3; digits by scipy.stats.binomtest(...).proportion_ci(method="wilson").
@pytest.mark.parametrize(
    ("successes", "n", "confidence", "interval"),
    [
        (81, 263, 0.95, (0.2552885198782742, 0.36620957698280004)),
        (15, 148, 0.95, (0.06238639953073629, 0.16048724172330803)),
        (0, 20, 0.95, (0.0, 0.16112515805281935)),
        (1, 29, 0.99, (0.0040614941968838275, 0.23825425313641302)),
    ],
)
def test_wilson(successes: int, n: int, confidence: float, interval: tuple[float, float]) -> None:
    assert wilson(successes, n, confidence) == pytest.approx(interval, abs=1e-12)
    low, high = wilson(n - successes, n, confidence)
    assert (1 - high, 1 - low) == pytest.approx(interval, abs=1e-12)


def test_wilson_at_the_borders() -> None:
    for n in (1, 7, 200_000):
        assert wilson(0, n)[0] == 0.0
        assert wilson(n, n)[1] == 1.0
        assert 0 < wilson(0, n)[1] < 1


def test_wilson_holds_the_share_as_often_as_it_says() -> None:
    """2,000 repeats of 100 users; for few successes plus and minus two standard errors hold it 87 % of the time."""
    rng = np.random.default_rng(1)
    for share in (0.02, 0.1, 0.5):
        hits = rng.binomial(100, share, 2000)
        intervals = np.array([wilson(int(n), 100) for n in hits])
        assert 0.93 <= ((intervals[:, 0] <= share) & (share <= intervals[:, 1])).mean() <= 0.97


def by_fractions(first: int, second: int) -> Fraction:
    n = first + second
    tail = sum(comb(n, few) for few in range(min(first, second) + 1))
    return min(Fraction(1), Fraction(2 * tail, 2**n))


def test_mcnemar_equals_exact_fractions() -> None:
    for first in range(0, 40, 3):
        for second in range(0, 40, 4):
            assert mcnemar(first, second) == pytest.approx(float(by_fractions(first, second)), rel=1e-12)


# scipy.stats.binomtest(first, first + second).pvalue
@pytest.mark.parametrize(
    ("first", "second", "p"),
    [
        (15, 5, 0.04138946533203125),
        (121, 59, 4.4344492637551645e-06),
        (1020, 1100, 0.08618007354303607),
        (100_000, 99_000, 0.025127217688360817),
        (300, 2000, 1.4885435342957858e-307),
    ],
)
def test_mcnemar_of_many_users(first: int, second: int, p: float) -> None:
    assert mcnemar(first, second) == pytest.approx(p, rel=1e-8)
    assert mcnemar(second, first) == mcnemar(first, second)


def test_mcnemar_has_no_p_of_0_and_none_above_1() -> None:
    assert mcnemar(0, 10**6) == mcnemar(10**6, 0) == pytest.approx(0, abs=1e-300)
    assert mcnemar(0, 10**6) > 0
    assert [mcnemar(0, 0), mcnemar(0, 1), mcnemar(50, 50)] == [1, 1, 1]


def test_a_true_null_is_rejected_as_often_as_the_level_says_or_less() -> None:
    """2,000 repeats; a test of counts is conservative, of few users more so."""
    rng = np.random.default_rng(2)
    for discordant, least in ((20, 0.02), (150, 0.03), (2000, 0.03)):
        p_of = np.array([mcnemar(first, discordant - first) for first in range(discordant + 1)])
        exact = sum(comb(discordant, k) for k in np.flatnonzero(p_of <= 0.05).tolist()) / 2**discordant
        rejected = (p_of[rng.binomial(discordant, 0.5, 2000)] <= 0.05).mean()
        assert least < exact <= 0.05
        assert rejected == pytest.approx(exact, abs=0.02)


def test_wrong_arguments() -> None:
    with pytest.raises(RunError, match=r"^users: expected at least 1, found 0"):
        wilson(0, 0)
    with pytest.raises(RunError, match=r"^successes: expected 0 to 3.*found 4"):
        wilson(4, 3)
    with pytest.raises(RunError, match=r"^users whom one ranking alone serves: expected at least 0, found -1"):
        mcnemar(3, -1)
