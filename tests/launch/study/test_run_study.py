"""Running a study made by hand, in this process: results, failures, and going on."""

import csv
import dataclasses
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from small.launch.study_here import EVALUATE, Opener, make_study
from tcf.common.errors import RunError
from tcf.config.train import TrainConfig
from tcf.evaluate.seeds import SeedEvaluations
from tcf.launch.study.results import write_results
from tcf.launch.study.results.study_result import StudyResult
from tcf.launch.study.run_study import run_study
from tcf.launch.study.status.started import note_start, read_started
from tcf.launch.study.study import Study
from tcf.launch.units.records import Records
from tcf.launch.units.tasks import EvaluateTask, TrainTask

NAMES = ["popularity", "ids-4", "ids-8"]


def run(study: Study, opener: Opener | None = None) -> StudyResult:
    """Run a study whose file is made by hand, and so is no file."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(write_results, "write_results", lambda _file, _overrides: write_results.write_results_of(study))
        return run_study(study, opener=opener or Opener())


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StudyResult]:
    yield run(make_study(tmp_path_factory.mktemp("study")))


def test_results_have_a_row_for_each_seed_and_one_for_the_mean(finished: StudyResult) -> None:
    rows = finished.results.to_pylist()
    assert [(row["setting"], row["seed"], row["seeds"]) for row in rows] == [
        ("popularity", "mean", 1),
        *((name, seed, n) for name in NAMES[1:] for seed, n in (("0", 1), ("1", 1), ("mean", 2))),
    ]
    of_4 = rows[1:4]
    assert of_4[2]["hr@10"] == pytest.approx((of_4[0]["hr@10"] + of_4[1]["hr@10"]) / 2)
    mean = finished.evaluations["toy/ids-4"]
    assert isinstance(mean, SeedEvaluations)
    assert (of_4[2]["hr@10_low"], of_4[2]["hr@10_high"]) == mean.intervals["hr@10"]
    # That of one seed is over users alone, as its evaluation has it.
    assert (of_4[0]["mrr_low"], of_4[0]["mrr_high"]) == mean.first.intervals["mrr"]
    assert {row["width"] for row in of_4} == {4} and {row["encoder"] for row in rows} == {None}
    assert of_4[2]["recommender_parameters"] < rows[-1]["recommender_parameters"]
    assert all(row["train_seconds"] > 0 for row in rows[1:])
    assert {row["users"] for row in rows} == {60}


def test_the_same_rows_are_in_both_files_and_say_where_they_come_from(finished: StudyResult) -> None:
    with (finished.path / "results.csv").open() as stream:
        in_csv = list(csv.DictReader(stream))
    rows = finished.results.to_pylist()
    assert [row["hr@10"] for row in rows] == [float(row["hr@10"]) for row in in_csv]
    assert [*in_csv[0]] == finished.results.column_names
    about = json.loads(pq.read_schema(finished.path / "results.parquet").metadata[b"tcf.study"])
    evaluation = finished.evaluations["toy/popularity"]
    assert about["evaluations"]["toy/popularity"] == evaluation.manifest.fingerprint  # type: ignore[union-attr]
    assert about["missing"] == 0 and about["file"] == str(finished.study.path)


def test_settings_are_compared(finished: StudyResult) -> None:
    comparison = finished.comparisons["toy"]
    assert [row["ranking"] for row in comparison["means"] if row["metric"] == "hr@10"] == NAMES
    assert {row["metric"] for row in comparison["differences"]} == {"hr@10", "ndcg@10"}
    assert (finished.path / "comparisons/toy.csv").read_text().count("\n") == 1 + 2 * 3
    head, *lines = finished.summary().splitlines()[1:5]
    assert head.split()[:4] == ["ranking", "seeds", "hr@10", "ndcg@10"] and " alike" in finished.summary()
    assert [line.split()[:2] for line in lines] == [["popularity", "1"], ["ids-4", "2"], ["ids-8", "2"]]


def test_again_nothing_is_done(finished: StudyResult) -> None:
    before = {path: path.stat().st_mtime_ns for path in finished.path.rglob("*") if path.suffix != ".json"}
    opener = Opener()
    again = run(finished.study, opener)
    assert opener.taken == [] and again.problem == ""
    assert again.results.equals(finished.results)
    after = {path: path.stat().st_mtime_ns for path in finished.path.rglob("*") if path.suffix != ".json"}
    assert {path for path in before if path.is_file() and after[path] != before[path]} == set()


def test_after_a_failure_the_others_are_in_the_results_and_later_all(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = make_study(tmp_path, seeds=(0,))
    broken = tmp_path / "out/runs/toy/ids-4/seed-0"
    broken.mkdir(parents=True)
    (broken / "notes.txt").write_text("not a run")
    failed = run(study)
    assert [*failed.failed] == ["train/toy/ids-4/seed-0"]
    assert failed.left == ("evaluate/toy/ids-4/seed-0",)
    assert [row["setting"] for row in failed.results.to_pylist()] == ["popularity", "ids-8", "ids-8"]
    with pytest.raises(RunError, match=r"1 of 6 units failed.* run `tcf study .*study\.toml`"):
        failed.check()
    shutil.rmtree(broken)
    opener = Opener()
    mended = run(study, opener)
    mended.check()
    assert opener.taken == ["train/toy/ids-4/seed-0", "evaluate/toy/ids-4/seed-0", "compare"]
    assert [row["setting"] for row in mended.results.to_pylist()][1:3] == ["ids-4", "ids-4"]


def test_an_error_speaks_of_the_file(tmp_path: Path) -> None:
    study = make_study(tmp_path, seeds=(0,), widths=(4,))
    units = [
        dataclasses.replace(unit, task=_diverging(unit.task)) if isinstance(unit.task, TrainTask) else unit
        for unit in study.units
    ]
    done = run(dataclasses.replace(study, units=tuple(units)))
    [reason] = done.failed.values()
    assert "--" not in reason and "study.toml: [train]" in reason


def _diverging(task: TrainTask) -> TrainTask:
    config = TrainConfig(items="id", width=4, epochs=1, devices="cuda:99", batch_size=16)
    return dataclasses.replace(task, config=config)


def test_files_that_tcf_did_not_write_stay(tmp_path: Path) -> None:
    study = make_study(tmp_path, seeds=(0,), widths=(4,))
    (tmp_path / "out").mkdir()
    (tmp_path / "out/results.csv").write_text("my,own\n")
    done = run(study)
    assert [*done.failed] == ["compare"] and "results.csv" in done.failed["compare"]
    assert (tmp_path / "out/results.csv").read_text() == "my,own\n"


HOLD = """
import sys
from pathlib import Path
from tcf.common.lease_file import acquire
print(acquire(Path(sys.argv[1])), flush=True)
sys.stdin.read()
"""


def test_a_second_command_is_told_who_is_at_it_until_that_one_has_died(tmp_path: Path) -> None:
    study = make_study(tmp_path, seeds=(0,), widths=(4,))
    note_start(study, ["out=x"])
    started = read_started(study.out)
    assert started is not None and started.units == study.units and started.overrides == ("out=x",)
    words = [sys.executable, "-c", HOLD, str(study.out / ".study.claim")]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None and other.stdout.readline() == "True\n"
        with pytest.raises(RunError, match=r"no other command at this study, found process \d+ on .*--watch"):
            run(study)
        other.kill()
    assert run(study).problem == ""


def test_without_intervals_nothing_is_compared(tmp_path: Path) -> None:
    study = make_study(tmp_path, seeds=(0,), widths=(4,))
    evaluate = dataclasses.replace(EVALUATE, resamples=0)
    units = [
        dataclasses.replace(unit, task=dataclasses.replace(unit.task, config=evaluate))
        if isinstance(unit.task, EvaluateTask)
        else unit
        for unit in study.units
    ]
    done = run(dataclasses.replace(study, units=tuple(units), evaluate=evaluate))
    assert done.problem == "" and done.comparisons == {}
    assert done.results["hr@10_low"].null_count == len(done.results)
    assert "intervals:" not in done.summary()
    assert Records(study.state).state(study.units[0]) == "waiting"  # of other settings
