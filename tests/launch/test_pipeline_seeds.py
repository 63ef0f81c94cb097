"""A pipeline whose runs are trained with several seeds."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

import tcf
from small.launch.pipelines import write_tcf
from small.launch.study_here import run_pipeline_here as run_pipeline
from tcf.commands.app import app
from tcf.launch.study.results.pipeline_result import PipelineResult

FILE = """
out = "out"
seeds = [2, 0]
[data]
raw = "raw"
format = "tcf"
[train.ids]
items = "id"
width = 8
epochs = 2
devices = "cpu"
[evaluate]
baselines = ["popularity"]
recommend = 2
device = "cpu"
"""


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("seeds")
    write_tcf(folder / "raw")
    (folder / "p.toml").write_text(FILE)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield folder


@pytest.fixture(scope="module")
def done(here: Path) -> PipelineResult:
    return run_pipeline(here / "p.toml")


def test_each_run_is_trained_and_evaluated_once_a_seed(done: PipelineResult) -> None:
    assert [*done.runs] == ["ids/seed-2", "ids/seed-0"]
    for place, run in done.runs.items():
        assert run.path == Path("out/runs").absolute() / place
        assert f"seed-{run.manifest.config['seed']}" == Path(place).name
        evaluation = tcf.open_evaluation(Path("out/evaluations") / place)
        assert evaluation.manifest.inputs["run"] == run.manifest.fingerprint
    models = {(run.path / "model.safetensors").read_bytes() for run in done.runs.values()}
    assert len(models) == 2
    # Recommendations and examples are those of the first seed's run.
    assert list(Path("out/recommendations").iterdir()) == [Path("out/recommendations/ids.parquet")]
    about = pq.read_schema("out/recommendations/ids.parquet").metadata
    assert about[b"tcf.run"].decode() == done.runs["ids/seed-2"].manifest.fingerprint
    assert done.examples.startswith("Some recommendations of ids/seed-2:\n")


def test_the_table_has_means_and_intervals(done: PipelineResult) -> None:
    first, second = (tcf.open_evaluation(f"out/evaluations/ids/seed-{seed}").metrics["hr@10"] for seed in (2, 0))
    head, popularity, ids, *notes = done.summary().split("\n\n")[0].splitlines()
    assert head.split() == ["ranking", "hr@10", "ndcg@10", "mrr@10", "mrr", "users", "items"]
    assert re.match(rf"ids +{(first + second) / 2:.2%} -?\d+\.\d\d to \d+\.\d\d ", ids)
    assert len(re.findall(r"\d to \d", ids)) == len(re.findall(r"\d to \d", popularity)) == 4
    assert notes == [
        "intervals: 95 % (10,000 resamples) over users",
        "intervals: 95 % (10,000 resamples) over users crossed with seeds, of means over several",
    ]
    ends = [line.index(word) + len(word) for line, word in ((head, "hr@10"), (popularity, "%"), (ids, "%"))]
    assert len(set(ends)) == 1


def test_a_frame_has_each_seed_and_the_mean(done: PipelineResult) -> None:
    frame = tcf.evaluation_table(done.evaluations).to_pandas()
    assert frame.index.tolist() == ["popularity", "ids", "ids", "ids"]
    rows = frame.to_dict("records")
    assert [row["seed"] for row in rows[1:3]] == [2, 0]
    assert rows[3]["hr@10"] == pytest.approx((rows[1]["hr@10"] + rows[2]["hr@10"]) / 2)
    assert [row["seeds"] for row in rows[1:]] == [1, 1, 2]
    # Student's t of two seeds is a part of the interval.
    assert rows[3]["hr@10_high"] - rows[3]["hr@10_low"] >= 12.706 * abs(rows[1]["hr@10"] - rows[2]["hr@10"])
    assert rows[3]["users"] == rows[0]["users"]
    for ids, seeds in ((done.evaluations["ids"], [2, 0]), ("out/evaluations/ids", [0, 2])):
        table = tcf.evaluation_table([ids])
        assert [*table.evaluations] == ["ids"]
        assert table.to_pandas()["seed"].tolist()[:2] == seeds


def test_another_seed_is_added_and_the_others_stay(done: PipelineResult, here: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in Path("out/runs").rglob("model.safetensors")}
    # In a process of its own, as users do.
    (here / "more.toml").write_text(FILE.replace("[2, 0]", "[2, 0, 1]"))
    printed = CliRunner().invoke(app, ["pipeline", "more.toml", "--json"])
    assert printed.exit_code == 0, printed.output
    told = json.loads(printed.stdout)
    assert [run["trained"] for run in told["runs"]] == [False, False, True]
    assert [(e["name"], e.get("seed"), e.get("seeds")) for e in told["evaluations"]] == [
        ("popularity", None, None),
        ("ids", 2, None),
        ("ids", 0, None),
        ("ids", 1, None),
        ("ids", None, [2, 0, 1]),
    ]
    assert told["evaluations"][-1]["intervals"].keys() == {"hr@10", "ndcg@10", "mrr@10", "mrr"}
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_a_run_without_seeds_is_beside_those_of_seeds(done: PipelineResult, here: Path) -> None:
    (here / "alone.toml").write_text(FILE.replace("seeds = [2, 0]\n", ""))
    single = run_pipeline(Path("alone.toml"))
    assert isinstance(single.evaluations["ids"], tcf.Evaluation)
    [run] = single.runs.values()
    assert run.path.parent == here / "out/runs" and run.path.name.startswith("ids-")
    # Those of seeds are where they were.
    again = run_pipeline(here / "p.toml")
    assert {place: found.path for place, found in again.runs.items()} == {
        place: found.path for place, found in done.runs.items()
    }
    assert not any(found.trained for found in again.runs.values())
