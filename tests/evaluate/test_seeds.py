"""Means over seeds and their intervals."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from small.evaluate.judged import judged
from tcf.common.errors import ConfigError, RunError
from tcf.common.manifest import Manifest, sha256_file
from tcf.evaluate.evaluation import Evaluation
from tcf.evaluate.evaluation_table import EvaluationTable
from tcf.evaluate.seeds import SeedEvaluations

BOOTSTRAP = {"resamples": 500, "bootstrap_seed": 0, "confidence": 0.95}


def evaluation(hr: float, **others: Any) -> Evaluation:
    metrics: dict[str, Any] = {"hr@10": hr, "ndcg@10": 0.5, "mrr": hr / 2, "users": 10, "candidates": 30}
    manifest = Manifest("tcf-evaluation", 3, "", {}, BOOTSTRAP, {"intervals": {}}, {})
    return Evaluation(Path("text/seed-0"), {**metrics, **others}, manifest)


def with_hits(folder: Path, hits: Sequence[int], resamples: int = 500) -> Evaluation:
    """An evaluation on the disk in which so many of 20 users have their target first, the others last of 99."""
    folder.mkdir(parents=True)
    ranks = [1.0 if user in hits else 99.0 for user in range(20)]
    users = [f"u{user}" for user in range(20)]
    columns: dict[str, Any] = {"user_id": users, "item_id": users, "rank": ranks, "ties": [0] * 20}
    pq.write_table(pa.table({**columns, "candidates": [99] * 20}), folder / "ranks.parquet")
    file = folder / "ranks.parquet"
    files = {"ranks.parquet": {"bytes": file.stat().st_size, "sha256": sha256_file(file)}}
    settings = {**BOOTSTRAP, "resamples": resamples}
    manifest = Manifest("tcf-evaluation", 3, "", {}, settings, {"intervals": {}}, {}, files)
    metrics: dict[str, Any] = {"hr@10": len(hits) / 20, "users": 20, "candidates": 99}
    return Evaluation(folder, metrics, manifest)


def test_means_over_the_seeds() -> None:
    found = SeedEvaluations({0: evaluation(0.1), 1: evaluation(0.2), 5: evaluation(0.3)})
    means = {"hr@10": pytest.approx(0.2), "ndcg@10": 0.5, "mrr": pytest.approx(0.1)}
    assert found.metrics == {**means, "users": 10, "candidates": 30}


def test_users_alike_leave_students_t_over_the_seeds(tmp_path: Path) -> None:
    # Every user or none has a hit, so that only seeds differ: means 1, 0 and 1 of deviation 0.57735 / sqrt(3).
    found = SeedEvaluations({s: with_hits(tmp_path / f"seed-{s}", range(20 * (s != 1))) for s in (0, 1, 2)})
    half = 4.3027 * 0.57735 / np.sqrt(3)
    assert found.intervals["hr@10"] == pytest.approx((2 / 3 - half, 2 / 3 + half), abs=1e-4)


def test_seeds_alike_leave_the_bootstrap_over_users(tmp_path: Path) -> None:
    found = SeedEvaluations({s: with_hits(tmp_path / f"seed-{s}", range(10), resamples=10_000) for s in (0, 1)})
    # The standard error of 10 hits of 20 users is 0.5 / sqrt(20) = 0.1118.
    assert found.intervals["hr@10"] == pytest.approx((0.5 - 1.96 * 0.1118, 0.5 + 1.96 * 0.1118), abs=0.02)


def test_both_make_an_interval_wider_than_either(tmp_path: Path) -> None:
    found = SeedEvaluations(
        {s: judged(tmp_path, f"seed-{s}", skill=1 + s / 2, seed=s, resamples=500) for s in range(3)}
    )
    for name, (low, high) in found.intervals.items():
        seeds = [e.metrics[name] for e in found.evaluations.values()]
        assert low < found.metrics[name] < high
        assert high - low > 4.30 * np.std(seeds, ddof=1) / np.sqrt(3)
        assert high - low > max(end - start for start, end in (e.intervals[name] for e in found.evaluations.values()))
    words = " to ".join(f"{100 * end:.2f}" for end in found.intervals["hr@5"])
    assert repr(found).startswith(f"SeedEvaluations('{tmp_path}': 3 seeds, hr@5 {found.metrics['hr@5']:.2%} ({words})")
    assert found.as_json()["intervals"] == found.intervals
    table = str(EvaluationTable({"one": found.evaluations[0], "three": found})).splitlines()
    assert words in table[2]
    assert table[3:] == [
        "intervals: 95 % (500 resamples) over users",
        "intervals: 95 % (500 resamples) over users crossed with seeds, of means over several",
    ]


def test_no_resamples_no_intervals(tmp_path: Path) -> None:
    found = SeedEvaluations({s: judged(tmp_path, f"seed-{s}", skill=1, seed=s, resamples=0) for s in range(2)})
    assert found.intervals == {}
    assert "intervals" not in str(EvaluationTable({"two": found}))


def test_ranks_that_are_damaged_are_named(tmp_path: Path) -> None:
    found = SeedEvaluations({s: judged(tmp_path, f"seed-{s}", skill=1, seed=s) for s in range(2)})
    (tmp_path / "seed-1" / "ranks.parquet").write_bytes(b"")
    with pytest.raises(RunError, match=r"seed-1/ranks\.parquet"):
        found.intervals  # noqa: B018


@pytest.mark.parametrize("wrong", [{}, {0: evaluation(0.1)}, {0: evaluation(0.1), 1: "e"}, [evaluation(0.1)], None])
def test_one_alone_has_no_interval(wrong: Any) -> None:
    with pytest.raises(ConfigError, match="^evaluations: expected"):
        SeedEvaluations(wrong)


def test_evaluations_that_ask_something_else_have_no_mean() -> None:
    """A mean over other users, items or policies would be of nothing, and the table has one number of each."""
    usual, other = evaluation(0.1, catalogue="all"), evaluation(0.2, catalogue="trained", candidates=20)
    with pytest.raises(
        ConfigError, match=r"same policies, found catalogue all \(seed 0\) and trained \(seed 2\); eval"
    ):
        SeedEvaluations({0: usual, 1: usual, 2: other})
    with pytest.raises(ConfigError, match=r"found candidates 30 \(seed 0\) and 20 \(seed 1\);"):
        SeedEvaluations({0: usual, 1: evaluation(0.1, catalogue="all", candidates=20)})
    with pytest.raises(ConfigError, match=r"found metrics hr@10,ndcg@1 \(seed 0\)"):
        SeedEvaluations({0: usual, 1: replace(usual, metrics={**usual.metrics, "hr@20": 0.5})})
    moved = replace(usual, manifest=replace(usual.manifest, inputs={"dataset": "0123456789abcdef"}))
    with pytest.raises(ConfigError, match=r"found dataset none \(seed 0\) and 0123456789ab \(seed 1\);"):
        SeedEvaluations({0: usual, 1: moved})
