"""All units at once: who waits for whom."""

from dataclasses import replace
from pathlib import Path

import pytest

from small.launch.fake_slurm import FakeSlurm
from small.launch.slurm_units import everywhere, preparation
from tcf.common.errors import RunError
from tcf.config.extract import REPAIR, ExtractConfig
from tcf.config.launch import LaunchConfig
from tcf.launch.launchers.slurm.batches import find_batches
from tcf.launch.launchers.slurm.submit_all import submit_all
from tcf.launch.units.records import Records
from tcf.launch.units.run_unit import run_unit
from tcf.launch.units.tasks import DownloadTask, ExtractTask
from tcf.launch.units.unit import Unit

SLURM = everywhere(LaunchConfig(launcher="slurm", tries=2))


def unit(tmp_path: Path, name: str, *needs: str, after_failures: bool = False) -> Unit:
    made = preparation(tmp_path / "raw", tmp_path / name)
    return replace(made, name=name, needs=needs, after_failures=after_failures)


def test_jobs_wait_for_exactly_what_their_units_need(slurm: FakeSlurm, records: Records, tmp_path: Path) -> None:
    units = [
        unit(tmp_path, "data"),
        unit(tmp_path, "cache-1", "data"),
        unit(tmp_path, "cache-2", "data"),
        unit(tmp_path, "run-1", "data", "cache-1"),
        unit(tmp_path, "run-2", "data", "cache-2"),
        unit(tmp_path, "run-3", "data", "cache-2"),
        unit(tmp_path, "table", "run-1", "run-2", "run-3", after_failures=True),
    ]
    submission = submit_all(units, SLURM, records)
    waits = {one.job: (one.option("dependency"), one.option("array")) for one in slurm.submitted()}
    assert waits == {
        "1": (None, None),
        "2": ("afterok:1", "0-1%2"),
        "3": ("afterok:1:2_0", None),
        "4": ("afterok:1:2_1", "0-1%2"),
        "5": ("afterany:3:4_0:4_1", None),
    }
    assert submission.submitted == {
        "data": "1",
        "cache-1": "2_0",
        "cache-2": "2_1",
        "run-1": "3",
        "run-2": "4_0",
        "run-3": "4_1",
        "table": "5",
    }
    assert submission.jobs == ("1", "2", "3", "4", "5")
    assert all(("kill-on-invalid-dep=yes" in one.script) == (one.job != "1") for one in slurm.submitted())


def test_arrays_are_cut_and_all_of_their_parts_are_waited_for(
    slurm: FakeSlurm, records: Records, tmp_path: Path
) -> None:
    first = [unit(tmp_path, f"a{number}") for number in range(5)]  # three tasks an array
    submit_all([*first, unit(tmp_path, "b", *(one.name for one in first))], SLURM, records)
    assert [one.option("dependency") for one in slurm.submitted()] == [None, None, "afterok:1_0:1_1:1_2:2_0:2_1"]


def test_a_failure_in_a_shared_job_does_not_take_along_what_needs_its_other_units(
    slurm: FakeSlurm, records: Records, tmp_path: Path
) -> None:
    """The job fails, so its end is waited for, however that is; Slurm knows nothing of its units."""
    short = [replace(unit(tmp_path, name), minutes=1.0) for name in ("a", "b")]
    units = [*short, unit(tmp_path, "long"), unit(tmp_path, "c", "a", "long"), unit(tmp_path, "d", "c")]
    submit_all(units, SLURM, records)
    waits = {one.job: one.option("dependency") for one in slurm.submitted()}
    assert waits == {"1": None, "2": "afterok:1_1,afterany:1_0", "3": "afterok:2"}
    assert all(batch.checks_needs for batch in find_batches(records))

    slurm.queue(*(f"1|{task}|R|None|{slurm.submitted()[0].name}" for task in range(2)))
    submit_all(units, SLURM, records)  # the others were cancelled
    assert slurm.submitted()[3].option("dependency") == "afterok:1_1,afterany:1_0"


def test_what_is_done_or_queued_is_not_submitted(slurm: FakeSlurm, records: Records, tmp_path: Path) -> None:
    units = [unit(tmp_path, "a"), unit(tmp_path, "b", "a"), unit(tmp_path, "c", "a", "b")]
    submit_all(units, SLURM, records)
    jobs = slurm.submitted()
    # The first has ended well, the second runs, and the third was cancelled.
    done = replace(units[0], task=DownloadTask("dataset", "nothing"))  # has no outputs that would have to be there
    records.write(replace(records.begin(done, "1"), digest=units[0].digest, ended="done"))
    (tmp_path / "a").mkdir()
    slurm.queue(f"2|N/A|R|None|{jobs[1].name}")
    submission = submit_all(units, SLURM, records)
    assert (submission.found, dict(submission.queued), dict(submission.submitted)) == (
        ("a",),
        {"b": "2"},
        {"c": "4"},
    )
    assert slurm.submitted()[3].option("dependency") == "afterok:2"


def test_a_cache_that_a_job_has_found_damaged_is_repaired(slurm: FakeSlurm, records: Records, tmp_path: Path) -> None:
    """Nobody was there to let the extraction run again when the training failed."""
    parts = [
        Unit(name, ExtractTask(tmp_path / name, "m", tmp_path / "cache", ExtractConfig())) for name in ("x", "y", "z")
    ]
    training = unit(tmp_path, "t", "x")
    (tmp_path / "cache").mkdir()
    for part in parts[:2]:
        records.write(replace(records.begin(part, "1"), ended="done"))
    error = f"{tmp_path}/cache/shards/5: expected this, found that; {REPAIR}, which makes it anew"
    records.write(replace(records.begin(training, "2"), ended="failed", error=error))
    submission = submit_all([*parts, training], SLURM, records)
    assert (submission.found, len(slurm.submitted())) == ((), 2)
    assert [records.repair_wish(part.name).exists() for part in parts] == [True, False, False]
    assert slurm.submitted()[1].option("dependency") == f"afterok:{submission.submitted['x']}"

    records.write(replace(records.begin(parts[0], "1"), ended="done"))
    slurm.queue(f"2|N/A|PD|None|{slurm.submitted()[1].name}")
    assert submit_all([*parts, training], SLURM, records).found == ("x",), "it was repaired, and the training waits"


def test_downloads_are_made_here_and_now(
    slurm: FakeSlurm, records: Records, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TCF_HOME", str(tmp_path / "home"))
    download = Unit("download/nosuch", DownloadTask("dataset", "nosuch"))
    units = [download, unit(tmp_path, "data", "download/nosuch")]
    with pytest.raises(RunError, match=r"^download/nosuch: .*nosuch.*run the same command again$"):
        submit_all(units, SLURM, records)
    record = records.read(download.name)
    assert record is not None and (record.tries, record.job) == (2, "")
    assert slurm.submitted() == []

    monkeypatch.setattr(DownloadTask, "run", lambda task: None)
    assert run_unit(download, records).ended == "done"
    assert submit_all(units, SLURM, records).found == ("download/nosuch",)
    assert [one.option("dependency") for one in slurm.submitted()] == [None]
