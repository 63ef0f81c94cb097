"""What the launcher makes of the queue and of records; Slurm's commands answer what the tests write down."""

import logging
import re
from dataclasses import replace
from pathlib import Path

import pytest

from small.launch.fake_slurm import FakeSlurm
from small.launch.slurm_units import launcher_of, preparations
from tcf import __version__
from tcf.common.errors import RunError
from tcf.config.launch import LaunchConfig
from tcf.launch.launchers.slurm.batches import find_batches
from tcf.launch.units.records import Records, UnitRecord
from tcf.launch.units.unit import Unit

SLURM = LaunchConfig(launcher="slurm")


def write_record(records: Records, unit: Unit, job: str, ended: str, error: str = "") -> None:
    """What a job writes about a unit."""
    if ended == "done":
        unit.task.outputs[0].mkdir(exist_ok=True)
    [known] = [state for state in ("running", "failed", "done") if state == ended]
    records.write(UnitRecord(unit.name, unit.digest, known, 1, "node7", job, __version__, 1.0, error=error))


def test_ends_are_known_from_records(slurm: FakeSlurm, records: Records, tmp_path: Path) -> None:
    done, failed, lost = units = preparations(tmp_path, 3)
    launcher = launcher_of(records, SLURM)
    assert launcher.take(units) == units
    [submitted] = slurm.submitted()
    slurm.queue(*(f"1|{task}|R|None|{submitted.name}" for task in range(3)))
    assert launcher.ended(0.05) == []
    assert launcher.running() == [unit.name for unit in units]
    write_record(records, done, "1_0", "done")
    write_record(records, failed, "1_1", "failed", "no such file")
    ends = {end.unit: (end.ended, end.reason) for end in launcher.ended(1)}
    assert ends == {done.name: ("done", ""), failed.name: ("failed", "no such file")}

    slurm.queue()  # cancelled, say
    said = records.folder / "jobs" / submitted.name / "1_2_0_log.err"
    said.write_text("some\nslurmstepd: error: *** JOB 1 CANCELLED ***\nmore\nsrun: error: task 0: Terminated\n")
    [end] = launcher.ended(1)
    assert (end.unit, end.ended) == (lost.name, "lost")
    assert end.reason == f"its job 1_2 ended without it: slurmstepd: error: *** JOB 1 CANCELLED *** (see {said})"


def test_a_job_without_any_output_raises_the_question_of_the_folder(
    slurm: FakeSlurm, records: Records, tmp_path: Path
) -> None:
    launcher = launcher_of(records, SLURM)
    launcher.take(preparations(tmp_path, 1))
    [end] = launcher.ended(1)
    assert end.ended == "lost" and end.reason.endswith("or do not all nodes see that folder?")


