"""Files of published directories are compared with their manifests before they are parsed."""

import io
import os
from pathlib import Path

import pytest

from small.data.caches import flip_bit
from tcf.common.errors import DataError
from tcf.common.files import publishing
from tcf.common.integrity import checksums as checksums_module
from tcf.common.integrity import verified_files as module
from tcf.common.integrity.checksums import Verify
from tcf.common.integrity.sealed_json import sealed_json, unsealed_json
from tcf.common.integrity.verified_files import verified_source, verify_files
from tcf.common.manifest import Format, read_manifest, seal

TOY = Format(name="toy", version=1, error=DataError, made_by="tcf toy")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with publishing(tmp_path / "d") as staging:
        for name in "ab":
            (staging / f"{name}.txt").write_text(f"file {name}")
        seal(staging, TOY, inputs={}, config={}, facts={})
    return tmp_path / "d"


def test_a_small_file_is_parsed_from_the_bytes_that_were_compared(folder: Path) -> None:
    manifest = read_manifest(folder, TOY)
    source = verified_source(folder, "a.txt", manifest, TOY)
    assert isinstance(source, io.BytesIO)
    assert source.read() == b"file a"
    flip_bit(folder / "a.txt", 2)
    with pytest.raises(DataError, match=rf"{folder}/a\.txt: its sha256 differs .*; restore it .* `tcf toy` again"):
        verified_source(folder, "a.txt", manifest, TOY)
    with pytest.raises(DataError, match=r"its sha256 differs .*; call us"):
        verified_source(folder, "a.txt", manifest, TOY, remedy="call us")


def test_a_large_file_is_parsed_from_its_place(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SMALL", 0)
    manifest = read_manifest(folder, TOY)
    assert verified_source(folder, "a.txt", manifest, TOY) == folder / "a.txt"
    flip_bit(folder / "a.txt", 2)
    with pytest.raises(DataError, match="its sha256 differs"):
        verified_source(folder, "a.txt", manifest, TOY)


@pytest.mark.parametrize("name", ["a.txt", "b.txt"])
def test_the_file_that_is_missing_cut_or_unlisted_is_named(folder: Path, name: str) -> None:
    manifest = read_manifest(folder, TOY)
    (folder / name).write_text("file")
    with pytest.raises(DataError, match=rf"{folder}/{name}: expected 6 bytes, found 4; restore"):
        verify_files(folder, manifest, TOY)
    (folder / name).unlink()
    for check in (lambda: verify_files(folder, manifest, TOY), lambda: verified_source(folder, name, manifest, TOY)):
        with pytest.raises(DataError, match=rf"{folder}/{name}: expected a file, .* found none; restore"):
            check()
    with pytest.raises(DataError, match=r"manifest\.json: expected an entry for c, found none"):
        verified_source(folder, "c", manifest, TOY)


@pytest.mark.parametrize(("verify", "found"), [("once", False), ("always", True)])
def test_what_is_remembered_counts_for_once_only(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verify: Verify, found: bool
) -> None:
    monkeypatch.setenv("TCF_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(checksums_module, "_FRESH", -1e9)
    manifest, file = read_manifest(folder, TOY), folder / "a.txt"
    verify_files(folder, manifest, TOY, verify="once", small=0)
    (kept, _) = sorted((tmp_path / "home" / "digests").iterdir(), key=lambda kept: "b.txt" in kept.read_text())
    flip_bit(file, 0)
    stamp = {"mtime_ns": file.stat().st_mtime_ns, "ctime_ns": file.stat().st_ctime_ns}
    kept.write_text(sealed_json({**unsealed_json(kept.read_text()), **stamp}))
    if not found:
        return verify_files(folder, manifest, TOY, verify=verify, small=0)
    with pytest.raises(DataError, match="its sha256 differs"):
        verify_files(folder, manifest, TOY, verify=verify, small=0)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every file")
def test_a_file_without_permission_is_one_error(folder: Path) -> None:
    (folder / "a.txt").chmod(0)
    with pytest.raises(DataError, match=rf"{folder}/a\.txt: cannot be read \(permission denied\); fix that"):
        verify_files(folder, read_manifest(folder, TOY), TOY)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"a": 1}', '{"a": 1, "checksum": "x"}', b"\xff"])
def test_a_sealed_file_of_another_kind(text: str | bytes) -> None:
    with pytest.raises(ValueError):
        unsealed_json(text)


def test_a_flip_in_a_sealed_file() -> None:
    text = sealed_json({"a": 1.5, "b": ["x", None]})
    assert unsealed_json(text) == {"a": 1.5, "b": ["x", None]}
    for place in range(len(text)):
        flipped = text[:place] + chr(ord(text[place]) ^ 1) + text[place + 1 :]
        try:
            assert unsealed_json(flipped) == {"a": 1.5, "b": ["x", None]}  # white space
        except ValueError:
            continue
