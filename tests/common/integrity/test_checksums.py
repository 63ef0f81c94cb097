"""Checksums of large files: remembered while a file stays as it is, and never longer."""

import hashlib
import os
import re
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from small.encoders.models import save_opt
from small.launch.kills import run_program
from tcf.common.errors import ModelError
from tcf.common.integrity import checksums as module
from tcf.common.integrity.checksums import SMALL, Reading, checksums
from tcf.common.integrity.sealed_json import sealed_json, unsealed_json
from tcf.encoders.folder import weight_files as weight_files_module
from tcf.encoders.folder.weight_files import weight_files, weights_digest

OLD = 1_000_000_000  # seconds since 1970
WEIGHTS = Reading("the weights", ModelError, "fix it or download it again", small=0)


@pytest.fixture
def old(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files just made count as old ones."""
    monkeypatch.setattr(module, "_FRESH", -1e9)


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that are opened to be read whole."""
    names: list[str] = []
    opened = Path.open

    def opening(self: Path, mode: str = "r", *arguments: Any, **named: Any) -> Any:
        if named.get("buffering") == 0:
            names.append(self.name)
        return opened(self, mode, *arguments, **named)

    monkeypatch.setattr(Path, "open", opening)
    return names


def written(path: Path, content: bytes, seconds: int = OLD) -> Path:
    path.write_bytes(content)
    os.utime(path, (seconds, seconds))
    return path


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.mark.usefixtures("old")
def test_a_file_is_read_once(tmp_path: Path, read: list[str]) -> None:
    files = [written(tmp_path / name, name.encode()) for name in ("a", "b", "c")]
    expected = [sha256(b"a"), sha256(b"b"), sha256(b"c")]
    assert checksums(files[:2], tmp_path / "home", WEIGHTS) == expected[:2]
    assert sorted(read) == ["a", "b"]
    assert checksums(files, tmp_path / "home", WEIGHTS) == expected
    assert checksums(files[::-1], tmp_path / "home", WEIGHTS) == expected[::-1]
    assert sorted(read) == ["a", "b", "c"]
    assert len(list((tmp_path / "home").iterdir())) == 3


@pytest.mark.usefixtures("old")
@pytest.mark.parametrize("change", ["content", "longer", "another", "time", "same times"])
def test_a_file_that_changed_is_read_again(tmp_path: Path, read: list[str], change: str) -> None:
    file = written(tmp_path / "a", b"abc")
    checksums([file], tmp_path / "home", WEIGHTS)
    match change:
        case "content":
            file.write_bytes(b"abd")
        case "longer":
            written(file, b"abcd")
        case "another":
            # Of the same name, size and time.
            written(tmp_path / "new", b"abd").replace(file)
        case "time":
            os.utime(file, (OLD, OLD + 1))
        case "same times":
            time.sleep(0.02)  # the clock of files is a coarse one
            written(file, b"abd")
    assert checksums([file], tmp_path / "home", WEIGHTS) == [sha256(file.read_bytes())]
    assert read == ["a", "a"]
    # One entry a path, the latest.
    assert len(list((tmp_path / "home").iterdir())) == 1
    checksums([file], tmp_path / "home", WEIGHTS)
    assert read == ["a", "a"]


@pytest.mark.usefixtures("old")
def test_one_file_behind_two_links_is_read_once(tmp_path: Path, read: list[str]) -> None:
    written(tmp_path / "blob", b"abc")
    for name in ("one", "two"):
        (tmp_path / name).symlink_to("blob")
        assert checksums([tmp_path / name], tmp_path / "home", WEIGHTS) == [sha256(b"abc")]
    assert read == ["one"]


@pytest.mark.usefixtures("old")
@pytest.mark.parametrize(
    "kept",
    [b"", b"{", b"\xff", b"[]", b"3", b"{}", "sha256: 3", "sha256: 'x'", "size: 4", "inode: 0", "path: '/else'"],
)
def test_what_is_kept_and_cannot_be_used_is_passed_over(tmp_path: Path, read: list[str], kept: bytes | str) -> None:
    file = written(tmp_path / "a", b"abc")
    checksums([file], tmp_path / "home", WEIGHTS)
    (place,) = (tmp_path / "home").iterdir()
    whole = place.read_bytes()
    match kept:
        case bytes():
            place.write_bytes(kept)
        case str():
            key, _, value = kept.partition(": ")
            entries = unsealed_json(whole)
            place.write_text(sealed_json({**entries, key: value.strip("'")}))
    assert checksums([file], tmp_path / "home", WEIGHTS) == [sha256(b"abc")]
    assert read == ["a", "a"]
    assert place.read_bytes() == whole


def test_small_files_and_those_just_changed_are_not_remembered(
    tmp_path: Path, read: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    large_ones = Reading("the weights", ModelError, "download it again")
    small, large = written(tmp_path / "small", bytes(SMALL - 1)), tmp_path / "large"
    with large.open("wb") as stream:
        stream.truncate(SMALL)
    checksums([large], tmp_path / "home", large_ones)
    os.utime(large, (OLD, OLD))  # which is a change, too
    checksums([large], tmp_path / "home", large_ones)
    assert not (tmp_path / "home").exists()
    monkeypatch.setattr(time, "time", lambda: large.stat().st_ctime + module._FRESH + 0.01)
    checksums([large, small], tmp_path / "home", large_ones)
    assert len(list((tmp_path / "home").iterdir())) == 1
    assert checksums([large], tmp_path / "home", large_ones) == [sha256(bytes(SMALL))]
    assert read.count("large") == 3


@pytest.mark.usefixtures("old")
def test_a_file_that_changes_while_it_is_read_is_not_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = written(tmp_path / "a", b"abc")
    plain = module._Reader._sha256

    def changing(self: Any, number: int) -> str:
        found = plain(self, number)
        written(file, b"abd", OLD + 1)
        return found

    monkeypatch.setattr(module._Reader, "_sha256", changing)
    checksums([file], tmp_path / "home", WEIGHTS)
    monkeypatch.undo()
    assert checksums([file], tmp_path / "home", WEIGHTS) == [sha256(b"abd")]


@pytest.mark.usefixtures("old")
@pytest.mark.usefixtures("shown_log")
def test_where_nothing_can_be_kept_it_is_said_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "home").write_text("a file")
    files = [written(tmp_path / name, name.encode()) for name in "abc"]
    assert checksums(files, tmp_path / "home", WEIGHTS) == [sha256(name.encode()) for name in "abc"]
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("tcf: warning: the weights will be read again for their checksums next time: ")
    assert str(tmp_path / "home") in line


@pytest.mark.parametrize("soon", [60.0, 0.0], ids=["before progress", "beside progress"])
def test_a_file_that_cannot_be_read_is_named_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, soon: float
) -> None:
    """The one before it goes on for as long as it is waited for."""
    monkeypatch.setattr(module, "_SOON", soon)
    slow, gone = written(tmp_path / "slow", b"abc"), tmp_path / "gone"
    began = threading.Event()
    plain = module._Reader._sha256

    def reading(self: Any, number: int) -> str:
        if number == 0:
            began.set()
            assert self._stopped.wait(50)
        return plain(self, number)

    def mark(file: Path) -> Any:
        if file == gone:
            assert began.wait(50)
            time.sleep(0.2)
        return plain_mark(file)

    plain_mark = module._Mark.of
    recalled = iter([None, None])
    monkeypatch.setattr(module, "_recalled", lambda *arguments: next(recalled))
    monkeypatch.setattr(module._Reader, "_sha256", reading)
    monkeypatch.setattr(module._Mark, "of", mark)
    with pytest.raises(ModelError, match=rf"{gone}: cannot be read \(no such file or directory\)"):
        checksums([slow, gone], tmp_path / "home", WEIGHTS)
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize(("limit", "much", "told"), [("_SOON", 0.0, True), ("_MUCH", 1, True), ("_MUCH", 2**30, False)])
def test_progress_is_shown_where_it_takes_long(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    limit: str,
    much: float,
    told: bool,
) -> None:
    file = written(tmp_path / "a", bytes(3 * 2**20 + 1))
    plain = module._Reader._sha256

    def slow(self: Any, number: int) -> str:
        time.sleep(0.3)
        return plain(self, number)

    if told:
        monkeypatch.setattr(module._Reader, "_sha256", slow)
    monkeypatch.setattr(module, limit, much)
    checksums([file], tmp_path / "home", WEIGHTS)
    lines = capsys.readouterr().err.splitlines()
    assert bool(lines) is told
    if told:
        assert lines[0] == "checksums of the weights: 0/3 MiB"
        assert re.match(r"checksums of the weights: 3/3 MiB in (0:00:0\d|under 1 s), ", lines[-1])