def test_nothing_is_lost_while_slurm_does_not_answer(
    slurm: FakeSlurm, records: Records, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    launcher = launcher_of(records, SLURM)
    launcher.take(preparations(tmp_path, 1))
    slurm.refuses("squeue", "slurm_load_jobs error: Unable to contact slurm controller")
    assert launcher.ended(0.1) == []
    assert launcher.ended(0.1) == []
    assert caplog.text.count("Unable to contact slurm controller; asking again") == 1
    slurm.refuses("squeue", "")
    assert [end.ended for end in launcher.ended(1)] == ["lost"]


def test_records_may_be_seen_late(slurm: FakeSlurm, records: Records, tmp_path: Path) -> None:
    [unit] = units = preparations(tmp_path, 1)
    launcher = launcher_of(records, SLURM, patience=60)
    launcher.take(units)
    assert launcher.ended(0.1) == []  # the job is gone, and its record not there yet
    write_record(records, unit, "1", "done")
    assert [end.ended for end in launcher.ended(1)] == ["done"]


@pytest.mark.parametrize("is_written", [True, False])
def test_jobs_of_an_earlier_command_are_found(
    slurm: FakeSlurm, records: Records, tmp_path: Path, is_written: bool
) -> None:
    units = preparations(tmp_path, 3)
    launcher_of(records, SLURM).take(units[:2])
    [submitted] = slurm.submitted()
    if not is_written:  # the command was killed after it had submitted
        [batch] = find_batches(records)
        replace(batch, job="").write()
    slurm.queue(f"1|0|PD|(Priority)|{submitted.name}", f"1|1|R|None|{submitted.name}", "1|0|R|None|another")
    launcher = launcher_of(records, SLURM)
    changed = replace(units[1], task=replace(units[1].task, out=tmp_path / "elsewhere"))  # type: ignore[type-var]
    assert launcher.take([units[0], changed, units[2]]) == [units[0], changed, units[2]]
    assert len(slurm.submitted()) == 2
    assert [len(batch.tasks) for batch in find_batches(records) if batch.name != submitted.name] == [2]
    slurm.queue(f"1|0|R|None|{submitted.name}")
    write_record(records, units[0], "1_0", "failed", "full")
    assert [end.reason for end in launcher.ended(1) if end.unit == units[0].name] == ["full"]


@pytest.mark.parametrize("content", ["", "[]", '{"name": "x"}', '"tasks": [[{}]]'])
def test_jobs_of_a_damaged_batch_are_named(
    slurm: FakeSlurm, records: Records, tmp_path: Path, caplog: pytest.LogCaptureFixture, content: str
) -> None:
    units = preparations(tmp_path, 1)
    launcher_of(records, SLURM).take(units)
    [batch] = find_batches(records)
    slurm.queue(f"1|N/A|R|None|{batch.name}")
    tasks = re.compile(r'"tasks": .*(?=})')
    batch.file.write_text(tasks.sub(content, batch.file.read_text()) if content.startswith('"') else content)
    launcher_of(records, SLURM).take(units)
    assert f"{batch.file}: cannot be read (" in caplog.text and f"`squeue --me --name {batch.name}`" in caplog.text
    assert len(slurm.submitted()) == 2


def test_variables_of_the_user_hide_no_jobs(
    slurm: FakeSlurm, records: Records, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SQUEUE_STATES", "R")
    launcher = launcher_of(records, SLURM)
    launcher.take(preparations(tmp_path, 1))
    [submitted] = slurm.submitted()
    slurm.queue(f"1|N/A|PD|None|{submitted.name}")
    assert launcher.ended(0.05) == []


def test_ids_of_another_slurm_mean_nothing(slurm: FakeSlurm, records: Records, tmp_path: Path) -> None:
    units = preparations(tmp_path, 1)
    launcher_of(records, SLURM).take(units)
    slurm.queue("1|N/A|R|None|another")
    launcher_of(records, SLURM).take(units)
    assert len(slurm.submitted()) == 2


def test_workers_bound_the_jobs_of_a_stage(slurm: FakeSlurm, records: Records, tmp_path: Path) -> None:
    units = preparations(tmp_path, 4)
    launcher = launcher_of(records, LaunchConfig(launcher="slurm", workers=2))
    assert launcher.take(units) == units[:2]
    assert launcher.take(units[2:]) == []
    [submitted] = slurm.submitted()
    slurm.queue(f"1|1|R|None|{submitted.name}")
    write_record(records, units[0], "1_0", "done")
    assert [end.unit for end in launcher.ended(1)] == [units[0].name]
    assert launcher.take(units[2:]) == [units[2]]


def test_a_busy_slurm_is_asked_again(
    slurm: FakeSlurm, records: Records, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    one, two = preparations(tmp_path, 2)
    launcher = launcher_of(records, SLURM)
    slurm.refuses("sbatch", "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation\n")
    with pytest.raises(RunError, match="Socket timed out"):  # it has not even worked once
        launcher.take([one])
    slurm.refuses("sbatch", "")
    assert launcher.take([one]) == [one]
    slurm.refuses("sbatch", "sbatch: error: QOSMaxSubmitJobPerUserLimit\nsbatch: error: Batch job submission failed\n")
    assert launcher.take([two]) == []
    assert "QOSMaxSubmitJobPerUserLimit; Batch job submission failed" in caplog.text
    assert launcher.take([two]) == []  # without a question
    assert len(find_batches(records)) == 1


def test_jobs_left_to_slurm_are_named(
    slurm: FakeSlurm, records: Records, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    launcher = launcher_of(records, SLURM)
    launcher.close()
    assert caplog.text == ""
    launcher.take(preparations(tmp_path, 4))
    launcher.close()
    assert "left to Slurm: 2 jobs; " in caplog.text and "`scancel 1 2`" in caplog.text


def test_a_lost_job_leaves_no_lease_to_be_waited_for(slurm: FakeSlurm, records: Records, tmp_path: Path) -> None:
    own, others = units = preparations(tmp_path, 2)
    launcher = launcher_of(records, SLURM)
    launcher.take(units)
    for unit, job in ((own, "1_0"), (others, "")):
        write_record(records, unit, job, "running")
        records.lease(unit.name).write_text('{"machine": "0123456789ab", "pid": 1}')
    ends = {end.unit: end.ended for end in launcher.ended(1)}
    assert ends == {own.name: "lost", others.name: "lost"}
    assert [records.state(unit) for unit in units] == ["interrupted", "running"]


def test_what_was_accepted_is_taken_though_the_rest_is_not(slurm: FakeSlurm, records: Records, tmp_path: Path) -> None:
    units = preparations(tmp_path, 4)  # three tasks an array
    slurm.accepts(1)
    launcher = launcher_of(records, SLURM)
    assert launcher.take(units) == units[:3]
    write_record(records, units[0], "1_0", "done")
    slurm.queue(*(f"1|{task}|R|None|{slurm.submitted()[0].name}" for task in range(3)))
    assert [end.unit for end in launcher.ended(1)] == [units[0].name]


def test_a_unit_that_is_to_run_once_more_has_a_new_job(slurm: FakeSlurm, records: Records, tmp_path: Path) -> None:
    """Although Slurm has not yet taken the old one out of its queue."""
    [unit] = units = preparations(tmp_path, 1)
    launcher = launcher_of(records, SLURM)
    launcher.take(units)
    [submitted] = slurm.submitted()
    slurm.queue(f"1|N/A|CG|None|{submitted.name}")
    write_record(records, unit, "1", "done")
    assert [end.ended for end in launcher.ended(1)] == ["done"]
    records.ask_again(unit, repair=True)
    assert launcher.take(units) == units
    assert len(slurm.submitted()) == 2


def test_jobs_that_have_done_their_work_make_room_at_once(slurm: FakeSlurm, records: Records, tmp_path: Path) -> None:
    units = preparations(tmp_path, 2)
    launcher = launcher_of(records, LaunchConfig(launcher="slurm", workers=1), patience=60)
    assert launcher.take(units) == units[:1]
    [submitted] = slurm.submitted()
    slurm.queue(f"1|N/A|R|None|{submitted.name}")  # its process is about to end
    write_record(records, units[0], "1", "done")
    assert [end.ended for end in launcher.ended(1)] == ["done"]
    assert launcher.take(units[1:]) == units[1:]


def test_jobs_of_an_earlier_command_make_room_when_they_have_ended(
    slurm: FakeSlurm, records: Records, tmp_path: Path
) -> None:
    """Although nobody asks for ends meanwhile, since no unit is waited for."""
    config, units = LaunchConfig(launcher="slurm", workers=1), preparations(tmp_path, 2)
    launcher_of(records, config).take(units[:1])
    [submitted] = slurm.submitted()
    slurm.queue(f"1|N/A|R|None|{submitted.name}")
    launcher = launcher_of(records, config, patience=60)
    assert launcher.take(units[1:]) == []
    slurm.queue()
    assert launcher.take(units[1:]) == units[1:]


def test_jobs_of_an_earlier_command_are_left_to_slurm_too(
    slurm: FakeSlurm, records: Records, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    units = preparations(tmp_path, 2)
    launcher_of(records, SLURM).take(units)
    [submitted] = slurm.submitted()
    slurm.queue(*(f"1|{task}|R|None|{submitted.name}" for task in range(2)))
    write_record(records, units[0], "1_0", "done")
    launcher_of(records, SLURM).close()
    assert "`scancel 1`" in caplog.text
    caplog.clear()
    write_record(records, units[1], "1_1", "failed")
    launcher_of(records, SLURM).close()
    assert caplog.text == ""
