"""Intervals of the metrics of an evaluation."""

import json
import math
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from small.evaluate.judged import judged
from small.manifests import reseal
from tcf.common.errors import ConfigError, RunError
from tcf.config.evaluate import EvaluateConfig
from tcf.evaluate.evaluation import open_evaluation
from tcf.evaluate.intervals import Bootstrap, intervals_of


def test_hits_have_wilsons_interval(tmp_path: Path) -> None:
    done = judged(tmp_path, "e", skill=1)
    n, share, z = done.metrics["users"], done.metrics["hr@10"], 1.959964
    centre, half = share + z**2 / (2 * n), z * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    scale = 1 + z**2 / n
    assert done.intervals["hr@10"] == pytest.approx(((centre - half) / scale, (centre + half) / scale), rel=1e-6)


def test_all_other_means_are_bootstrapped(tmp_path: Path) -> None:
    tied = judged(tmp_path, "e", skill=1, levels=2, cutoffs=(10,), resamples=4000)
    assert [*tied.intervals] == ["hr@10", "ndcg@10", "mrr@10", "mrr"]
    values = {metric.name: metric.per_user(tied.ranks) for metric in tied.measured}
    assert not set(values["hr@10"]) <= {0.0, 1.0}  # ties lie across position 10
    for name, values_U in values.items():
        error = float(np.std(values_U)) / math.sqrt(len(values_U))
        low, high = tied.intervals[name]
        assert low == pytest.approx(values_U.mean() - 1.96 * error, abs=0.12 * error)
        assert high == pytest.approx(values_U.mean() + 1.96 * error, abs=0.12 * error)


def test_seed_resamples_and_confidence_decide_them(tmp_path: Path) -> None:
    usual = judged(tmp_path, "e", skill=1, resamples=300)
    other = judged(tmp_path, "s", skill=1, resamples=300, bootstrap_seed=1)
    sure = judged(tmp_path, "c", skill=1, resamples=300, confidence=0.5)
    none = judged(tmp_path, "n", skill=1, resamples=0)
    assert usual.metrics == other.metrics == sure.metrics == none.metrics
    assert usual.intervals["mrr"] != other.intervals["mrr"]
    width, narrow = (high - low for low, high in (usual.intervals["mrr"], sure.intervals["mrr"]))
    assert narrow == pytest.approx(width * 0.674 / 1.96, rel=0.2)
    assert none.intervals == {}
    assert none.for_people()["intervals"] == "none"


def test_they_are_on_the_disk_and_in_what_is_printed(tmp_path: Path) -> None:
    done = judged(tmp_path, "e", skill=1, resamples=300)
    written = json.loads((done.path / "metrics.json").read_text())
    assert {name: tuple(ends) for name, ends in written["intervals"].items()} == done.intervals
    assert {**written, "intervals": {}} == {**done.metrics, "intervals": {}}
    assert open_evaluation(done.path) == done
    assert open_evaluation(done.path).intervals == done.intervals
    low, high = done.intervals["hr@5"]
    assert done.for_people()["test_hr@5"] == f"{done.metrics['hr@5']:.2%} ({100 * low:.2f} to {100 * high:.2f})"
    assert done.for_people()["intervals"] == "95 % (300 resamples) over users"
    assert done.as_json()["intervals"] == done.intervals
    [row] = done.to_pandas().to_dict("records")
    assert (row["hr@5_low"], row["hr@5_high"]) == (low, high)


@pytest.mark.parametrize("ends", [[0.5], [0.5, "a"], [0.5, None], 0.5, "0.1 to 0.2", [0.1, 0.2, 0.3]])
def test_ends_that_are_none_are_refused(tmp_path: Path, ends: object) -> None:
    done = judged(tmp_path, "e", skill=1, resamples=10)
    facts = json.loads((done.path / "manifest.json").read_text())["facts"]
    reseal(done.path, facts={**facts, "intervals": {**facts["intervals"], "mrr": ends}})
    with pytest.raises(RunError, match=r"expected facts\.intervals\.mrr, two numbers, found .*; restore it"):
        open_evaluation(done.path)


def test_settings_that_are_impossible_are_refused() -> None:
    for confidence in (0.0, 1.0, 1.5, -1.0):
        with pytest.raises(ConfigError, match="^--confidence: expected a probability between 0 and 1, .* found "):
            EvaluateConfig(confidence=confidence)
    with pytest.raises(ConfigError, match="^--resamples: expected at least 0, found -1"):
        EvaluateConfig(resamples=-1)


def test_columns_of_any_name_have_intervals() -> None:
    columns = {"novelty@10": np.arange(50.0), "hr@3": np.repeat([0.0, 1.0], 25)}
    found = intervals_of(columns, Bootstrap(2000, 0, 0.9))
    assert [*found] == ["novelty@10", "hr@3"]
    error = np.std(np.arange(50)) / math.sqrt(50)
    assert found["novelty@10"] == pytest.approx((24.5 - 1.645 * error, 24.5 + 1.645 * error), abs=0.3)
    assert intervals_of({}, Bootstrap(2000, 0, 0.9)) == {}
    with pytest.raises(RunError, match="expected finite values"):
        intervals_of({"novelty@10": np.array([np.nan])}, Bootstrap(2000, 0, 0.9))


def test_ranks_file_is_enough_for_every_interval(tmp_path: Path) -> None:
    """Resampling users of `ranks.parquet` with NumPy's own generator gives the published ends."""
    done = judged(tmp_path, "e", skill=1, cutoffs=(10,), resamples=4000)
    rank = pq.read_table(done.path / "ranks.parquet")["rank"].to_numpy()
    gains = np.where(rank <= 10, 1 / np.log2(1 + rank), 0)
    drawn = np.random.default_rng(1).integers(0, len(gains), (4000, len(gains)))
    assert done.intervals["ndcg@10"] == pytest.approx(np.quantile(gains[drawn].mean(axis=1), [0.025, 0.975]), abs=0.006)
