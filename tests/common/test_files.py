import errno
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import tcf
from tcf.common.errors import CacheError, DataError, RunError
from tcf.common.files import (
    MANIFEST,
    check_destination,
    is_alive,
    is_published,
    publish_file,
    publishing,
    publishing_file,
    remove_leftovers,
)
from tcf.common.integrity.verified_files import verify_files
from tcf.common.manifest import (
    Format,
    Manifest,
    digest,
    fingerprint_of,
    library_versions,
    read_manifest,
    seal,
    sha256_file,
)

TOY = Format(name="toy", version=3, error=DataError, made_by="tcf toy")
OTHER = Format(name="other", version=3, error=CacheError, made_by="tcf other")


def publish(path: Path, content: bytes = b"hello", **options: Any) -> Manifest:
    with publishing(path, **options) as staging:
        (staging / "a.txt").write_bytes(content)
        (staging / "sub").mkdir()
        (staging / "sub" / "b.txt").write_bytes(b"")
        return seal(staging, TOY, inputs={"raw": "r"}, config={"k": 1}, facts={"n": 2})


def in_another_process(program: str, *arguments: Path) -> int:
    header = "import os, sys; from pathlib import Path; from tcf.common.files import *\n"
    return subprocess.run([sys.executable, "-c", header + program, *map(str, arguments)], check=False).returncode


def test_digest_ignores_the_order_of_keys_and_nothing_else() -> None:
    assert digest({"b": [1, "é"], "a": None}) == digest({"a": None, "b": [1, "é"]})
    assert digest({"a": 1}) == hashlib.sha256(b'{"a":1}').hexdigest()
    assert (
        len({digest(value) for value in ({"a": 1}, {"a": "1"}, {"a": [1]}, {"a": 1.5}, {"b": 1}, [1, 2], [2, 1])}) == 7
    )
    with pytest.raises(ValueError, match="JSON"):
        digest(float("nan"))


def test_sha256_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"abc")
    assert sha256_file(tmp_path / "f") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_versions_of_what_is_installed() -> None:
    versions = library_versions()
    assert {"tcf", "numpy", "pyarrow", "torch", "transformers"} <= set(versions)
    assert versions["tcf"] == tcf.__version__
    assert all(version[0].isdigit() for version in versions.values())


def test_a_manifest_tells_what_is_there(tmp_path: Path) -> None:
    path = tmp_path / "new" / "d"
    written = publish(path)
    manifest = read_manifest(path, TOY)
    assert manifest == written
    assert (manifest.format, manifest.version) == ("toy", 3)
    assert (manifest.inputs, manifest.config, manifest.facts) == ({"raw": "r"}, {"k": 1}, {"n": 2})
    assert manifest.files == {
        "a.txt": {"bytes": 5, "sha256": hashlib.sha256(b"hello").hexdigest()},
        "sub/b.txt": {"bytes": 0, "sha256": hashlib.sha256(b"").hexdigest()},
    }
    assert manifest.versions == library_versions()
    assert json.loads((path / MANIFEST).read_text())["fingerprint"] == manifest.fingerprint
    verify_files(path, manifest, TOY)


def test_a_fingerprint_is_of_the_content_alone(tmp_path: Path) -> None:
    first, same, changed = (publish(tmp_path / name, text) for name, text in (("1", b"x"), ("2", b"x"), ("3", b"y")))
    assert first.fingerprint == same.fingerprint != changed.fingerprint


