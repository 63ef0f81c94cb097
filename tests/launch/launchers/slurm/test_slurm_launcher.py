"""What the launcher makes of the queue and of records; Slurm's commands answer what the tests write down."""

import logging
import os
from dataclasses import replace
from pathlib import Path

import pytest

from small.launch.fake_slurm import FakeSlurm
from small.launch.slurm_units import everywhere, preparation
from tcf import __version__
from tcf.common.errors import ConfigError, RunError
from tcf.config.launch import LaunchConfig
from tcf.launch.launchers.slurm.batches import find_batches
from tcf.launch.launchers.slurm.slurm_launcher import SlurmLauncher
from tcf.launch.units.records import Records, UnitRecord
from tcf.launch.units.unit import Unit

SLURM = LaunchConfig(launcher="slurm")


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSlurm:
    return FakeSlurm.installed(tmp_path / "bin", monkeypatch)


@pytest.fixture
def records(tmp_path: Path) -> Records:
    return Records(tmp_path / "state")


def units_of(tmp_path: Path, number: int, minutes: float | None = None) -> list[Unit]:
    return [preparation(tmp_path / "raw", tmp_path / f"d{i}", minutes) for i in range(number)]


def opened(records: Records, config: LaunchConfig = SLURM, patience: float = 0.0) -> SlurmLauncher:
    return SlurmLauncher(everywhere(config), records, poll=0.0, patience=patience)


def write_record(records: Records, unit: Unit, job: str, ended: str, error: str = "") -> None:
    """What a job writes about a unit."""
    if ended == "done":
        unit.task.outputs[0].mkdir(exist_ok=True)
    [known] = [state for state in ("running", "failed", "done") if state == ended]
    records.write(UnitRecord(unit.name, unit.digest, known, 1, "node7", job, __version__, 1.0, error=error))


def test_resources_are_asked_for_in_slurms_words(slurm: FakeSlurm, records: Records, tmp_path: Path) -> None:
    config = LaunchConfig(
        launcher="slurm",
        gpus_per_worker=2,
        cpus_per_worker=3,
        memory="1.5GB",
        time="1:30:00",
        partition="p",
        account="a",
        qos="q",
        workers=2,
        sbatch=("constraint=a100|h100", "exclusive"),
    )
    opened(records, config).take(units_of(tmp_path, 5))
    [submitted] = slurm.submitted()
    asked = {
        "gpus-per-node": "2",
        "cpus-per-task": "3",
        "mem": "1536M",
        "time": "90",
        "partition": "p",
        "account": "a",
        "qos": "q",
        "array": "0-1%2",
        "constraint": "'a100|h100'",
        "nodes": "1",
        "ntasks-per-node": "1",
        "signal": "USR2@90",
        "wckey": None,
        "dependency": None,
    }
    assert {name: submitted.option(name) for name in asked} == asked
    assert "#SBATCH --exclusive\n" in submitted.script and "#SBATCH --requeue\n" in submitted.script
    # Slurm gives a step one core of several unless it is told.
    assert "srun --unbuffered" in submitted.script and " --cpus-per-task=3 " in submitted.script


