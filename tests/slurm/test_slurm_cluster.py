"""What goes wrong on a cluster, for real: jobs cancelled, killed, queued again, out of time, or of another version.

Minutes long, so `make test-cluster` runs it.
"""

import os
import re
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import tcf
from small.encoders.models import save_opt
from small.launch.pipelines import write_tcf
from small.launch.slurm_runs import Beside, files_of, job_of, pid_of, queue
from small.launch.slurm_units import everywhere, preparation, raw_files, small_study, training
from small.launch.waiting import wait_for
from tcf.common.files import is_published
from tcf.config.launch import LaunchConfig
from tcf.launch.launchers.slurm.batches import Batch, find_batches
from tcf.launch.launchers.slurm.slurm_launcher import SlurmLauncher
from tcf.launch.launchers.slurm.submit_all import submit_all
from tcf.launch.units.records import Records
from tcf.launch.units.run_unit import run_unit
from tcf.launch.units.unit import Unit

pytestmark = [
    pytest.mark.skipif(os.environ.get("TCF_CLUSTER") != "all", reason="takes minutes: make test-cluster"),
    pytest.mark.usefixtures("slurm"),
]

SLURM = everywhere(LaunchConfig(launcher="slurm", cpus_per_worker=1, memory="1GB", tries=2))
EPOCHS = 60
TESTS = [str(Path(__file__).parents[1])]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Raw files, a model, and the results of a small study that has run in this process."""
    folder = tmp_path_factory.mktemp("place")
    write_tcf(folder / "raw")
    save_opt(folder / "model")
    for unit in small_study(folder, folder / "local"):
        assert run_unit(unit, Records(folder / "local" / "state")).ended == "done"
    return folder


def long_training(place: Path, out: Path, epochs: int = EPOCHS) -> Unit:
    """A training of some ten seconds, of data that is there."""
    return replace(training(place / "local" / "data", place / "local" / "cache", out, epochs), needs=())


@pytest.fixture(scope="module")
def trained(place: Path) -> dict[str, bytes]:
    """The results of such a training without disturbance."""
    unit = long_training(place, place / "undisturbed" / "run")
    assert run_unit(unit, Records(place / "undisturbed" / "state")).ended == "done"
    return files_of(place / "undisturbed" / "run")


def test_a_study_has_the_bytes_of_one_on_this_machine(place: Path, tmp_path: Path) -> None:
    units, records = small_study(place, tmp_path / "out"), Records(tmp_path / "out" / "state")
    results = Beside(units, records, SLURM).results(300)
    assert (results.complete, len(results.done)) == (True, len(units))
    assert files_of(tmp_path / "out") == files_of(place / "local") != {}


def test_a_study_submitted_at_once_has_them_too(place: Path, tmp_path: Path) -> None:
    units, records = small_study(place, tmp_path / "out"), Records(tmp_path / "out" / "state")
    submission = submit_all(units, SLURM, records)
    assert set(submission.submitted) == {unit.name for unit in units}
    # Both trainings need the same, so they are one array.
    assert len({submission.submitted[f"train/run-{seed}"].split("_")[0] for seed in (0, 1)}) == 1
    again = submit_all(units, SLURM, records)
    assert again.submitted == {} and {*again.queued, *again.found} == {unit.name for unit in units}
    wait_for(lambda: not queue(), patience=300)
    assert [unit.name for unit in units if records.state(unit) != "done"] == []
    assert files_of(tmp_path / "out") == files_of(place / "local")


def test_jobs_that_are_cancelled_killed_or_queued_again(
    place: Path, trained: dict[str, bytes], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    records = Records(tmp_path / "state")
    cancelled, killed, requeued = units = [
        long_training(place, tmp_path / name / "run-0") for name in ("cancelled", "killed", "requeued")
    ]
    units = [replace(unit, name=f"train/{unit.task.outputs[0].parent.name}") for unit in units]
    cancelled, killed, requeued = units
    course = Beside(units, records, SLURM)
    for unit in units:
        course.wait_for_line(unit, "epoch 3 of")
    first = {unit.name: job_of(unit, records) for unit in units}
    subprocess.run(["scancel", first[cancelled.name]], check=True)
    os.kill(pid_of(killed, records), signal.SIGKILL)
    subprocess.run(["scontrol", "requeue", first[requeued.name]], check=True)
    results = course.results(300)

    assert set(results.done) == {unit.name for unit in units}
    assert f"{killed.name}: its process was ended by SIGKILL, perhaps because memory ran out" in caplog.text
    lost = f"{cancelled.name}: its job {first[cancelled.name]} ended without it: slurmstepd"
    assert re.search(f"{re.escape(lost)}.* CANCELLED AT ", caplog.text)
    # Only the one that Slurm queued again is the same job as before.
    assert [job_of(unit, records) == first[unit.name] for unit in units] == [False, False, True]
    assert f"{requeued.name}: " not in caplog.text.replace(f"{requeued.name}: done", "")
    for unit in units:
        assert files_of(unit.task.outputs[0]) == trained, unit.name
        assert "epoch 1 of" not in records.log(unit.name).read_text().split("try 2")[1], "it began anew"


def test_a_job_that_reaches_its_time_limit_goes_on_after_it(place: Path, tmp_path: Path) -> None:
    records = Records(tmp_path / "state")
    unit = long_training(place, tmp_path / "run-0", epochs=200)
    config = LaunchConfig(launcher="slurm", cpus_per_worker=1, time="1", partition="short")
    results = Beside([unit], records, everywhere(config), tries=1).results(580)
    assert results.complete
    record = records.read(unit.name)
    assert record is not None and record.tries > 1
    assert len(find_batches(records)) == 1
    log = records.log(unit.name).read_text()
    assert log.count("epoch 1 of") == 1 and log.count("epoch 200 of") == 1


def test_a_job_that_makes_way_for_another_goes_on_after_it(
    place: Path, trained: dict[str, bytes], tmp_path: Path
) -> None:
    records = Records(tmp_path / "state")
    unit = long_training(place, tmp_path / "run-0")
    course = Beside([unit], records, SLURM, tries=1)
    course.wait_for_line(unit, "epoch 3 of")
    urgent = ["sbatch", "--partition=urgent", "--nodes=2", "--ntasks=4", "--output=/dev/null", "--wrap=sleep 5"]
    subprocess.run(urgent, check=True)
    assert course.results(300).complete
    record = records.read(unit.name)
    assert record is not None and record.tries == 2
    assert len(find_batches(records)) == 1
    assert files_of(tmp_path / "run-0") == trained


def test_what_needs_a_unit_that_fails_is_not_left_in_the_queue(place: Path, tmp_path: Path) -> None:
    units, records = small_study(place, tmp_path / "out"), Records(tmp_path / "out" / "state")
    bad = replace(units[1], task=replace(units[1].task, model=str(tmp_path / "no-model")))  # type: ignore[type-var]
    last = replace(preparation(raw_files(tmp_path / "r"), tmp_path / "last"), needs=tuple(u.name for u in units))
    units = [units[0], bad, *units[2:], replace(last, after_failures=True)]
    submit_all(units, SLURM, records)
    wait_for(lambda: not queue(), patience=200)
    states = {unit.name: records.state(unit) for unit in units}
    assert states == {
        "prepare": "done",
        "extract": "failed",
        "evaluate/popularity": "done",
        "train/run-0": "waiting",
        "evaluate/run-0": "waiting",
        "train/run-1": "waiting",
        "evaluate/run-1": "waiting",
        "prepare/last": "done",
    }
    record = records.read("extract")
    assert record is not None and record.tries == 2, "a job tries its units itself"
    assert records.log("extract").read_text().count("failed: ") == 2


def test_what_needs_the_other_unit_of_a_shared_job_runs(tmp_path: Path) -> None:
    records, raw = Records(tmp_path / "state"), raw_files(tmp_path / "raw")
    good = preparation(raw, tmp_path / "good", minutes=1.0)
    bad = preparation(tmp_path / "no-files", tmp_path / "bad", minutes=1.0)
    after = [replace(preparation(raw, tmp_path / f"after-{one.name[8:]}"), needs=(one.name,)) for one in (good, bad)]
    submit_all([good, bad, *after], SLURM, records)
    assert sorted(len(task) for batch in find_batches(records) for task in batch.tasks) == [1, 1, 2]
    wait_for(lambda: not queue(), patience=200)
    assert [records.state(unit) for unit in (good, bad, *after)] == ["done", "failed", "done", "waiting"]


COMMAND = """
import sys
from pathlib import Path
from small.launch.slurm_units import everywhere, small_study
from tcf.config.launch import LaunchConfig
from tcf.launch.launchers.run_units import run_units
from tcf.launch.launchers.slurm.slurm_launcher import SlurmLauncher
from tcf.launch.units.records import Records

