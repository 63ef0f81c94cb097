"""Means over seeds and their intervals."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tcf.common.errors import ConfigError
from tcf.common.manifest import Manifest
from tcf.evaluate.comparison import comparison
from tcf.evaluate.evaluation import Evaluation
from tcf.evaluate.seeds import SeedEvaluations


def evaluation(hr: float, **others: Any) -> Evaluation:
    metrics: dict[str, Any] = {"hr@10": hr, "ndcg@10": 0.5, "mrr": hr / 2, "users": 10, "candidates": 30}
    return Evaluation(Path("text/seed-0"), {**metrics, **others}, Manifest("tcf-evaluation", 2, "", {}, {}, {}, {}))


def test_mean_and_interval_by_hand() -> None:
    found = SeedEvaluations({0: evaluation(0.1), 1: evaluation(0.2), 5: evaluation(0.3)})
    means = {"hr@10": pytest.approx(0.2), "ndcg@10": 0.5, "mrr": pytest.approx(0.1)}
    assert found.metrics == {**means, "users": 10, "candidates": 30}
    # The standard deviation of 0.1, 0.2 and 0.3 is 0.1: 4.3027 * 0.1 / sqrt(3).
    assert found.half_widths == {
        "hr@10": pytest.approx(0.24841, abs=1e-5),
        "ndcg@10": 0,
        "mrr": pytest.approx(0.124207, abs=1e-5),
    }
    assert (
        repr(found)
        == "SeedEvaluations('text': 3 seeds, hr@10 20.00% ±24.84%, ndcg@10 50.00% ±0.00%, mrr 10.00% ±12.42%)"
    )


def test_means_stand_below_one_another() -> None:
    several = SeedEvaluations({0: evaluation(0.1), 1: evaluation(0.2)})
    assert comparison({"popularity": evaluation(0.05), "text": several}).splitlines() == [
        "ranking        hr@10           ndcg@10              mrr             users     items",
        "popularity     5.00%            50.00%            2.50%                10        30",
        "text          15.00% ±63.53%    50.00% ±0.00%     7.50% ±31.77%        10        30",
        "±: half the width of the 95 % interval of a mean over seeds (Student's t)",
    ]


@pytest.mark.parametrize("wrong", [{}, {0: evaluation(0.1)}, {0: evaluation(0.1), 1: "e"}, [evaluation(0.1)], None])
def test_one_alone_has_no_interval(wrong: Any) -> None:
    with pytest.raises(ConfigError, match="^evaluations: expected"):
        SeedEvaluations(wrong)


def test_evaluations_that_ask_something_else_have_no_mean() -> None:
    """A mean over other users, items or policies would be of nothing, and the table has one number of each."""
    usual, other = evaluation(0.1, catalogue="all"), evaluation(0.2, catalogue="trained", candidates=20)
    with pytest.raises(ConfigError, match=r"the same policies, found candidates 30 and 20; evaluate all runs alike"):
        SeedEvaluations({0: usual, 1: usual, 2: other})
    with pytest.raises(ConfigError, match=r"found catalogue none and all;"):
        SeedEvaluations({0: evaluation(0.1), 1: usual})
    moved = replace(usual, manifest=replace(usual.manifest, inputs={"dataset": "0123456789abcdef"}))
    with pytest.raises(ConfigError, match=r"found dataset none and 0123456789ab;"):
        SeedEvaluations({0: usual, 1: moved})
