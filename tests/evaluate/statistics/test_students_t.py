"""Student's distribution against its tables."""

import numpy as np
import pytest

from tcf.common.errors import RunError
from tcf.evaluate.statistics.students_t import students_t_cdf, students_t_quantile


# Tables of Student's distribution, two-sided at 95 %.
@pytest.mark.parametrize(
    ("degrees", "t"), [(1, 12.7062), (2, 4.3027), (3, 3.1824), (4, 2.7764), (9, 2.2622), (30, 2.0423), (120, 1.9799)]
)
def test_quantiles_are_those_of_the_tables(degrees: int, t: float) -> None:
    assert students_t_quantile(degrees) == pytest.approx(t, abs=6e-5)
    assert students_t_quantile(degrees, 0.99) > students_t_quantile(degrees)
    assert students_t_cdf(np.array([-t, t]), degrees) == pytest.approx([0.025, 0.975], abs=2e-6)


# scipy.stats.t.cdf(x, degrees) of scipy 1.17.1.
@pytest.mark.parametrize(
    ("degrees", "x", "probability"),
    [
        (1, -1.0, 0.25000000000000006),
        (2, 0.5, 0.6666666666666666),
        (3, -2.5, 0.04385332350403278),
        (6, 1.25, 0.8710781056932275),
        (7, 4.0, 0.9974050433253516),
    ],
)
def test_probabilities_are_those_of_scipy(degrees: int, x: float, probability: float) -> None:
    assert students_t_cdf(np.array([x]), degrees)[0] == pytest.approx(probability, abs=1e-12)


@pytest.mark.parametrize("degrees", [1, 2, 5])
def test_nothing_is_beyond_infinity(degrees: int) -> None:
    assert students_t_cdf(np.array([-np.inf, -1e200, 0, np.inf]), degrees) == pytest.approx([0, 0, 0.5, 1], abs=1e-100)


def test_wrong_arguments() -> None:
    with pytest.raises(RunError, match=r"^degrees of freedom: expected at least 1, found 0"):
        students_t_quantile(0)
    with pytest.raises(RunError, match=r"^confidence: expected a probability between 0 and 1, found 95"):
        students_t_quantile(3, 95)
