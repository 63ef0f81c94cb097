"""How often a study's comparison draws: as often as its number of tests asks for, within the memory that is free."""

from types import SimpleNamespace
from typing import Any

import pytest

from tcf.evaluate.intervals import Bootstrap
from tcf.launch.study.results import comparisons
from tcf.launch.study.results.comparisons import draws_for

GIB = 2**30


def rankings(number: int, *, users: int = 1000, resamples: int = 10_000) -> Any:
    one = SimpleNamespace(bootstrap=Bootstrap(resamples, 7, 0.95), metrics={"users": users})
    return {f"r{place}": one for place in range(number)}


def test_few_rankings_have_the_draws_of_their_intervals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparisons, "host_memory", lambda: (64 * GIB, 64 * GIB))
    draws = draws_for(rankings(4), 0.95)
    assert draws is not None and (draws.resamples, draws.flips, draws.seed) == (10_000, 9_999, 7)


def test_many_have_as_many_as_can_tell_them_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparisons, "host_memory", lambda: (64 * GIB, 64 * GIB))
    draws = draws_for(rankings(60), 0.95)
    # 60 * 59 / 2 = 1,770 tests; the smallest p-value must be at most 0.05 / 1,770.
    assert draws is not None and draws.resamples >= 35_400 - 1
    assert draws.too_few(1_770, crossed=True) == ""


def test_memory_sets_a_limit_that_is_said(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    # Differences: 8 bytes * 3 copies * 1,770 pairs * 1,000 users = 42 MB; draws: 8 * 35,400 * 1,830 = 518 MB.
    monkeypatch.setattr(comparisons, "host_memory", lambda: (GIB, GIB // 2))
    draws = draws_for(rankings(60), 0.95)
    assert draws is not None and (draws.resamples, draws.flips) == (10_000, 9_999)
    monkeypatch.setattr(comparisons, "host_memory", lambda: (GIB, GIB // 8))
    assert draws_for(rankings(60), 0.95) is None
    assert "1,770 pairs of 60 rankings take about " in caplog.text and "`tcf compare`" in caplog.text


def test_without_intervals_there_is_nothing_to_draw() -> None:
    assert draws_for(rankings(4, resamples=0), 0.95) is None
