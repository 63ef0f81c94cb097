"""What runs inside a job, without Slurm around it: its variables are set as Slurm sets them."""

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from small.launch.fake_slurm import FakeSlurm
from small.launch.slurm_units import preparation, raw_files
from tcf import __version__
from tcf.common.errors import RunError
from tcf.common.files import is_published
from tcf.launch.launchers.slurm.batches import Batch, new_batch, read_batch
from tcf.launch.launchers.slurm.job import SlurmJob
from tcf.launch.launchers.slurm.node import SlurmNode
from tcf.launch.units.records import Records
from tcf.launch.units.tasks import DownloadTask
from tcf.launch.units.unit import Unit

JOB = {
    "SLURM_JOB_ID": "20017",
    "SLURM_ARRAY_JOB_ID": "20015",
    "SLURM_ARRAY_TASK_ID": "2",
    "SLURM_CPUS_ON_NODE": "3",
    "SLURM_JOB_NODELIST": "node[7,9]",
}
NOSUCH = DownloadTask("dataset", "nosuch")  # fails at once
CALL = """
import sys
from tcf.launch.launchers.slurm.job import SlurmJob
SlurmJob(sys.argv[1], 0)()
"""


def called(batch: Batch, **variables: str) -> "subprocess.Popen[str]":
    """The call of a job in a process of its own, as submitit makes it."""
    command = [sys.executable, "-c", CALL, str(batch.file)]
    return subprocess.Popen(command, env={**os.environ, **JOB, **variables}, stderr=subprocess.PIPE, text=True)


def ended(batch: Batch, **variables: str) -> tuple[int, str]:
    """The exit status of such a call, and what it says."""
    with called(batch, **variables) as process:
        _, said = process.communicate(timeout=100)
    return process.returncode, said


def batch_of(records: Records, *units: Unit, tries: int = 1) -> Batch:
    batch = new_batch([units], records, tries)
    batch.write()
    return batch


def test_a_batch_is_read_as_it_was_written(tmp_path: Path) -> None:
    units = [preparation(tmp_path / "raw", tmp_path / "d", minutes=2.0)]
    batch = new_batch([units, units], Records(tmp_path / "state"), tries=3)
    batch.write()
    read = read_batch(batch.file)
    assert (read.units(1), read.version, read.tries, read.job) == (tuple(units), __version__, 3, "")
    assert read.keys(0) == (f"{units[0].name} {units[0].digest}",)
    assert (replace(batch, job="7").job_of(1), replace(batch, job="7", tasks=batch.tasks[:1]).job_of(0)) == ("7_1", "7")
    batch.file.write_text('{"name": "x"}')
    with pytest.raises(ValueError, match="expected a batch of units"):
        read_batch(batch.file)


def test_nodes_find_one_another_by_torchruns_variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = SlurmNode.of(JOB)
    assert (one.job, one.rank, one.nodes, one.variables()) == ("20015_2", 0, 1, {})
    FakeSlurm.installed(tmp_path / "bin", monkeypatch)
    node = SlurmNode.of({**JOB, "SLURM_NNODES": "2", "SLURM_PROCID": "1"})
    port = {"MASTER_ADDR": "node7", "MASTER_PORT": str(20000 + 20017 % 10000)}
    assert node.variables() == {"NNODES": "2", "NODE_RANK": "1", **port}
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RunError, match=r"expected the names of the nodes node\[7,9\]"):
        node.variables()


def test_the_cores_of_the_job_are_its_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert SlurmNode.of(JOB).threads == 3
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    assert SlurmNode.of(JOB).threads == 0


def test_failures_are_tried_again_and_keep_no_other_unit_from_running(tmp_path: Path) -> None:
    good = preparation(raw_files(tmp_path / "raw"), tmp_path / "good")
    bad, records = Unit("bad", NOSUCH), Records(tmp_path / "state")
    status, said = ended(batch_of(records, bad, good, tries=2))
    assert (status, records.state(good), records.state(bad)) == (1, "done", "failed"), said
    failed, done = records.read(bad.name), records.read(good.name)
    assert failed is not None and done is not None
    assert (failed.tries, done.tries, failed.job) == (2, 1, "20015_2")


def test_a_job_that_was_queued_again_does_what_is_left(tmp_path: Path) -> None:
    done, cut_off = (preparation(raw_files(tmp_path / "raw"), tmp_path / name) for name in ("a", "b"))
    records = Records(tmp_path / "state")
    (tmp_path / "a").mkdir()
    records.write(replace(records.begin(done, "20015_2"), ended="done"))
    # The process on another node was killed and has left its lease, which would be believed for ten minutes.
    records.begin(cut_off, "20015_2")
    records.lease(cut_off.name).write_text('{"machine": "0123456789ab", "pid": 1}')
    status, said = ended(batch_of(records, done, cut_off))
    assert (status, is_published(tmp_path / "a"), is_published(tmp_path / "b")) == (0, False, True), said


