"""What Slurm is asked for, and what is made of its refusals; its commands note what they are asked."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from small.launch.fake_slurm import FakeSlurm
from small.launch.slurm_units import launcher_of, preparations
from tcf.common.errors import ConfigError
from tcf.config.launch import LaunchConfig
from tcf.launch.launchers.slurm.batches import find_batches
from tcf.launch.units.records import Records

SLURM = LaunchConfig(launcher="slurm")


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
    launcher_of(records, config).take(preparations(tmp_path, 5))
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
    launcher_of(records, SLURM).take(preparations(tmp_path, 1))
    [submitted] = slurm.submitted()
    assert [line for line in submitted.script.splitlines() if line.startswith("# SLURM")] == ["# SLURM_CONF=7"]
    assert f"export PYTHONPATH='{tmp_path}/a b'\n" in submitted.script
    assert os.environ["SLURM_MEM_PER_CPU"] == "7"


def test_variables_of_the_user_replace_no_setting(
    slurm: FakeSlurm, records: Records, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Slurm would let them win over the job's script; those of what is not set are the user's defaults."""
    for name in ("ACCOUNT", "CONSTRAINT", "JOB_NAME", "MEM_PER_CPU", "PARTITION", "RESERVATION"):
        monkeypatch.setenv(f"SBATCH_{name}", "x")
    config = replace(SLURM, partition="p", memory="1GB", sbatch=("constraint=a100",))
    launcher_of(records, config).take(preparations(tmp_path, 1))
    [submitted] = slurm.submitted()
    seen = {line for line in submitted.script.splitlines() if line.startswith("# SBATCH_")}
    assert seen == {"# SBATCH_ACCOUNT=x", "# SBATCH_RESERVATION=x"}
    assert os.environ["SBATCH_PARTITION"] == "x"


def test_the_scheduler_may_allow_smaller_arrays(slurm: FakeSlurm, records: Records, tmp_path: Path) -> None:
    slurm.configuration("SchedulerParameters     = bf_interval=5,max_array_tasks=2,sched_interval=5")
    launcher_of(records, SLURM).take(preparations(tmp_path, 3))
    assert [len(batch.tasks) for batch in find_batches(records)].count(2) == 1


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
        launcher_of(records, SLURM).take(preparations(tmp_path, 1))
    assert str(caught.value) == f"Slurm: expected the job to be accepted, found: {said}; change {option}"


def test_short_units_share_a_job(slurm: FakeSlurm, records: Records, tmp_path: Path) -> None:
    config = LaunchConfig(launcher="slurm", pack_minutes=10)
    units = [replace(unit, minutes=minutes) for unit, minutes in zip(preparations(tmp_path, 6), MINUTES, strict=True)]
    launcher_of(records, config).take(units)
    packs = [[unit["name"] for unit in task] for batch in find_batches(records) for task in batch.tasks]
    names = [unit.name for unit in units]
    expected = [[names[0], names[3]], [names[1]], [names[2]], [names[4], names[5]]]
    assert sorted(packs) == sorted(expected)
    assert sorted(submitted.option("array") or "" for submitted in slurm.submitted()) == ["", "0-2%3"]


MINUTES = (6.0, None, 10.0, 5.0, 1.0, 2.0)


@pytest.mark.usefixtures("slurm")
def test_a_folder_that_slurm_would_rename_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="expected a path without %"):
        launcher_of(Records(tmp_path / "50%j"), SLURM).take(preparations(tmp_path, 1))


def test_missing_commands_are_named(records: Records, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match="found no sbatch, srun, squeue, scontrol on the PATH"):
        launcher_of(records, SLURM)
