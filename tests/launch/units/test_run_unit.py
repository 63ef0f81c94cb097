"""A unit in this process: what is recorded of it, what is logged, and who may run it."""

import contextlib
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from small.launch.units import pretended
from tcf import __version__
from tcf.common.errors import ModelError, RunError
from tcf.common.lease_file import acquire
from tcf.common.logs import configure_logging
from tcf.launch.units.records import Records
from tcf.launch.units.run_unit import UnitEnd, run_unit
from tcf.launch.units.tasks import ConvertTask
from tcf.launch.units.unit import Unit


@pytest.fixture
def records(tmp_path: Path) -> Records:
    return Records(tmp_path / "records")


def tried(unit: Unit, records: Records, job: str = "") -> UnitEnd:
    """Run a unit with standard output and error as a worker has them, instead of what pytest puts in their place."""
    with (
        open(1, "w", buffering=1, closefd=False) as out,
        open(2, "w", buffering=1, closefd=False) as error,
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(error),
    ):
        return run_unit(unit, records, job)


@pytest.fixture
def unit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Unit:
    """A unit that prints and makes its output."""

    def run(task: ConvertTask) -> None:
        print("on standard output")
        print("on standard error", file=sys.stderr)
        task.out.mkdir(parents=True)

    monkeypatch.setattr(ConvertTask, "run", run)
    return pretended("convert/it", "end", tmp_path)


def failing(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def run(task: ConvertTask) -> None:
        raise error

    monkeypatch.setattr(ConvertTask, "run", run)


def test_a_unit_is_recorded_and_its_output_is_logged(
    unit: Unit, records: Records, capfd: pytest.CaptureFixture[str]
) -> None:
    configure_logging()
    assert records.state(unit) == "waiting"
    assert tried(unit, records, "71") == UnitEnd("convert/it", "done")
    assert records.state(unit) == "done"
    record = records.read(unit.name)
    assert record is not None
    assert (record.ended, record.tries, record.job, record.version) == ("done", 1, "71", __version__)
    assert record.command == unit.task.command
    lines = records.log(unit.name).read_text().splitlines()
    assert lines[0] == f"try 1, {record.host}: tcf convert /end --out {unit.task.outputs[0]}"
    assert sorted(lines[1:]) == ["on standard error", "on standard output"]
    assert not records.lease(unit.name).exists()
    print("after")
    assert "standard" not in capfd.readouterr().out


def test_a_result_that_was_removed_is_made_again(unit: Unit, records: Records) -> None:
    tried(unit, records)
    unit.task.outputs[0].rmdir()
    assert records.state(unit) == "waiting"


def test_with_other_settings_it_is_another_unit(unit: Unit, records: Records, tmp_path: Path) -> None:
    tried(unit, records)
    assert records.state(replace(unit, task=ConvertTask(Path("/another"), tmp_path, None))) == "waiting"


@pytest.mark.parametrize(
    ("error", "reason", "defect"),
    [
        (ModelError("m: expected this,\nfound that"), "m: expected this, found that", False),
        (KeyError("x"), "KeyError: 'x'", True),
        (MemoryError(), "MemoryError: ", True),
        (OSError(28, "No space left on device", "/disk/file"), "/disk/file: cannot be used (no space left on", False),
    ],
)
def test_an_error_is_recorded_with_its_reason(
    unit: Unit, records: Records, error: Exception, reason: str, defect: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing(monkeypatch, error)
    end = tried(unit, records)
    assert (end.ended, end.defect) == ("failed", defect)
    assert end.reason.startswith(reason)
    record = records.read(unit.name)
    assert record is not None
    assert (record.ended, record.error) == ("failed", end.reason)
    assert ("Traceback" in records.log(unit.name).read_text()) is defect
    assert tried(unit, records).ended == "failed"
    again = records.read(unit.name)
    assert again is not None
    assert again.tries == 2


def test_what_ends_the_process_leaves_no_lease(unit: Unit, records: Records, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(task: ConvertTask) -> None:
        raise SystemExit(143)

    monkeypatch.setattr(ConvertTask, "run", run)
    with pytest.raises(SystemExit):
        tried(unit, records)
    assert records.state(unit) == "interrupted"
    assert not records.lease(unit.name).exists()


def test_a_unit_that_another_process_runs_is_left_to_it(unit: Unit, records: Records) -> None:
    lease = records.lease(unit.name)
    lease.parent.mkdir(parents=True)
    lease.write_text('{"machine": "elsewhere", "pid": 1}')
    assert tried(unit, records).ended == "held"
    assert records.read(unit.name) is None
    assert lease.exists()


def test_where_records_cannot_be_written_nothing_is_run(unit: Unit, records: Records) -> None:
    records.folder.write_text("a file")
    with pytest.raises(RunError, match="cannot be written"):
        tried(unit, records)
    assert not unit.task.outputs[0].exists()


def test_the_cause_is_told_though_it_cannot_be_recorded(
    unit: Unit, records: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a full disk."""

    def run(task: ConvertTask) -> None:
        shutil.rmtree(records.file(unit.name).parent)
        records.file(unit.name).parent.write_text("in the way")
        raise RunError("the cause")

    monkeypatch.setattr(ConvertTask, "run", run)
    assert tried(unit, records) == UnitEnd(unit.name, "failed", "the cause")


def test_a_loss_is_recorded_unless_another_process_is_at_it(unit: Unit, records: Records) -> None:
    records.note_lost(unit, "gone")
    assert records.read(unit.name) is None, "it had not begun"
    records.begin(unit, "")
    assert acquire(records.lease(unit.name))
    records.note_lost(unit, "gone")
    assert records.state(unit) == "running"
    records.lease(unit.name).unlink()
    records.note_lost(unit, "gone")
    assert records.state(unit) == "failed"
    assert records.log(unit.name).read_text() == "tcf: warning: lost: gone\n"


def test_a_damaged_record_counts_as_none_and_is_named(
    unit: Unit, records: Records, caplog: pytest.LogCaptureFixture
) -> None:
    records.report_damage([unit])
    assert caplog.text == ""
    tried(unit, records)
    records.report_damage([unit])
    assert caplog.text == ""
    whole = records.file(unit.name).read_bytes()
    for content in (b"", b"{", b"[]", b'{"unit": "x"}', b"\xff", whole.replace(b'"tries": 1', b'"tries": "1"')):
        records.file(unit.name).write_bytes(content)
        assert records.state(unit) == "waiting"
        records.report_damage([unit])
        assert f"{records.file(unit.name)}: expected the record of a unit" in caplog.text
        caplog.clear()
