"""Leases that name no process: each counts for seconds, whatever its times say and whatever it is."""

import json
import os
import stat
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tcf.common import lease_file
from tcf.common.files import is_alive, this_machine
from tcf.common.lease_file import acquire, is_expired, is_held, is_own, remove

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
    monkeypatch.setattr(time, "time", lambda: now + 12)
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