def test_a_given_identity_decides_the_fingerprint(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    sealed = seal(tmp_path / "a", TOY, inputs={}, config={}, facts={}, identity={"model": "m"})
    assert sealed.fingerprint == fingerprint_of(TOY, {"model": "m"})
    assert sealed.fingerprint not in (fingerprint_of(OTHER, {"model": "m"}), fingerprint_of(TOY, {"model": "n"}))


def test_nothing_is_there_before_the_end(tmp_path: Path) -> None:
    path = tmp_path / "d"
    with publishing(path) as staging:
        seal(staging, TOY, inputs={}, config={}, facts={})
        assert not path.exists()
        assert staging.parent == tmp_path
        assert staging.name.startswith(".")
    assert is_published(path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["d"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_a_failure_leaves_nothing(tmp_path: Path, error: type[BaseException]) -> None:
    with pytest.raises(error), publishing(tmp_path / "d") as staging:
        (staging / "half").touch()
        raise error
    with pytest.raises(error), publishing_file(tmp_path / "f") as file:
        file.write_text("half")
        raise error
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_is_not_overwritten(tmp_path: Path) -> None:
    publish(tmp_path / "d", b"first")
    with pytest.raises(RunError, match=f"{tmp_path / 'd'}: expected an unused path"):
        publish(tmp_path / "d", b"second")
    assert (tmp_path / "d" / "a.txt").read_bytes() == b"first"
    (tmp_path / "file").touch()
    with pytest.raises(RunError):
        publish(tmp_path / "file")
    (tmp_path / "empty").mkdir()
    publish(tmp_path / "empty")


def test_what_appears_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    with pytest.raises(RunError), publishing(tmp_path / "d"):
        publish(tmp_path / "d", b"faster")
    assert (tmp_path / "d" / "a.txt").read_bytes() == b"faster"
    assert [entry.name for entry in tmp_path.iterdir()] == ["d"]


def test_a_harmless_duplicate_is_discarded(tmp_path: Path) -> None:
    publish(tmp_path / "d", b"first", duplicate_is_harmless=True)
    publish(tmp_path / "d", b"second", duplicate_is_harmless=True)
    assert (tmp_path / "d" / "a.txt").read_bytes() == b"first"
    assert [entry.name for entry in tmp_path.iterdir()] == ["d"]


def test_even_a_harmless_duplicate_does_not_replace_something_else(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "letter").touch()
    with pytest.raises(RunError):
        publish(tmp_path / "d", duplicate_is_harmless=True)
    assert [entry.name for entry in (tmp_path / "d").iterdir()] == ["letter"]


def test_a_file_is_replaced_at_once(tmp_path: Path) -> None:
    publish_file(tmp_path / "new" / "f", b"old")
    with publishing_file(tmp_path / "new" / "f") as staging:
        staging.write_bytes(b"new")
        assert (tmp_path / "new" / "f").read_bytes() == b"old"
        inode = staging.stat().st_ino
    assert (tmp_path / "new" / "f").read_bytes() == b"new"
    # Renamed, not copied: a reader never sees half of it.
    assert (tmp_path / "new" / "f").stat().st_ino == inode
    assert [entry.name for entry in (tmp_path / "new").iterdir()] == ["f"]


def test_the_next_attempt_removes_what_a_killed_one_left(tmp_path: Path) -> None:
    kill = "with publishing(Path(sys.argv[1])) as s: (s / 'x').touch(); os._exit(9)"
    kill_file = "with publishing_file(Path(sys.argv[1])) as s: s.touch(); os._exit(9)"
    assert in_another_process(kill, tmp_path / "d") == 9
    assert in_another_process(kill, tmp_path / "d-other") == 9
    assert in_another_process(kill_file, tmp_path / "f") == 9
    assert len(list(tmp_path.iterdir())) == 3
    publish(tmp_path / "d")
    publish_file(tmp_path / "f", b"")
    left = sorted(entry.name for entry in tmp_path.iterdir())
    assert [name.split("-")[0] for name in left] == [".d", "d", "f"]
    assert remove_leftovers(tmp_path) == 1
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["d", "f"]


def test_what_a_living_process_is_writing_is_left_alone(tmp_path: Path) -> None:
    program = "with publishing(Path(sys.argv[1])) as s: print('ready', flush=True); sys.stdin.readline()"
    header = "import os, sys; from pathlib import Path; from tcf.common.files import *\n"
    command = [sys.executable, "-c", header + program, str(tmp_path / "d")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout and process.stdout.readline() == "ready\n"
        assert remove_leftovers(tmp_path) == 0
        assert len(list(tmp_path.iterdir())) == 1
        process.kill()
    assert remove_leftovers(tmp_path) == 1


def test_what_another_machine_is_writing_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / f".d.partial-0123456789ab-{os.getpid()}-aaaaaaaa").mkdir()
    assert remove_leftovers(tmp_path) == 0
    assert len(list(tmp_path.iterdir())) == 1


def test_names_are_not_patterns(tmp_path: Path) -> None:
    kill = "with publishing(Path(sys.argv[1])) as s: os._exit(9)"
    in_another_process(kill, tmp_path / "ab")
    publish(tmp_path / "[a]b")
    publish(tmp_path / "*")
    assert len([entry for entry in tmp_path.iterdir() if entry.name.startswith(".ab.partial")]) == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"found a directory without manifest\.json \(unfinished, or not made by tcf\); run `tcf toy` first"),
        (b"{", r"manifest\.json: expected .*, found invalid JSON"),
        (b"\xff", r"manifest\.json: expected .*, found invalid JSON"),
        (b"[1]", "found other keys"),
        (b'{"format": "toy"}', "found other keys"),
    ],
)
def test_a_damaged_manifest(tmp_path: Path, content: bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / MANIFEST).write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_manifest(tmp_path, TOY)


