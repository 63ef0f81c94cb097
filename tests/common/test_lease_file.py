"""Leases that name no process: each counts for seconds, whatever its times say and whatever it is."""

import errno
import json
import os
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from small.launch.waiting import wait_for
from tcf.common import lease_file
from tcf.common.files import is_alive, this_machine
from tcf.common.lease_file import acquire, heartbeats, is_expired, is_held, is_own, remove

NO_PROCESS = [10**30, 2**31, 0, -1, True, 1.5, "1", None, [1]]


def naming(pid: object) -> Callable[[Path], object]:
    return lambda file: file.write_text(json.dumps({"machine": this_machine(), "pid": pid}))


UNREADABLE: dict[str, Callable[[Path], object]] = {
    **{f"pid {pid}": naming(pid) for pid in NO_PROCESS},
    "no machine": lambda file: file.write_text('{"pid": 1}'),
    "machine is a number": lambda file: file.write_text('{"machine": 1, "pid": 1}'),
    "half": lambda file: file.write_text('{"machine": "a", '),
    "deep": lambda file: file.write_text("[" * 4000),
    "other bytes": lambda file: file.write_bytes(os.urandom(100)),
    "giant": lambda file: os.truncate(os.open(file, os.O_CREAT | os.O_WRONLY), 2**40),
    "folder": Path.mkdir,
    "pipe": os.mkfifo,
    "broken link": lambda file: file.symlink_to("nothing"),
    "loop": lambda file: file.symlink_to(file.name),
    "endless": lambda file: file.symlink_to("/dev/zero"),
}


@pytest.mark.parametrize("kind", UNREADABLE)
@pytest.mark.parametrize("modified", [0.0, -400.0, 300.0, 10.0**6])
def test_what_names_no_process_counts_for_seconds(
    tmp_path: Path, kind: str, modified: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / ".claim"
    UNREADABLE[kind](file)
    now = time.time()
    os.utime(file, (now + modified,) * 2, follow_symlinks=False)
    if modified >= 0:  # an old one has ended already
        assert is_held(file)
        assert not acquire(file)
    monkeypatch.setattr(lease_file, "_now", lambda file: now + 12)
    assert is_expired(file)
    assert not is_held(file)
    monkeypatch.undo()
    monkeypatch.setattr(lease_file, "_OWNERLESS_SECONDS", -1.0)
    assert acquire(file)
    assert is_own(file)
    assert not file.is_symlink()


def test_a_lease_of_another_machine_counts_as_before(tmp_path: Path) -> None:
    file = tmp_path / ".claim"
    file.write_text('{"machine": "elsewhere", "pid": 1}')
    os.utime(file, (time.time() - 500,) * 2)
    assert is_held(file)
    os.utime(file, (time.time() - 700,) * 2)
    assert is_expired(file)


@pytest.mark.parametrize("off", [-5 * 3600.0, 650.0, 5 * 3600.0])
@pytest.mark.parametrize("without_a_name", [True, False])
def test_a_lease_of_another_machine_does_not_depend_on_this_clock(
    tmp_path: Path, off: float, without_a_name: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """This machine's clock is off by hours from that of the file system, which sets the times of leases."""
    live, dead = tmp_path / "live", tmp_path / "dead"
    for file in (live, dead):
        file.write_text('{"machine": "elsewhere", "pid": 1, "started": "then"}')
    right = time.time()
    os.utime(dead, (right - 700,) * 2)
    monkeypatch.setattr(time, "time", lambda: right + off)
    if not without_a_name:
        monkeypatch.delattr(os, "O_TMPFILE")
    assert is_held(live)
    assert not acquire(live)
    assert is_expired(dead)
    assert acquire(dead)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dead", "live"]


def test_where_nothing_can_be_created_this_clock_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / ".claim"
    file.write_text('{"machine": "elsewhere", "pid": 1}')

    def refused(*_: object) -> tuple[int, Path | None]:
        raise PermissionError

    monkeypatch.setattr(lease_file, "_created_beside", refused)
    assert is_held(file)
    os.utime(file, (time.time() - 700,) * 2)
    assert is_expired(file)


def test_a_heartbeat_that_fails_is_not_the_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / ".claim"
    assert acquire(file)
    os.utime(file, (time.time() - 500,) * 2)
    monkeypatch.setattr(lease_file, "_HEARTBEAT", 0.001)
    utime, failures = os.utime, [OSError(errno.ESTALE, "Stale file handle")] * 3

    def stale(path: Path | int) -> None:
        if path == file and failures:
            raise failures.pop()
        utime(path)

    monkeypatch.setattr(os, "utime", stale)
    with heartbeats(file):
        wait_for(lambda: time.time() - file.stat().st_mtime < 100, patience=60)
    assert not failures


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[dict[str, Any]]:
    """What the lease of a living process has in it."""
    program = "import sys; from pathlib import Path; from tcf.common.lease_file import acquire; import time"
    command = [sys.executable, "-c", f"{program}; acquire(Path(sys.argv[1])); time.sleep(300)", str(tmp_path / "its")]
    with subprocess.Popen(command, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}) as process:
        try:
            wait_for(lambda: (tmp_path / "its").exists(), patience=60)
            yield json.loads((tmp_path / "its").read_text())
        finally:
            process.kill()


def test_a_process_whose_id_is_used_again_holds_nothing(tmp_path: Path, holder: dict[str, Any]) -> None:
    file = tmp_path / ".claim"
    boot, ticks = holder["started"].split()

    def held(**changed: object) -> bool:
        file.write_text(json.dumps({**holder, **changed}))
        return is_held(file)

    assert held()
    assert not held(started=f"{boot} {int(ticks) - 1}")
    assert not held(started=f"{'0' * len(boot)} {ticks}")
    assert held(machine="elsewhere", started="another")
    assert held(started=""), "nothing is known of its start"
    assert held(started=5)
    del holder["started"]
    assert held(), "a lease of an older version"


def test_a_lease_of_an_earlier_process_of_this_id_is_not_own(tmp_path: Path) -> None:
    file = tmp_path / ".claim"
    assert acquire(file)
    mine = json.loads(file.read_text())
    file.write_text(json.dumps({**mine, "started": "another"}))
    assert not is_own(file)
    assert acquire(file), "that process has ended"
    assert json.loads(file.read_text()) == mine
    file.write_text(json.dumps({"machine": mine["machine"], "pid": mine["pid"]}))
    assert is_own(file)


def test_others_can_read_a_lease_whatever_the_mask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = os.umask(0o077)
    try:
        assert acquire(tmp_path / "at once")
        monkeypatch.setattr(lease_file, "_make_at_once", lambda file, content: False)
        assert acquire(tmp_path / "in steps")
    finally:
        os.umask(old)
    assert {stat.S_IMODE(file.stat().st_mode) & 0o444 for file in tmp_path.iterdir()} == {0o444}


def test_a_folder_with_something_in_it_is_not_removed(tmp_path: Path) -> None:
    (tmp_path / "claim").mkdir()
    (tmp_path / "claim" / "mine").touch()
    with pytest.raises(OSError, match="not empty"):
        remove(tmp_path / "claim")
    assert (tmp_path / "claim" / "mine").exists()


@pytest.mark.parametrize("pid", [10**30, 2**63, 0, -1])
def test_numbers_that_no_process_has(pid: int) -> None:
    assert not is_alive(pid)
