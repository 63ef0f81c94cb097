"""The status of a study, from records and leases alone."""

import dataclasses
import io
import time
from pathlib import Path

import pytest

from small.launch.study_here import make_study
from tcf.common.errors import ConfigError
from tcf.common.lease_file import acquire
from tcf.launch.study.status.shown import shown_line, shown_status
from tcf.launch.study.status.started import claimed, note_start, read_started
from tcf.launch.study.status.status import StudyStatus, read_status
from tcf.launch.study.status.watch import open_status, watch_status
from tcf.launch.study.study import Study
from tcf.launch.units.records import Records
from tcf.launch.units.unit import Unit


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return make_study(tmp_path, seeds=(0, 1))


def status_of(study: Study) -> StudyStatus:
    return read_status(study.out, study.units, read_started(study.out))


def ended(study: Study, unit: Unit, *, seconds: float, error: str = "") -> None:
    """As if a unit had run."""
    records = Records(study.state)
    record = dataclasses.replace(records.begin(unit, ""), ended="failed" if error else "done", seconds=seconds)
    records.write(dataclasses.replace(record, error=error))
    if not error:
        for out in unit.task.outputs:
            out.mkdir(parents=True)
            (out / "manifest.json").touch()


def begun(study: Study, unit: Unit, job: str = "") -> None:
    """As if this process ran it."""
    records = Records(study.state)
    records.begin(unit, job)
    records.log(unit.name).parent.mkdir(parents=True, exist_ok=True)
    records.log(unit.name).write_text("try 1\ntrain: epoch 3 of at most 9: loss 4.1\n\n")
    assert acquire(records.lease(unit.name))


def named(study: Study, name: str) -> Unit:
    return next(unit for unit in study.units if unit.name == name)


def test_before_the_start_everything_waits_and_nothing_is_written(study: Study) -> None:
    before = sorted(study.out.parent.rglob("*"))
    status = status_of(study)
    assert {unit.state for unit in status.units} == {"waiting"}
    assert (status.activity, status.complete, status.ended, status.seconds_left) == ("ended", False, True, None)
    assert "not started" in shown_status(status) and "time left unknown" in shown_status(status)
    assert sorted(study.out.parent.rglob("*")) == before


def test_what_runs_what_failed_and_what_is_left(study: Study) -> None:
    ended(study, named(study, "evaluate/toy/popularity"), seconds=2.0)
    ended(study, named(study, "train/toy/ids-4/seed-0"), seconds=100.0)
    ended(study, named(study, "train/toy/ids-4/seed-1"), seconds=3.0, error="the loss is not finite")
    begun(study, named(study, "train/toy/ids-8/seed-0"), job="17_3")
    Records(study.state).begin(named(study, "train/toy/ids-8/seed-1"), "")  # by a process that has died
    with claimed(study):
        note_start(study, [])
        status = status_of(study)
    states = {unit.unit.name: unit.state for unit in status.units}
    assert states == {
        "evaluate/toy/popularity": "done",
        "train/toy/ids-4/seed-0": "done",
        "evaluate/toy/ids-4/seed-0": "waiting",
        "train/toy/ids-4/seed-1": "failed",
        "evaluate/toy/ids-4/seed-1": "waiting",
        "train/toy/ids-8/seed-0": "running",
        "evaluate/toy/ids-8/seed-0": "waiting",
        "train/toy/ids-8/seed-1": "interrupted",
        "evaluate/toy/ids-8/seed-1": "waiting",
        "compare": "waiting",
    }
    assert not status.ended
    shown = shown_status(status)
    lines = shown.splitlines()
    assert lines[0].startswith(f"{study.out}: running, process ")
    assert lines[1].split() == ["stage", "done", "running", "waiting", "interrupted", "failed"]
    assert [line.split() for line in lines[2:6]] == [
        ["train", "1", "1", "-", "1", "1"],
        ["evaluate", "1", "-", "4", "-", "-"],
        ["compare", "-", "-", "1", "-", "-"],
        ["all", "2", "1", "5", "1", "1"],
    ]
    [running] = [line for line in lines if "train/toy/ids-8/seed-0" in line]
    assert ", job 17_3, since " in running and running.endswith("try 1): train: epoch 3 of at most 9: loss 4.1")
    [failed] = [line for line in lines if "train/toy/ids-4/seed-1" in line]
    assert "the loss is not finite (see " in failed
    assert shown_line(status).startswith("study: 2 done, 1 running, 5 waiting, 1 interrupted, 1 failed of 10 units")


