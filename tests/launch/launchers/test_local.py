"""The launcher of this machine, with real processes in which units only pretend."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from small.launch.units import PretendingProcesses, environment_here, everywhere, pretended
from small.launch.waiting import is_gone, wait_for
from tcf.common.errors import RunError
from tcf.config.launch import LaunchConfig
from tcf.launch.launchers.local import LocalLauncher
from tcf.launch.launchers.shares import Machine
from tcf.launch.units.records import Records
from tcf.launch.units.run_unit import UnitEnd
from tcf.launch.units.unit import Unit
from tcf.launch.workers.local_processes import LocalWorker
from tcf.launch.workers.worker import ProcessStarter, WorkerSpec

PATIENCE = 60.0
TWO = Machine((), 2)


@pytest.fixture
def opened() -> Iterator[list[LocalLauncher]]:
    """Launchers that are closed with the test."""
    launchers: list[LocalLauncher] = []
    yield launchers
    for launcher in launchers:
        launcher.close()


def launcher(
    opened: list[LocalLauncher],
    folder: Path,
    launch: Any,
    machine: Machine = TWO,
    starter: ProcessStarter | None = None,
) -> LocalLauncher:
    starter = starter or PretendingProcesses()
    opened.append(LocalLauncher(launch, Records(folder / "records"), machine=machine, starter=starter))
    return opened[-1]


def all_ends(launcher: LocalLauncher, units: list[Unit]) -> list[UnitEnd]:
    """Run units, as many at a time as there is room for."""
    waiting, ends, until = list(units), list[UnitEnd](), time.monotonic() + PATIENCE
    while len(ends) < len(units):
        taken = launcher.take(waiting) if waiting else ()
        waiting = [unit for unit in waiting if unit not in taken]
        ends += launcher.ended(1)
        assert time.monotonic() < until
    return ends


def told(unit: Unit) -> dict[str, Any]:
    """What the process of a unit has written about itself."""
    told: dict[str, Any] = json.loads(unit.task.outputs[0].read_text())
    return told


def test_units_share_processes_and_each_process_has_its_share(tmp_path: Path, opened: list[LocalLauncher]) -> None:
    units = [pretended(str(number), "end", tmp_path) for number in range(4)]
    ends = all_ends(launcher(opened, tmp_path, everywhere(workers=2), Machine((), 6)), units)
    assert sorted(ends, key=lambda end: end.unit) == [UnitEnd(unit.name, "done") for unit in units]
    found = [told(unit) for unit in units]
    assert 1 <= len({one["pid"] for one in found}) <= 2
    assert {one["OMP_NUM_THREADS"] for one in found} == {"3"}
    assert not any(one["CUDA_VISIBLE_DEVICES"] for one in found)


@pytest.mark.parametrize(
    ("action", "end", "words"),
    [
        ("SIGKILL", "lost", "its process was ended by SIGKILL, perhaps because memory ran out"),
        ("exit", "lost", "its process ended with status 3 (see {}/records/logs/worker-1.log)"),
        ("refuse", "failed", "m: expected a model, found none"),
        ("defect", "failed", "KeyError: 'defect'"),
    ],
)
def test_a_unit_that_does_not_end_well_does_not_disturb_the_next(
    tmp_path: Path, action: str, end: str, words: str, opened: list[LocalLauncher]
) -> None:
    units = [
        pretended("before", "end", tmp_path),
        pretended("it", action, tmp_path),
        pretended("next", "end", tmp_path),
    ]
    ends = all_ends(launcher(opened, tmp_path, everywhere()), units)
    assert [(one.unit, one.ended, one.reason) for one in ends] == [
        ("before", "done", ""),
        ("it", end, words.format(tmp_path)),
        ("next", "done", ""),
    ]
    # A refusal leaves nothing behind; after a defect nobody knows.
    assert (told(units[0])["pid"] == told(units[2])["pid"]) is (action == "refuse")
    assert f"action: {action}" in Records(tmp_path / "records").log("it").read_text()


def test_a_process_that_was_killed_between_units_is_replaced(tmp_path: Path, opened: list[LocalLauncher]) -> None:
    one = launcher(opened, tmp_path, everywhere())
    before, after = (pretended(name, "end", tmp_path) for name in ("before", "after"))
    assert all_ends(one, [before]) == [UnitEnd("before", "done")]
    pid = told(before)["pid"]
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert all_ends(one, [after]) == [UnitEnd("after", "done")]


def test_stages_share_the_gpus(tmp_path: Path, opened: list[LocalLauncher]) -> None:
    """Trainings take one GPU each; the conversion, which needs none, does not wait for them."""
    launch = {**everywhere(), "train": LaunchConfig(gpus_per_worker=1)}
    trainings = [pretended(f"t{number}", "sleep", tmp_path, stage="train") for number in range(3)]
    conversions = [pretended(f"c{number}", "end", tmp_path) for number in range(2)]
    one = launcher(opened, tmp_path, launch, Machine(("4", "GPU-7"), 2))
    assert one.take([*trainings, *conversions]) == [*trainings[:2], conversions[0]]
    assert [*one.running()] == ["t0", "t1", "c0"]
    wait_for(lambda: one.ended(1), patience=PATIENCE)
    assert told(conversions[0])["CUDA_VISIBLE_DEVICES"] == ""
    assert one.take([trainings[2], conversions[1]]) == [conversions[1]]


def test_a_unit_with_more_gpus_waits_for_all_and_takes_the_place_of_idle_processes(
    tmp_path: Path, opened: list[LocalLauncher]
) -> None:
    launch = {**everywhere(), "train": LaunchConfig(gpus_per_worker=2)}
    narrow = [pretended(f"e{number}", "end", tmp_path, stage="evaluate") for number in range(2)]
    wide = [pretended(f"t{number}", "end", tmp_path, stage="train") for number in range(2)]
    one = launcher(opened, tmp_path, launch, Machine(("4", "5"), 2))
    assert one.take([*narrow, *wide]) == narrow
    wait_for(lambda: one.ended(1), patience=PATIENCE)
    assert one.take(wide) == [], "one of the two GPUs is busy"
    wait_for(lambda: one.ended(1), patience=PATIENCE)
    before = [told(unit) for unit in narrow]
    assert sorted(one["CUDA_VISIBLE_DEVICES"] for one in before) == ["4", "5"]
    assert one.take(wide) == wide[:1]
    assert all(is_gone(one["pid"]) for one in before), "they held memory of its GPUs"
    wait_for(lambda: one.ended(1), patience=PATIENCE)
    assert told(wide[0])["CUDA_VISIBLE_DEVICES"] == "4,5"
    assert told(wide[0])["OMP_NUM_THREADS"] == os.environ.get("OMP_NUM_THREADS"), "one at a time has what is usual"


def test_units_without_gpus_do_not_take_more_threads_than_there_are(
    tmp_path: Path, opened: list[LocalLauncher]
) -> None:
    launch = {**everywhere(workers=2), "convert": LaunchConfig()}
    trainings = [pretended(f"t{number}", "sleep", tmp_path, stage="train") for number in range(3)]
    others = [pretended("c", "sleep", tmp_path), pretended("d", "sleep", tmp_path, stage="download")]
    one = launcher(opened, tmp_path, launch)
    assert one.take([*trainings, *others]) == [*trainings[:2], others[1]]
    other = launcher(opened, tmp_path / "other", launch)
    assert other.take([*others, *trainings]) == others


class RefusingProcesses(PretendingProcesses):
    """Starts the first process only."""

    started: ClassVar[list[LocalWorker]] = []

    def start(self, spec: WorkerSpec) -> LocalWorker:
        if self.started:
            raise BlockingIOError(11, "Resource temporarily unavailable")
        self.started.append(super().start(spec))
        return self.started[0]


def test_where_no_process_can_be_started_the_others_go_on_or_it_is_said(
    tmp_path: Path, opened: list[LocalLauncher]
) -> None:
    RefusingProcesses.started.clear()
    one = launcher(opened, tmp_path, everywhere(workers=2), starter=RefusingProcesses())
    units = [pretended(str(number), "end", tmp_path) for number in range(2)]
    assert {end.ended for end in all_ends(one, units)} == {"done"}
    other = launcher(opened, tmp_path, everywhere(workers=2), starter=RefusingProcesses())
    with pytest.raises(RunError, match="worker 1: expected a worker process, but it cannot be started"):
        other.take(units)


RESIDENT = """
import sys; from pathlib import Path
from small.launch.units import PretendingProcesses, everywhere, pretended
from tcf.cli import _interrupted
from tcf.launch.launchers.local import LocalLauncher
from tcf.launch.launchers.run_units import run_units
from tcf.launch.launchers.shares import Machine
from tcf.launch.units.records import Records
import signal
signal.signal(signal.SIGTERM, _interrupted)
folder = Path(sys.argv[1])
records = Records(folder / "records")
units = [pretended("a", "sleep", folder), pretended("b", "sleep", folder)]
launcher = LocalLauncher(everywhere(workers=2), records, machine=Machine((), 2), starter=PretendingProcesses())
run_units(units, records, launcher, tries=3)
"""


@pytest.mark.parametrize("by", [signal.SIGKILL, signal.SIGTERM])
def test_workers_end_with_their_parent_and_their_units_are_interrupted(tmp_path: Path, by: signal.Signals) -> None:
    units = [pretended("a", "sleep", tmp_path), pretended("b", "sleep", tmp_path)]
    records = Records(tmp_path / "records")
    command = [sys.executable, "-c", RESIDENT, str(tmp_path)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, env=environment_here()) as parent:
        try:
            wait_for(lambda: len([*tmp_path.glob("*.begun")]) == 2, patience=PATIENCE)
            assert [records.state(unit) for unit in units] == ["running", "running"]
            workers = Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text().split()
            assert len(workers) == 2
            parent.send_signal(by)
            assert parent.wait(PATIENCE) == (-by if by == signal.SIGKILL else 128 + by)
        finally:
            parent.kill()
    wait_for(lambda: all(is_gone(int(worker)) for worker in workers), patience=PATIENCE)
    assert [records.state(unit) for unit in units] == ["interrupted", "interrupted"]
    cleaned = sorted(path.name for path in tmp_path.glob("*.cleaned-up"))
    leases = [unit.name for unit in units if records.lease(unit.name).exists()]
    if by == signal.SIGTERM:
        assert (cleaned, leases) == (["a.cleaned-up", "b.cleaned-up"], [])
    else:
        assert (cleaned, leases) == ([], ["a", "b"])
