"""The scripts of docs/evaluation.md recompute every published number of real evaluations."""

import json
import re
import runpy
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from small.train.evaluations import TEXTS
from small.train.runs import csr
from tcf.config.evaluate import EvaluateConfig
from tcf.data.cache.caches import VectorCache
from tcf.data.dataset import Dataset, write_dataset
from tcf.data.split import by_parts
from tcf.evaluate.evaluation import Evaluation
from tcf.evaluate.stage import evaluate_baseline, evaluate_run
from tcf.ranking.metrics import Metric

PAGE = Path(__file__).parents[2] / "docs" / "evaluation.md"
CUTOFFS = (1, 3, 10)
KINDS = ("hr", "ndcg", "mrr", "coverage", "popularity", "novelty")


def recomputed(folder: Path, done: Evaluation, *arguments: Path) -> dict[str, list[float]]:
    """What the long script prints of each metric: published and recomputed value, and both intervals."""
    return printed("lists.parquet", folder, done.path, *arguments)


def printed(mark: str, folder: Path, *arguments: Any) -> dict[str, list[float]]:
    """What the script of the page with this mark prints: lines of a name and numbers."""
    scripts = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    [script] = [script for script in scripts if mark in script]
    assert "tcf" not in script
    (folder / "script.py").write_text(script)
    lines: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["script.py", *map(str, arguments)])
        printing = {"print": lambda *words: lines.append(" ".join(map(str, words)))}
        runpy.run_path(str(folder / "script.py"), printing)
    return {line.split()[0]: [*map(float, line.split()[1:])] for line in lines}


def check(found: dict[str, list[float]], done: Evaluation) -> None:
    """Every metric of the evaluation, and its interval, has been recomputed with the same result."""
    published = json.loads((done.path / "metrics.json").read_text())
    assert [*found] == [name for name in published if Metric.named(name) is not None]
    assert len({*(numbers[1] for numbers in found.values())}) > len(CUTOFFS) * 4
    for name, (mean, again, *ends) in found.items():
        assert mean == published[name]
        assert again == pytest.approx(mean, rel=1e-6), name
        assert bool(ends) != name.startswith("coverage")
        if ends:
            assert ends[:2] == published["intervals"][name]
            # Other draws of the bootstrap move an end by about 1 % of the width; Wilson's interval is exact.
            near = 1e-6 if name.startswith("hr") and not done.table()["ties"].to_numpy().any() else 0.06
            assert ends[2:] == pytest.approx(ends[:2], abs=near * (ends[1] - ends[0]) + 1e-9), name


@pytest.mark.parametrize("items", ["text", "id"])
def test_the_numbers_of_a_run_are_recomputed(made: Path, tmp_path: Path, items: str) -> None:
    config = EvaluateConfig(device="cpu", cutoffs=CUTOFFS, lists=True)
    done = evaluate_run(made / items, out=tmp_path / "e", config=config, vectors=made / "cache")
    assert done.table()["ties"].to_numpy().any() == (items == "text")  # whose texts are there twice
    np.save(tmp_path / "vectors.npy", VectorCache.open(made / "cache").vectors_for(made / "data"))
    found = recomputed(tmp_path, done, made / "data", tmp_path / "vectors.npy")
    check(found, done)
    assert {*found} == {f"{kind}@{k}" for k in CUTOFFS for kind in KINDS} | {"mrr", "diversity@3", "diversity@10"}
    in_ten_lines = printed("lambda gain", tmp_path, done.path, *CUTOFFS)
    assert {*in_ten_lines} == {f"{kind}@{k}" for k in CUTOFFS for kind in KINDS[:3]} | {"mrr"}
    for name, (value,) in in_ten_lines.items():
        assert value == pytest.approx(done.metrics[name], rel=1e-9), name


def given(folder: Path) -> Dataset:
    """Users with context, repeats and several targets, some of them cold."""
    rng = np.random.default_rng(6)
    sequences, parts = [], []
    for _ in range(50):
        numbers = rng.integers([0, 1, 1, 1], [3, 8, 2, 6])
        parts += np.repeat([0, 1, 2, 3], numbers).tolist()
        sequences.append([*rng.integers(0, 22, numbers.sum() - 1).tolist(), int(rng.integers(30))])
    no_parts: dict[str, Any] = {}
    return write_dataset(
        folder / "given",
        item_ids=pa.array([f"i{i}" for i in range(30)], pa.large_string()),
        texts=pa.array(TEXTS, pa.large_string()),
        user_ids=pa.array([f"u{u}" for u in range(50)], pa.large_string()),
        split=by_parts(csr(sequences), np.array(parts, np.int8)),
        inputs=no_parts,
        config=no_parts,
        statistics=no_parts,
    )


@pytest.mark.parametrize("policies", [{"seen": "keep"}, {"seen": "mask", "catalogue": "trained"}])
def test_the_numbers_of_several_targets_that_tie_are_recomputed(tmp_path: Path, policies: dict[str, Any]) -> None:
    config = EvaluateConfig(cutoffs=CUTOFFS, lists=True, **policies)
    done = evaluate_baseline("popularity", data=given(tmp_path).path, out=tmp_path / "e", config=config)
    ranks = done.table()
    places = [(row["user_id"], row["rank"]) for row in ranks.to_pylist()]
    assert len({*places}) < len(places) - 5  # targets that tie with one another
    never = ranks["rank"].to_numpy() > ranks["candidates"].to_numpy()
    assert (never.sum() > 5) == (policies["seen"] == "mask")
    found = recomputed(tmp_path, done, tmp_path / "given")
    check(found, done)
    assert {*found} == {f"{kind}@{k}" for k in CUTOFFS for kind in (*KINDS, "recall")} | {"mrr"}
    assert found["recall@10"] != found["hr@10"]