def test_what_needs_a_unit_that_has_failed_is_left_out_of_a_job(tmp_path: Path) -> None:
    """Its job begins although, where it has waited for a job of several units."""
    records = Records(tmp_path / "state")
    first, second = (preparation(raw_files(tmp_path / "raw"), tmp_path / name) for name in ("a", "b"))
    first, second = replace(first, needs=("good",)), replace(second, needs=("good", "bad"))
    records.write(replace(records.begin(Unit("good", NOSUCH), ""), ended="done"))
    records.write(replace(records.begin(Unit("bad", NOSUCH), ""), ended="failed"))
    batch = new_batch([[second, first]], records, 2, checks_needs=True)
    batch.write()
    status, said = ended(batch)
    assert (status, records.state(first), records.state(second)) == (1, "done", "waiting"), said
    assert "prepare/b: left out, because it needs bad, which is not done\n" in said


def test_a_unit_that_another_process_runs_is_waited_for(tmp_path: Path) -> None:
    unit = preparation(raw_files(tmp_path / "raw"), tmp_path / "d")
    records = Records(tmp_path / "state")
    records.begin(unit, "")
    records.lease(unit.name).write_text('{"machine": "0123456789ab", "pid": 1}')
    with called(batch_of(records, unit)) as process:
        assert process.stderr is not None
        assert "another process runs it" in process.stderr.readline()
        (tmp_path / "d").mkdir()
        before = records.read(unit.name)
        assert before is not None
        records.write(replace(before, ended="done"))
        records.lease(unit.name).unlink()
        process.communicate(timeout=100)
    assert (process.returncode, records.read(unit.name)) == (0, replace(before, ended="done"))


@pytest.mark.parametrize(("number", "calls"), [(signal.SIGUSR2, 1), (signal.SIGTERM, 2)])
def test_a_job_that_is_asked_to_stop_is_queued_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals, calls: int
) -> None:
    """Slurm may be too busy to do so at once."""
    slurm = FakeSlurm.installed(tmp_path / "bin", monkeypatch)
    slurm.queue("RUNNING")
    (slurm.folder / "scontrol").write_text(
        f'#!/bin/bash\necho "$@" >> "$0.called"\n[ $(wc -l < "$0.called") -ge {calls} ]\n'
    )
    unit = preparation(raw_files(tmp_path / "raw"), tmp_path / "d")
    records = Records(tmp_path / "state")
    records.begin(unit, "")
    records.lease(unit.name).write_text('{"machine": "0123456789ab", "pid": 1}')
    with called(batch_of(records, unit)) as process:
        assert process.stderr is not None
        assert "another process runs it" in process.stderr.readline()
        process.send_signal(number)
        _, said = process.communicate(timeout=100)
    assert (process.returncode, (slurm.folder / "scontrol.called").read_text()) == (1, "requeue 20015_2\n" * calls)
    *refusals, last = said.splitlines()
    assert len(refusals) == calls - 1 and all("expected an answer of scontrol" in line for line in refusals)
    assert last == "job 20015_2: asked to stop; it is queued again, and goes on where it was"


def test_a_job_that_is_cancelled_is_not_queued_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slurm = FakeSlurm.installed(tmp_path / "bin", monkeypatch)
    slurm.queue("COMPLETING")
    (slurm.folder / "scontrol").write_text('#!/bin/bash\necho "$@" >> "$0.called"\n')
    unit = preparation(raw_files(tmp_path / "raw"), tmp_path / "d")
    records = Records(tmp_path / "state")
    records.begin(unit, "")
    records.lease(unit.name).write_text('{"machine": "0123456789ab", "pid": 1}')
    with called(batch_of(records, unit)) as process:
        assert process.stderr is not None
        process.stderr.readline()
        process.terminate()
        process.communicate(timeout=100)
    assert process.returncode == 1 and not (slurm.folder / "scontrol.called").exists()


def test_only_the_first_node_writes_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    FakeSlurm.installed(tmp_path / "bin", monkeypatch)
    unit, records = Unit("unit", NOSUCH), Records(tmp_path / "state")
    status, said = ended(batch_of(records, unit), SLURM_NNODES="2", SLURM_PROCID="1")
    assert (status, records.read(unit.name)) == (0, None)  # the first node's status counts
    assert "unit: failed on node 1: " in said


def test_another_version_leaves_a_record_without_reading_the_units(tmp_path: Path) -> None:
    unit = preparation(tmp_path / "raw", tmp_path / "d")
    records = Records(tmp_path / "state")
    batch = batch_of(records, unit)
    message = {**batch.tasks[0][0], "of_later_versions": 1}
    replace(batch, version="99.0", tasks=((message,),)).write()
    status, said = ended(batch)
    record = records.read(unit.name)
    assert record is not None
    assert (status, record.ended, record.digest) == (1, "failed", unit.digest)
    assert f"expected tcf 99.0, which submitted the job, found {__version__} in {sys.executable}" in record.error
    assert record.error in said


def test_submitit_may_pickle_the_call_by_its_name(tmp_path: Path) -> None:
    import pickle

    call = SlurmJob(str(tmp_path), 2)
    pickled = pickle.dumps(call)
    assert pickle.loads(pickled) == call and len(pickled) < 200 + len(str(tmp_path))
    assert call.checkpoint().function == call