place, out = map(Path, sys.argv[1:])
records = Records(out / "state")
launch = everywhere(LaunchConfig(launcher="slurm", cpus_per_worker=1, memory="1GB", tries=2))
run_units(small_study(place, out, epochs=40), records, SlurmLauncher(launch, records, poll=0.5), tries=2)
"""


def test_a_command_that_was_killed_goes_on_with_what_is_missing(place: Path, tmp_path: Path) -> None:
    out, records = tmp_path / "out", Records(tmp_path / "out" / "state")
    units = small_study(place, out, epochs=40)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(tcf.__file__).parents[1]), *TESTS])}
    with subprocess.Popen([sys.executable, "-c", COMMAND, place, out], env=environment) as command:
        wait_for(lambda: records.state(units[3]) == "running" and len(find_batches(records)) == 4, patience=200)
        command.kill()
    before = find_batches(records)
    results = Beside(units, records, SLURM).results(300)
    assert results.complete
    assert set(results.found) >= {"prepare", "extract"}
    # What had been submitted was waited for; only evaluations are new.
    new = {batch.name: batch.stage for batch in find_batches(records) if batch not in before}
    assert set(new.values()) == {"evaluate"}
    assert [record.tries for unit in units if (record := records.read(unit.name)) is not None] == [1] * len(units)


def test_a_job_of_another_version_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    records = Records(tmp_path / "state")
    unit = preparation(raw_files(tmp_path / "raw"), tmp_path / "d")
    write = Batch.write
    monkeypatch.setattr(Batch, "write", lambda batch: write(replace(batch, version="0.0.1")))
    launcher = SlurmLauncher(SLURM, records, poll=0.5)
    assert launcher.take([unit]) == [unit]
    [end] = launcher.ended(60)
    assert end.ended == "failed"
    assert "expected tcf 0.0.1, which submitted the job, found " in end.reason and sys.executable in end.reason
    assert not is_published(tmp_path / "d")


def test_one_training_runs_on_two_nodes(place: Path, tmp_path: Path) -> None:
    records = Records(tmp_path / "state")
    data, cache = place / "local" / "data", place / "local" / "cache"
    unit = replace(training(data, cache, tmp_path / "run"), needs=())
    config = LaunchConfig(launcher="slurm", cpus_per_worker=1, nodes_per_worker=2)
    results = Beside([unit], records, everywhere(config), tries=1).results(200)
    assert results.complete, results
    [batch] = find_batches(records)
    assert batch.stderr(0).exists() and batch.stderr(0).with_name(f"{batch.job}_1_log.err").exists()
    record = records.read(unit.name)
    assert record is not None and (record.tries, record.ended) == (1, "done")
    # The same as two processes of one machine.
    alone = training(data, cache, tmp_path / "alone", devices="cpu,cpu")
    assert run_unit(alone, Records(tmp_path / "alone-state")).ended == "done"
    assert files_of(tmp_path / "run") == files_of(tmp_path / "alone") != {}
