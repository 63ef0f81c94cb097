from pathlib import Path
from typing import Any

from tcf.common.manifest import Manifest
from tcf.evaluate.comparison import comparison
from tcf.evaluate.evaluation import Evaluation


def evaluation(hr: float, ndcg: float, mrr: float, users: int = 943, items: int = 1392) -> Evaluation:
    metrics: dict[str, Any] = {"hr@10": hr, "ndcg@10": ndcg, "mrr": mrr, "users": users, "candidates": items}
    return Evaluation(Path("e"), metrics, Manifest("tcf-evaluation", 1, "", {}, {}, {}, {}))


def test_metrics_in_percent_in_the_order_given() -> None:
    shown = comparison({"popularity": evaluation(0.0555, 0.02804, 0.02), "text": evaluation(0.1, 0.05, 1, 1_000_000)})
    assert shown.splitlines() == [
        "ranking        hr@10   ndcg@10       mrr     users     items",
        "popularity     5.55%     2.80%     2.00%       943     1,392",
        "text          10.00%     5.00%   100.00% 1,000,000     1,392",
    ]


def test_short_names_stand_in_line() -> None:
    lines = comparison({"id": evaluation(0.5, 0, 0)}).splitlines()
    assert lines[0].index("hr@10") + len("hr@10") == lines[1].index("50.00%") + len("50.00%")
    assert len(lines[0]) == len(lines[1])


def test_a_metric_of_a_long_name_stands_in_line() -> None:
    found = evaluation(0.5, 0, 0, users=1_234_567_890)
    shown = comparison({"id": Evaluation(found.path, {**found.metrics, "popularity@10": 25.0}, found.manifest)})
    assert shown.splitlines() == [
        "ranking     hr@10   ndcg@10       mrr popularity@10         users     items",
        "id         50.00%     0.00%     0.00%            25 1,234,567,890     1,392",
    ]
