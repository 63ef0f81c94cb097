"""The order of units, their tries, what follows from failures, and other commands at the same units."""

import json
import logging
import os
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from small.launch.units import PretendedLauncher, pretended
from tcf.common.errors import RunError
from tcf.common.lease_file import acquire
from tcf.common.logs import configure_logging
from tcf.config.extract import REPAIR, ExtractConfig
from tcf.launch.launchers import course
from tcf.launch.launchers.run_units import UnitResults, check_results, run_units
from tcf.launch.units.records import Records
from tcf.launch.units.run_unit import UnitEnd
from tcf.launch.units.tasks import ExtractTask
from tcf.launch.units.unit import Unit


@pytest.fixture
def records(tmp_path: Path) -> Records:
    return Records(tmp_path / "records")


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(course, "_POLL", 0.02)


def chain(folder: Path) -> list[Unit]:
    """Two units, each followed by one that needs it, and one that needs all that follow."""
    return [
        pretended("a", "end", folder),
        pretended("b", "end", folder),
        pretended("a2", "end", folder, ["a"]),
        pretended("b2", "end", folder, ["b"]),
        pretended("all", "end", folder, ["a2", "b2"]),
    ]


def failed(name: str, number: int = 1, reason: str = "no luck") -> dict[str, list[UnitEnd]]:
    return {name: [UnitEnd(name, "failed", reason)] * number}


def finished(unit: Unit, records: Records, note: str = "") -> None:
    """Let a unit be done, as the process that ran it would have."""
    for out in unit.task.outputs:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.touch()
    records.write(replace(records.begin(unit, ""), ended="done", seconds=2, note=note))


def test_units_run_once_what_they_need_is_done(tmp_path: Path, records: Records) -> None:
    launcher = PretendedLauncher(room=1)
    results = run_units(chain(tmp_path), records, launcher, tries=1)
    assert results == UnitResults(("a", "b", "a2", "b2", "all"), (), {}, ())
    assert launcher.offered[0] == ["a", "b"]
    assert ["all"] in launcher.offered
    assert launcher.closed


def test_what_is_done_is_found(tmp_path: Path, records: Records) -> None:
    units = chain(tmp_path)
    for unit in units[:3]:
        finished(unit, records)
    assert run_units(units, records, PretendedLauncher(), tries=1) == UnitResults(
        ("b2", "all"), ("a", "b", "a2"), {}, ()
    )


@pytest.mark.parametrize(("failures", "tries"), [(0, 1), (2, 3), (3, 3)])
def test_a_unit_is_tried_so_often(tmp_path: Path, records: Records, failures: int, tries: int) -> None:
    launcher = PretendedLauncher(failed("a", failures))
    results = run_units(chain(tmp_path), records, launcher, tries=tries)
    assert launcher.tries.count("a") == min(failures + 1, tries)
    if failures < tries:
        assert results.complete
    else:
        assert results == UnitResults(("b", "b2"), (), {"a": "no luck"}, ("a2", "all"))


def test_stages_may_differ_in_how_often_their_units_are_tried(tmp_path: Path, records: Records) -> None:
    launcher = PretendedLauncher({**failed("a", 3), **failed("t", 3)})
    units = [pretended("a", "end", tmp_path), pretended("t", "end", tmp_path, stage="train")]
    run_units(units, records, launcher, tries={"convert": 1, "train": 2})
    assert sorted(launcher.tries) == ["a", "t", "t"]


def test_some_units_run_on_what_there_is(tmp_path: Path, records: Records) -> None:
    *units, table = chain(tmp_path)
    units.append(replace(table, after_failures=True))
    assert run_units(units, records, PretendedLauncher(failed("a")), tries=1).done == ("b", "b2", "all")
    launcher = PretendedLauncher(failed("a") | failed("b"))
    assert run_units(units, records, launcher, tries=1).left == ("a2", "b2", "all"), "there is nothing at all"


def test_a_lost_try_is_recorded_as_such(tmp_path: Path, records: Records) -> None:
    unit = pretended("a", "end", tmp_path)
    records.begin(unit, "")
    assert records.state(unit) == "interrupted"
    launcher = PretendedLauncher({"a": [UnitEnd("a", "lost", "its process was ended by SIGKILL")]})
    run_units([unit], records, launcher, tries=1)
    assert records.state(unit) == "failed"
    assert "SIGKILL" in records.log("a").read_text()


def test_progress_counts_minutes_where_all_are_known(
    tmp_path: Path, records: Records, capsys: pytest.CaptureFixture[str]
) -> None:
    configure_logging()
    units = [replace(unit, minutes=5.0) for unit in chain(tmp_path)]
    finished(units[0], records)
    run_units(units, records, PretendedLauncher(failed("b")), tries=1, what="study")
    said = capsys.readouterr().err
    assert "study: 5/5 units in" in said
    assert said.splitlines()[-1].endswith("(1 done, 1 found, 1 failed, 2 left out)")
    assert "left out, because they need what has failed: b2 and 1 more" in said
    assert "b: no luck; given up (tried 1 time)" in said


class OtherCommand(PretendedLauncher):
    """While this launcher runs, another command comes to the end of its unit."""

    def __init__(self, lease: Path, units: Sequence[Unit] = (), records: Records | None = None) -> None:
        super().__init__()
        self.lease, self.units, self.records, self.rounds = lease, units, records, 0

    def ended(self, timeout: float) -> list[UnitEnd]:
        self.rounds += 1
        if self.rounds == 5:
            for unit in self.units:
                assert self.records is not None
                finished(unit, self.records)
            self.lease.unlink()
        return super().ended(timeout)


