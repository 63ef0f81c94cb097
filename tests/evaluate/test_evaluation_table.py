from pathlib import Path
from typing import Any

from tcf.common.manifest import Manifest
from tcf.evaluate.evaluation import Evaluation
from tcf.evaluate.evaluation_table import EvaluationTable

BOOTSTRAP = {"resamples": 10_000, "bootstrap_seed": 0, "confidence": 0.95}


def evaluation(hr: float, ndcg: float, mrr: float, users: int = 943, items: int = 1392, ends: Any = ()) -> Evaluation:
    metrics: dict[str, Any] = {"hr@10": hr, "ndcg@10": ndcg, "mrr": mrr, "users": users, "candidates": items}
    facts = {"intervals": dict(ends)}
    return Evaluation(Path("e"), metrics, Manifest("tcf-evaluation", 3, "", {}, BOOTSTRAP, facts, {}))


def lines(**evaluations: Evaluation) -> list[str]:
    return str(EvaluationTable(evaluations)).splitlines()


def test_metrics_in_percent_in_the_order_given() -> None:
    assert lines(popularity=evaluation(0.0555, 0.02804, 0.02), text=evaluation(0.1, 0.05, 1, 1_000_000)) == [
        "ranking        hr@10   ndcg@10       mrr     users     items",
        "popularity     5.55%     2.80%     2.00%       943     1,392",
        "text          10.00%     5.00%   100.00% 1,000,000     1,392",
    ]


def test_short_names_stand_in_line() -> None:
    head, line = lines(id=evaluation(0.5, 0, 0))
    assert head.index("hr@10") + len("hr@10") == line.index("50.00%") + len("50.00%")
    assert len(head) == len(line)


def test_a_metric_of_a_long_name_stands_in_line() -> None:
    found = evaluation(0.5, 0, 0, users=1_234_567_890)
    assert lines(id=Evaluation(found.path, {**found.metrics, "popularity@10": 25.0}, found.manifest)) == [
        "ranking     hr@10   ndcg@10       mrr popularity@10         users     items",
        "id         50.00%     0.00%     0.00%            25 1,234,567,890     1,392",
    ]


def test_intervals_stand_beside_the_means_that_have_them() -> None:
    found = evaluation(0.5, 0.25, 0.125, ends={"hr@10": [0.46, 0.5412], "mrr": [0.1, 0.15]})
    assert lines(popularity=evaluation(0.0555, 0.02804, 0.02), text=found) == [
        "ranking        hr@10                  ndcg@10       mrr                    users     items",
        "popularity     5.55%                    2.80%     2.00%                      943     1,392",
        "text          50.00% 46.00 to 54.12    25.00%    12.50% 10.00 to 15.00       943     1,392",
        "intervals: 95 % (10,000 resamples) over users",
    ]
    row = EvaluationTable({"text": found}).to_pandas().loc["text"]
    assert [row["hr@10_low"], row["hr@10_high"], row["mrr_low"]] == [0.46, 0.5412, 0.1]