def test_the_time_left_is_that_of_finished_units_of_the_stage(study: Study) -> None:
    trainings = [unit for unit in study.units if unit.stage == "train"]
    evaluations = [unit for unit in study.units if unit.stage == "evaluate"]
    ended(study, trainings[0], seconds=600.0)
    ended(study, evaluations[0], seconds=60.0)
    only = [unit for unit in study.units if unit.stage != "compare"]

    def left(units: list[Unit]) -> float | None:
        return read_status(study.out, units, None).seconds_left

    # Three trainings and four evaluations, one after the other.
    assert left(only) == pytest.approx(3 * 600 + 4 * 60)
    assert left([*study.units]) is None  # nobody knows how long the comparison takes
    assert left([*only, dataclasses.replace(study.units[-1], minutes=2.0)]) == pytest.approx(3 * 600 + 4 * 60 + 120)
    begun(study, trainings[1])
    begun(study, trainings[2])
    found = left(only)
    assert found is not None and (3 * 600 + 4 * 60) / 2 - 30 < found <= (3 * 600 + 4 * 60) / 2


def test_a_status_by_the_folder_is_of_what_was_begun(study: Study) -> None:
    with pytest.raises(ConfigError, match=r"out: expected the folder of a study, found none.*name the study's file"):
        study.out.mkdir()
        open_status(study.out)()
    note_start(dataclasses.replace(study, options=("--launcher", "slurm")), ["train.epochs=1"])
    status = open_status(study.out)()
    assert [unit.unit for unit in status.units] == [*study.units]
    again = f"tcf study {study.path} --set train.epochs=1 --launcher slurm"
    assert f"stopped; `{again}` goes on" in shown_status(status)


def test_watching_ends_when_all_is_done_or_nobody_is_at_it(study: Study) -> None:
    shown = io.StringIO()
    assert watch_status(lambda: status_of(study), shown, seconds=0.01).ended
    assert shown.getvalue() == shown_status(status_of(study)) + "\n"
    looks = []

    def read() -> StudyStatus:
        looks.append(time.monotonic())
        if len(looks) == 3:
            for unit in study.units:
                ended(study, unit, seconds=1.0)
        return status_of(study)

    shown = io.StringIO()
    with claimed(study):
        last = watch_status(read, shown, seconds=0.01)
    assert last.complete and len(looks) == 3
    first, *_, end = shown.getvalue().splitlines()
    assert first.startswith("study: 10 waiting of 10 units, time left unknown") and end == "all done"


def test_submitted_jobs_are_waited_for(study: Study) -> None:
    note_start(study, [], "submitted")
    assert status_of(study).activity == "submitted" and not status_of(study).ended
    assert "handed to the scheduler" in shown_status(status_of(study))
    for unit in study.units:
        if "ids-8/seed-1" not in unit.name:
            ended(study, unit, seconds=1.0)
    assert not status_of(study).ended
    # Its evaluation will never run: Slurm has dropped the job.
    ended(study, named(study, "train/toy/ids-8/seed-1"), seconds=1.0, error="disk full")
    assert status_of(study).ended and not status_of(study).complete
    assert f"stopped; `tcf study {study.path} --detach` goes on" in shown_status(status_of(study))
    for name in ("train/toy/ids-8/seed-1", "evaluate/toy/ids-8/seed-1"):
        ended(study, named(study, name), seconds=1.0)
    assert f"{study.out}: done" in shown_status(status_of(study))


@pytest.mark.parametrize("damage", [b"", b'{"file": 1}', b"\xff[[["])
def test_a_damaged_note_is_as_none(study: Study, damage: bytes) -> None:
    ended(study, named(study, "evaluate/toy/popularity"), seconds=2.0)
    with claimed(study):
        note_start(study, [])
    (study.out / "state" / "study.json").write_bytes(damage)
    assert read_started(study.out) is None
    assert len(status_of(study).of_state("done")) == 1
    with pytest.raises(ConfigError, match="name the study's file"):
        open_status(study.out)()