def held_elsewhere(records: Records, name: str) -> Path:
    """The lease of a process on another machine."""
    lease = records.lease(name)
    lease.parent.mkdir(parents=True, exist_ok=True)
    lease.write_text('{"machine": "elsewhere", "pid": 1}')
    return lease


def test_the_result_of_another_command_is_waited_for(tmp_path: Path, records: Records) -> None:
    units = chain(tmp_path)
    launcher = OtherCommand(held_elsewhere(records, "a"), units[:1], records)
    results = run_units(units, records, launcher, tries=1)
    assert (results.found, set(results.done)) == (("a",), {"b", "a2", "b2", "all"})
    assert "a" not in launcher.tries
    assert launcher.rounds > 4


def test_what_another_command_has_not_finished_is_run(tmp_path: Path, records: Records) -> None:
    launcher = OtherCommand(held_elsewhere(records, "a"))
    assert run_units(chain(tmp_path), records, launcher, tries=1).complete
    assert launcher.tries.count("a") == 1


def test_that_another_command_was_faster_is_no_try(tmp_path: Path, records: Records) -> None:
    launcher = PretendedLauncher({"a": [UnitEnd("a", "held")] * 5})
    assert run_units(chain(tmp_path), records, launcher, tries=1).complete


def extraction(folder: Path, name: str, data: str = "d") -> Unit:
    task = ExtractTask(folder / data, "m", folder / "cache", ExtractConfig())
    return Unit(name, task)


class Finishing(PretendedLauncher):
    """Its units leave records; an extraction that is to repair has dropped something."""

    records: Records
    units: Sequence[Unit]

    def ended(self, timeout: float) -> list[UnitEnd]:
        ends = super().ended(timeout)
        for end in ends:
            if end.ended == "done":
                wish = self.records.repair_wish(end.unit)
                [unit] = [unit for unit in self.units if unit.name == end.unit]
                finished(unit, self.records, "dropped" if wish.exists() else "")
                wish.unlink(missing_ok=True)
        return ends


def damaged(folder: Path, name: str) -> UnitEnd:
    return UnitEnd(name, "failed", f"{folder}/cache/shards/5: expected this, found that; {REPAIR}, which makes it anew")


def test_a_cache_that_a_training_finds_damaged_is_repaired_once(tmp_path: Path, records: Records) -> None:
    units = [
        extraction(tmp_path, "x"),
        extraction(tmp_path, "y", "other"),
        pretended("t", "end", tmp_path, ["x"]),
        pretended("u", "end", tmp_path, ["y"]),
    ]
    launcher = Finishing({"t": [damaged(tmp_path, "t")] * 3})
    launcher.records, launcher.units = records, units
    results = run_units(units, records, launcher, tries=2)
    # Repaired after the first failure; what was dropped may have been the other dataset's. The later two are tries.
    assert [name for name in launcher.tries if name != "u"] == ["x", "y", "t", "x", "t", "y", "t"] or [
        name for name in launcher.tries if name != "u"
    ] == ["x", "y", "t", "x", "y", "t", "t"]
    assert [*results.failed] == ["t"]
    assert set(results.done) == {"x", "y", "u"}


def test_damage_that_no_unit_can_repair_is_a_failure(tmp_path: Path, records: Records) -> None:
    units = [extraction(tmp_path / "another", "x"), pretended("t", "end", tmp_path, ["x"])]
    launcher = Finishing({"t": [damaged(tmp_path, "t")] * 3})
    launcher.records, launcher.units = records, units
    assert [*run_units(units, records, launcher, tries=3).failed] == ["t"]
    assert launcher.tries == ["x", "t", "t", "t"]


def test_what_was_given_up_is_reported_with_the_end_of_its_log(
    tmp_path: Path, records: Records, caplog: pytest.LogCaptureFixture
) -> None:
    log = records.log("a")
    log.parent.mkdir(parents=True)
    log.write_text("".join(f"line {number}\n" for number in range(100)))
    results = run_units(chain(tmp_path), records, PretendedLauncher(failed("a") | failed("b2")), tries=1)
    caplog.set_level(logging.ERROR)
    caplog.clear()
    with pytest.raises(
        RunError,
        match=r"2 of 5 units failed, and 2 units that need them; the first is a: no luck; see .*/a\.log, fix the "
        r"cause, and run `tcf again`, which does only what is missing",
    ):
        check_results(results, records, "tcf again")
    [of_a, of_b2] = caplog.messages
    assert of_a.splitlines()[1:] == [f"    line {number}" for number in range(85, 100)]
    assert "b2: there is no log" in of_b2
    check_results(UnitResults(("a",), (), {}, ()), records, "tcf again")


def test_numbers_in_the_report_agree_with_their_words(records: Records) -> None:
    with pytest.raises(RunError, match="1 of 2 units failed, and 1 unit that needs it; the first is a: no luck"):
        check_results(UnitResults((), (), {"a": "no luck"}, ("b",)), records, "tcf again")


def test_a_lease_of_this_process_does_not_count_as_another_command(tmp_path: Path, records: Records) -> None:
    unit = pretended("a", "end", tmp_path)
    records.lease("a").parent.mkdir(parents=True)
    assert acquire(records.lease("a"))
    assert records.state(unit) == "running"
    old = json.loads(records.lease("a").read_text())
    records.lease("a").write_text(json.dumps({**old, "started": "before this machine was started again"}))
    os.utime(records.lease("a"), (time.time(),) * 2)
    assert records.state(unit) == "waiting"
    assert run_units([unit], records, PretendedLauncher(), tries=1).complete