def test_the_job_of_this_process_is_not_handed_on(
    slurm: FakeSlurm, records: Records, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("SLURM_JOB_ID", "SLURM_MEM_PER_CPU", "SLURM_CONF"):
        monkeypatch.setenv(name, "7")
    monkeypatch.setenv("PYTHONPATH", "a b")
    monkeypatch.chdir(tmp_path)
    opened(records).take(units_of(tmp_path, 1))
    [submitted] = slurm.submitted()
    assert [line for line in submitted.script.splitlines() if line.startswith("# SLURM")] == ["# SLURM_CONF=7"]
    assert f"export PYTHONPATH='{tmp_path}/a b'\n" in submitted.script
    assert os.environ["SLURM_MEM_PER_CPU"] == "7"


def test_ends_are_known_from_records(slurm: FakeSlurm, records: Records, tmp_path: Path) -> None:
    done, failed, lost = units = units_of(tmp_path, 3)
    launcher = opened(records)
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
    launcher = opened(records)
    launcher.take(units_of(tmp_path, 1))
    [end] = launcher.ended(1)
    assert end.ended == "lost" and end.reason.endswith("do all nodes see that folder?")


def test_nothing_is_lost_while_slurm_does_not_answer(
    slurm: FakeSlurm, records: Records, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    launcher = opened(records)
    launcher.take(units_of(tmp_path, 1))
    slurm.refuses("squeue", "slurm_load_jobs error: Unable to contact slurm controller")
    assert launcher.ended(0.1) == []
    assert launcher.ended(0.1) == []
    assert caplog.text.count("Unable to contact slurm controller; asking again") == 1
    slurm.refuses("squeue", "")
    assert [end.ended for end in launcher.ended(1)] == ["lost"]


def test_records_may_be_seen_late(slurm: FakeSlurm, records: Records, tmp_path: Path) -> None:
    [unit] = units = units_of(tmp_path, 1)
    launcher = opened(records, patience=60)
    launcher.take(units)
    assert launcher.ended(0.1) == []  # the job is gone, and its record not there yet
    write_record(records, unit, "1", "done")
    assert [end.ended for end in launcher.ended(1)] == ["done"]


@pytest.mark.parametrize("is_written", [True, False])
def test_jobs_of_an_earlier_command_are_found(
    slurm: FakeSlurm, records: Records, tmp_path: Path, is_written: bool
) -> None:
    units = units_of(tmp_path, 3)
    opened(records).take(units[:2])
    [submitted] = slurm.submitted()
    if not is_written:  # the command was killed after it had submitted
        [batch] = find_batches(records)
        replace(batch, job="").write()
    slurm.queue(f"1|0|PD|(Priority)|{submitted.name}", f"1|1|R|None|{submitted.name}", "1|0|R|None|another")
    launcher = opened(records)
    changed = replace(units[1], task=replace(units[1].task, out=tmp_path / "elsewhere"))  # type: ignore[type-var]
    assert launcher.take([units[0], changed, units[2]]) == [units[0], changed, units[2]]
    assert len(slurm.submitted()) == 2
    assert [len(batch.tasks) for batch in find_batches(records) if batch.name != submitted.name] == [2]
    slurm.queue(f"1|0|R|None|{submitted.name}")
    write_record(records, units[0], "1_0", "failed", "full")
    assert [end.reason for end in launcher.ended(1) if end.unit == units[0].name] == ["full"]


def test_ids_of_another_slurm_mean_nothing(slurm: FakeSlurm, records: Records, tmp_path: Path) -> None:
    units = units_of(tmp_path, 1)
    opened(records).take(units)
    slurm.queue("1|N/A|R|None|another")
    opened(records).take(units)
    assert len(slurm.submitted()) == 2


def test_workers_bound_the_jobs_of_a_stage(slurm: FakeSlurm, records: Records, tmp_path: Path) -> None:
    units = units_of(tmp_path, 4)
    launcher = opened(records, LaunchConfig(launcher="slurm", workers=2))
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
    one, two = units_of(tmp_path, 2)
    launcher = opened(records)
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


@pytest.mark.parametrize(
    ("said", "option"),
    [
        ("Invalid account or account/partition combination specified", "--account"),
        ("Invalid qos specification", "--qos"),
        ("Requested time limit is invalid (missing or exceeds some limit)", "--time"),
        ("Memory specification can not be satisfied", "--memory"),
        ("CPU count per node can not be satisfied", "--cpus-per-worker"),
        ("Node count specification invalid", "--nodes-per-worker"),
        ("something new", "the options for jobs of Slurm"),
    ],
)
def test_a_refusal_names_the_option(slurm: FakeSlurm, records: Records, tmp_path: Path, said: str, option: str) -> None:
    slurm.refuses("sbatch", f"sbatch: error: {said}\n")
    with pytest.raises(ConfigError) as caught:
        opened(records).take(units_of(tmp_path, 1))
    assert str(caught.value) == f"Slurm: expected the job to be accepted, found: {said}; change {option}"


def test_short_units_share_a_job(slurm: FakeSlurm, records: Records, tmp_path: Path) -> None:
    config = LaunchConfig(launcher="slurm", pack_minutes=10)
    units = [replace(unit, minutes=minutes) for unit, minutes in zip(units_of(tmp_path, 6), MINUTES, strict=True)]
    opened(records, config).take(units)
    packs = [[unit["name"] for unit in task] for batch in find_batches(records) for task in batch.tasks]
    names = [unit.name for unit in units]
    expected = [[names[0], names[3]], [names[1]], [names[2]], [names[4], names[5]]]
    assert sorted(packs) == sorted(expected)
    assert sorted(submitted.option("array") or "" for submitted in slurm.submitted()) == ["", "0-2%3"]


MINUTES = (6.0, None, 10.0, 5.0, 1.0, 2.0)


@pytest.mark.usefixtures("slurm")
def test_a_folder_that_slurm_would_rename_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="expected a path without %"):
        opened(Records(tmp_path / "50%j")).take(units_of(tmp_path, 1))


def test_missing_commands_are_named(records: Records, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match="found no sbatch, srun, squeue, scontrol on the PATH"):
        opened(records)


def test_jobs_left_to_slurm_are_named(
    slurm: FakeSlurm, records: Records, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    launcher = opened(records)
    launcher.close()
    assert caplog.text == ""
    launcher.take(units_of(tmp_path, 4))
    launcher.close()
    assert "left to Slurm: 2 jobs; " in caplog.text and "`scancel 1 2`" in caplog.text


def test_a_lost_job_leaves_no_lease_to_be_waited_for(slurm: FakeSlurm, records: Records, tmp_path: Path) -> None:
    own, others = units = units_of(tmp_path, 2)
    launcher = opened(records)
    launcher.take(units)
    for unit, job in ((own, "1_0"), (others, "")):
        write_record(records, unit, job, "running")
        records.lease(unit.name).write_text('{"machine": "0123456789ab", "pid": 1}')
    ends = {end.unit: end.ended for end in launcher.ended(1)}
    assert ends == {own.name: "lost", others.name: "lost"}
    assert [records.state(unit) for unit in units] == ["interrupted", "running"]


def test_a_unit_that_is_to_run_once_more_has_a_new_job(slurm: FakeSlurm, records: Records, tmp_path: Path) -> None:
    """Although Slurm has not yet taken the old one out of its queue."""
    [unit] = units = units_of(tmp_path, 1)
    launcher = opened(records)
    launcher.take(units)
    [submitted] = slurm.submitted()
    slurm.queue(f"1|N/A|CG|None|{submitted.name}")
    write_record(records, unit, "1", "done")
    assert [end.ended for end in launcher.ended(1)] == ["done"]
    records.ask_again(unit, repair=True)
    assert launcher.take(units) == units
    assert len(slurm.submitted()) == 2


def test_jobs_that_have_done_their_work_make_room_at_once(slurm: FakeSlurm, records: Records, tmp_path: Path) -> None:
    units = units_of(tmp_path, 2)
    launcher = opened(records, LaunchConfig(launcher="slurm", workers=1), patience=60)
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
    config, units = LaunchConfig(launcher="slurm", workers=1), units_of(tmp_path, 2)
    opened(records, config).take(units[:1])
    [submitted] = slurm.submitted()
    slurm.queue(f"1|N/A|R|None|{submitted.name}")
    launcher = opened(records, config, patience=60)
    assert launcher.take(units[1:]) == []
    slurm.queue()
    assert launcher.take(units[1:]) == units[1:]


def test_jobs_of_an_earlier_command_are_left_to_slurm_too(
    slurm: FakeSlurm, records: Records, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    units = units_of(tmp_path, 2)
    opened(records).take(units)
    [submitted] = slurm.submitted()
    slurm.queue(*(f"1|{task}|R|None|{submitted.name}" for task in range(2)))
    write_record(records, units[0], "1_0", "done")
    opened(records).close()
    assert "`scancel 1`" in caplog.text
    caplog.clear()
    write_record(records, units[1], "1_1", "failed")
    opened(records).close()
    assert caplog.text == ""
