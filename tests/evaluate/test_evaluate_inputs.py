import shutil
from pathlib import Path

import pytest

from small.train.evaluations import CPU, TEXTS, VECTORS
from small.train.runs import make_cache, make_dataset, walks
from tcf.common.errors import ConfigError, RunError
from tcf.config.evaluate import EvaluateConfig
from tcf.evaluate.stage import evaluate_run


def test_inputs_that_have_moved_are_named(runs: Path, tmp_path: Path, made: Path) -> None:
    expected = evaluate_run(made / "text", out=tmp_path / "expected", config=CPU)
    shutil.move(runs / "data", tmp_path / "d")
    with pytest.raises(RunError, match=r"expected the dataset that .* at \S+data, .* found nothing there; .*--data"):
        evaluate_run(runs / "text", out=tmp_path / "e", config=CPU)
    shutil.move(runs / "cache", tmp_path / "c")
    with pytest.raises(RunError, match=r"expected the cache that .* at \S+cache, .* found nothing there; .*--cache"):
        evaluate_run(runs / "text", out=tmp_path / "e", config=CPU, data=tmp_path / "d")
    done = evaluate_run(runs / "text", out=tmp_path / "e", config=CPU, data=tmp_path / "d", caches=[tmp_path / "c"])
    assert done.manifest == expected.manifest
    assert (done.path / "ranks.parquet").read_bytes() == (expected.path / "ranks.parquet").read_bytes()


def test_inputs_that_have_changed_are_refused(runs: Path, tmp_path: Path) -> None:
    shutil.rmtree(runs / "data")
    dataset = make_dataset(runs, [*walks()[1:], [0, 1, 2, 3]], TEXTS)
    with pytest.raises(RunError, match=r"data: expected the dataset that .*text was trained on .*, or train a new run"):
        evaluate_run(runs / "text", out=tmp_path / "e", config=CPU)
    shutil.rmtree(runs / "data")
    dataset = make_dataset(runs, walks(), TEXTS)
    shutil.rmtree(runs / "cache")
    make_cache(runs, dataset, VECTORS, pooling="first")
    with pytest.raises(RunError, match=r"cache: expected the cache that .*text was trained on"):
        evaluate_run(runs / "text", out=tmp_path / "e", config=CPU)
    evaluate_run(runs / "id", out=tmp_path / "e", config=CPU)  # which needs no cache


def test_an_unfinished_run_is_refused(runs: Path, tmp_path: Path) -> None:
    (runs / "text" / "manifest.json").unlink()
    with pytest.raises(RunError, match=r"found a directory without manifest\.json .*; run `tcf train` first"):
        evaluate_run(runs / "text", out=tmp_path / "e", config=CPU)
    assert not (tmp_path / "e").exists()


def test_an_unknown_device_is_refused(runs: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--device: expected auto, cpu"):
        evaluate_run(runs / "text", out=tmp_path / "e", config=EvaluateConfig(device="abacus"))