def test_nothing_there(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for name, found in (("nowhere", "nothing"), ("file", "a file; name its folder")):
        with pytest.raises(DataError, match=f"expected a directory of format toy made by `tcf toy`, found {found}"):
            read_manifest(tmp_path / name, TOY)


def test_another_format_and_another_version(tmp_path: Path) -> None:
    publish(tmp_path / "d")
    with pytest.raises(CacheError, match="expected a directory of format other .*, found format toy"):
        read_manifest(tmp_path / "d", OTHER)
    newer = Format(name="toy", version=4, error=DataError, made_by="tcf toy")
    with pytest.raises(DataError, match="expected version 4 of toy, found 3; remove it and run `tcf toy` again"):
        read_manifest(tmp_path / "d", newer)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda file: file.unlink(), "a.txt: expected a file, as .* lists it, found none"),
        (lambda file: file.write_bytes(b"hell"), "a.txt: expected 5 bytes, found 4"),
        (lambda file: file.write_bytes(b"hellp"), "a.txt: its sha256 differs"),
    ],
)
def test_verify_names_the_file_that_differs(tmp_path: Path, damage: Any, message: str) -> None:
    manifest = publish(tmp_path / "d")
    damage(tmp_path / "d" / "a.txt")
    with pytest.raises(DataError, match=message):
        verify_files(tmp_path / "d", manifest, TOY)


def test_what_the_system_refuses_is_one_error_and_leaves_nothing(tmp_path: Path) -> None:
    with (
        pytest.raises(RunError, match=r"out: cannot be written \(no space left on device\)"),
        publishing(tmp_path / "out"),
    ):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    (tmp_path / "file").touch()
    for below in ("x", "x/y"):
        with pytest.raises(RunError, match=r"cannot be written \(a parent is not a directory\); no partial output was"):
            check_destination(tmp_path / "file" / below)
    with pytest.raises(RunError, match=r"f: cannot be written \(short write\)"), publishing_file(tmp_path / "f"):
        raise OSError("short write")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("publish", [check_destination, lambda path: publishing(path).__enter__()])
def test_a_place_that_cannot_be_is_refused_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, publish: Callable[[Path], object]
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="cannot be written"):
        publish(tmp_path / "file" / "out")
    with pytest.raises(RunError, match="expected a path in UTF-8"):
        publish(tmp_path / os.fsdecode(b"caf\xe9"))
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    for place in (".", "..", "/"):
        with pytest.raises(RunError, match="add a name to it"):
            publish(Path(place))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "file"]


def test_a_place_that_can_be_is_left_as_it_is(tmp_path: Path) -> None:
    check_destination(tmp_path / "new" / "out")
    assert list((tmp_path / "new").iterdir()) == []


def test_a_process_that_has_ended_is_not_alive() -> None:
    assert is_alive(os.getpid())
    with subprocess.Popen(["true"]) as other:
        # Waits for its end and leaves it there, as a parent does that never asks.
        os.waitid(os.P_PID, other.pid, os.WEXITED | os.WNOWAIT)
        assert not is_alive(other.pid)
    assert not is_alive(other.pid)
