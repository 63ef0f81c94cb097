"""Units as jobs of a real Slurm: arrays are cut, short units are packed, and what is done is done once."""

import subprocess
from pathlib import Path

import pytest

from small.launch.slurm_units import everywhere, preparation, raw_files
from small.launch.waiting import wait_for
from tcf.common.errors import ConfigError
from tcf.common.files import is_published
from tcf.config.launch import LaunchConfig
from tcf.launch.launchers.run_units import run_units
from tcf.launch.launchers.slurm.batches import find_batches
from tcf.launch.launchers.slurm.slurm_launcher import SlurmLauncher
from tcf.launch.units.records import Records

SLURM = everywhere(LaunchConfig(launcher="slurm", memory="1GB", cpus_per_worker=1))


def launcher(records: Records) -> SlurmLauncher:
    """A launcher that looks often."""
    return SlurmLauncher(SLURM, records, poll=0.3, patience=3.0)


@pytest.mark.usefixtures("slurm")
def test_units_run_in_arrays_and_packs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # What a user may have set must not hide the jobs or rename them, nor keep the job's variables from its process.
    for name, value in {"SQUEUE_STATES": "CG", "SBATCH_JOB_NAME": "other", "SBATCH_EXPORT": "NONE"}.items():
        monkeypatch.setenv(name, value)
    raw = raw_files(tmp_path / "a folder" / "raw")
    alone = [preparation(raw, tmp_path / "a folder" / f"alone-{number}") for number in range(5)]
    short = [preparation(raw, tmp_path / "a folder" / f"short-{number}", minutes=1.0) for number in range(2)]
    units, records = [*alone, *short], Records(tmp_path / "a folder" / "state")

    results = run_units(units, records, launcher(records), tries=1)

    assert (set(results.done), results.complete) == ({unit.name for unit in units}, True)
    batches = find_batches(records)
    # Six tasks, of which an array has five at most; the two short units are one task.
    assert sorted(len(batch.tasks) for batch in batches) == [1, 5]
    assert sorted(len(task) for batch in batches for task in batch.tasks) == [1, 1, 1, 1, 1, 2]
    jobs = {unit.name: records.read(unit.name) for unit in units}
    assert len({record.job for record in jobs.values() if record is not None}) == 6
    assert all(is_published(unit.task.outputs[0]) for unit in units)

    again = run_units(units, records, launcher(records), tries=1)
    assert (again.done, len(again.found), len(find_batches(records))) == ((), 7, 2)


@pytest.mark.usefixtures("slurm")
def test_what_slurm_refuses_is_said_in_its_words(tmp_path: Path) -> None:
    unit = preparation(tmp_path, tmp_path / "d")
    refused = {
        "--partition": LaunchConfig(launcher="slurm", partition="nosuch"),
        "--sbatch": LaunchConfig(launcher="slurm", sbatch=("nosuch=1",)),
        "--gpus-per-worker": LaunchConfig(launcher="slurm", gpus_per_worker=1),
    }
    for option, config in refused.items():
        records = Records(tmp_path / "state")
        with pytest.raises(ConfigError) as caught:
            SlurmLauncher(everywhere(config), records).take([unit])
        assert option in str(caught.value), option
        assert find_batches(records) == []


@pytest.mark.usefixtures("slurm")
def test_a_job_that_waits_for_what_never_comes_is_reported_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    records = Records(tmp_path / "state")
    config = LaunchConfig(launcher="slurm", partition="short", time="10")  # at most one minute there
    waiting = SlurmLauncher(everywhere(config), records, poll=0.1)
    unit = preparation(tmp_path, tmp_path / "d")
    assert waiting.take([unit]) == [unit]
    wait_for(lambda: waiting.ended(0.2) or "PartitionTimeLimit" in caplog.text, patience=30)
    assert waiting.ended(0.5) == []
    waiting.close()
    [batch] = find_batches(records)
    said = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert len(said) == 2, said
    assert f"job {batch.job} (prepare) waits for something that does not come by itself" in said[0]
    assert f"stop this command, end the job with `scancel {batch.job}`" in said[0]
    assert said[1].startswith("left to Slurm: 1 job;") and f"`scancel {batch.job}`" in said[1]
    subprocess.run(["scancel", batch.job], check=True)
