"""Sums that have no order."""

import numpy as np
import pytest

from tcf.evaluate.statistics.exact_sums import weighted_sums, whole_units


def test_sums_are_the_same_in_every_order() -> None:
    rng = np.random.default_rng(0)
    values = rng.standard_normal((3000, 4)) * [1e-9, 1.0, 1e6, 1.0]
    weights = rng.integers(-1, 3, 3000).astype(np.float64)
    units, exponents = whole_units(values, np.abs(weights).sum())
    sums = {np.ldexp(weights[order] @ units[order], exponents).tobytes() for order in _orders(rng)}
    assert len({(weights[order] @ values[order]).tobytes() for order in _orders(rng)}) > 1
    assert len(sums) == 1
    scale = np.abs(values).max(axis=0)
    assert np.ldexp(weights @ units, exponents) / scale == pytest.approx(weights @ values / scale, abs=3000 * 2.0**-40)


def _orders(rng: np.random.Generator) -> list[list[int]]:
    return [rng.permutation(3000).tolist() for _ in range(20)]


@pytest.mark.parametrize("weight", [1, 8, 1000.5, 2**20])
def test_no_sum_exceeds_what_float64_counts_exactly(weight: float) -> None:
    units, _ = whole_units(np.array([[0.9999999, 1.0, -3e-310, 0.0]]), weight)
    assert (np.abs(units) * weight <= 2.0**53).all()
    assert (np.abs(units[0, :3]) * weight >= 2.0**50).tolist() == [True, True, True]
    assert units[0, 3] == 0


@pytest.mark.parametrize(("draws", "users", "columns"), [(32, 1, 1), (128, 256, 32), (64, 1000, 33), (96, 257, 70)])
def test_small_products_are_one_large_product(draws: int, users: int, columns: int) -> None:
    rng = np.random.default_rng(1)
    weights = rng.integers(-2, 5, (draws, users)).astype(np.float64)
    units = rng.integers(-(2**40), 2**40, (users, columns)).astype(np.float64)
    exact = weights.astype(np.int64) @ units.astype(np.int64)
    assert np.array_equal(weighted_sums(weights, units), exact)


def test_what_is_no_larger_than_a_unit_is_rounded() -> None:
    units, exponents = whole_units(np.array([[1.0], [2.0**-60]]), 2)
    assert np.ldexp(units, exponents).tolist() == [[1.0], [0.0]]