def test_a_models_digest_is_the_same_remembered_or_not(
    tmp_path: Path, read: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = save_opt(tmp_path / "m", shard="20KB")
    monkeypatch.setenv("TCF_HOME", str(tmp_path / "home"))
    plain = weights_digest(folder)
    assert not (tmp_path / "home").exists()
    monkeypatch.setattr(weight_files_module, "SMALL", 0)
    monkeypatch.setattr(module, "_FRESH", -1e9)
    assert [weights_digest(folder) for _ in range(3)] == [plain] * 3
    names = [file.name for file in weight_files(folder)]
    assert len(names) > 1
    assert sorted(read) == sorted(names * 2)
    assert len(list((tmp_path / "home" / "digests").iterdir())) == len(names)
    file = tmp_path / "vectors.txt"
    file.write_bytes(b"abc")
    assert [weights_digest(file) for _ in range(2)] == [sha256(b"abc")] * 2
    assert read.count("vectors.txt") == 1


INTERRUPTED = """
import os, signal, sys, threading, time
from pathlib import Path
from tcf.common.errors import ModelError
from tcf.common.integrity import checksums
signal.signal(signal.SIGINT, signal.default_int_handler)  # it may have been ignored where this was started
threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
began = time.monotonic()
plain = checksums.hashlib.sha256
class Slow:
    def __init__(self, first=b""):
        self.plain = plain(first)
    def update(self, piece):
        time.sleep(0.01)
    def hexdigest(self):
        return self.plain.hexdigest()
checksums.hashlib.sha256 = Slow
checksums._FRESH = -1e9
try:
    reading = checksums.Reading("the weights", ModelError, "fix it")
    checksums.checksums([Path(sys.argv[1])], Path(sys.argv[2]), reading)
except KeyboardInterrupt:
    print(time.monotonic() - began)
"""


def test_an_interruption_does_not_wait_for_the_end_of_a_file(tmp_path: Path) -> None:
    with (tmp_path / "a").open("wb") as stream:
        stream.truncate(20 * 2**30)  # 200 seconds at the pace of this test; it takes no space
    done = run_program(INTERRUPTED, tmp_path / "a", tmp_path / "home")
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 10
    assert not (tmp_path / "home").exists()
