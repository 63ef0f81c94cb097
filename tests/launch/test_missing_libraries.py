"""Without FAISS, nothing is begun that needs it in the end."""

import subprocess
import sys
from pathlib import Path

import pytest

from small.launch import pipelines, searches
from small.train.runs import make_dataset, walks
from tcf.common.errors import TcfError
from tcf.config.evaluate import EvaluateConfig
from tcf.config.train import TrainConfig
from tcf.evaluate.recommend import examples, recommend
from tcf.evaluate.stage import evaluate_baseline, evaluate_run
from tcf.launch.evaluation.evaluate_runs import evaluate_runs
from tcf.launch.search.search import run_search
from tcf.launch.search.search_file import read_search
from tcf.launch.study.expand import expand
from tcf.launch.study.run_study import run_study
from tcf.launch.study.study_file import read_study
from tcf.launch.train_on_devices import train_on_devices

MESSAGE = 'ranking: expected the library faiss, found none; install it with `pip install "text-cf[cpu]"`'
BLOCKED = "import sys; sys.modules['faiss'] = None; import tcf.cli; sys.argv[0] = 'tcf'; tcf.cli.main()"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return make_dataset(tmp_path, walks(), [f"text {item}" for item in range(30)]).path


def test_a_training_ends_at_once_and_writes_nothing(data: Path, tmp_path: Path) -> None:
    words = ["train", "--items", "id", "--data", data, "--out", tmp_path / "run", "--devices", "cpu"]
    done = subprocess.run(
        [sys.executable, "-c", BLOCKED, *map(str, words)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert [line.startswith(f"tcf: error: {MESSAGE}") for line in done.stderr.splitlines()][-1:] == [True]
    assert "epoch" not in done.stderr
    assert [entry.name for entry in tmp_path.iterdir()] == ["data"]


def test_everything_else_that_ranks_ends_at_once(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    monkeypatch.chdir(tmp_path)
    several = TrainConfig(items="id", devices="cpu,cpu")
    search = read_search(searches.workplace(tmp_path))
    pipeline = expand(read_study(pipelines.workplace(tmp_path)), write=False)
    before = sorted(tmp_path.rglob("*"))
    # Neither a run nor a model is looked for before.
    for start in (
        lambda: train_on_devices(data=data, out=tmp_path / "run", config=several),
        lambda: run_search(search),
        lambda: run_study(pipeline),
        lambda: evaluate_run(tmp_path / "none", out=tmp_path / "evaluation", config=EvaluateConfig(search="faiss")),
        lambda: evaluate_runs([tmp_path / "none"], out=tmp_path / "e", config=EvaluateConfig(search="faiss")),
        lambda: recommend(tmp_path / "none", out=tmp_path / "r.parquet", k=1, search="faiss"),
        lambda: examples(tmp_path / "none", users=1, k=1, search="faiss"),
    ):
        with pytest.raises(TcfError) as refused:
            start()
        assert f"{refused.value}".startswith(MESSAGE)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_baseline_needs_no_faiss(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    done = evaluate_baseline("popularity", data=data, out=tmp_path / "evaluation", config=EvaluateConfig(device="cpu"))
    assert done.metrics["users"] == 60
