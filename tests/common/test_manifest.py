"""Manifests of valid JSON whose content is damaged: one error that says what is wrong, never a traceback."""

import json
from pathlib import Path
from typing import Any

import pytest

from tcf.common.errors import DataError
from tcf.common.files import MANIFEST, publishing
from tcf.common.integrity.verified_files import verify_files
from tcf.common.manifest import Format, read_manifest, seal

TOY = Format(
    name="toy",
    version=1,
    error=DataError,
    made_by="tcf toy",
    required={"facts.width": int, "facts.share": float, "config.kind": str, "files.a.txt": dict},
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with publishing(tmp_path / "d") as staging:
        (staging / "a.txt").write_text("hello")
        facts = {"width": 3, "share": 1}
        seal(staging, TOY, inputs={"raw": "r"}, config={"kind": "k"}, facts=facts)
    return tmp_path / "d"


def edit(folder: Path, place: tuple[str, ...], value: Any) -> None:
    """Set an entry of the manifest; None removes it."""
    content = json.loads((folder / MANIFEST).read_text())
    inner = content
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    if value is None:
        del inner[place[-1]]
    (folder / MANIFEST).write_text(json.dumps(content))


def test_what_is_whole_is_read(folder: Path) -> None:
    manifest = read_manifest(folder, TOY)
    assert manifest.facts == {"width": 3, "share": 1}
    verify_files(folder, manifest, TOY)


@pytest.mark.parametrize("content", ["[]", "3", "null", "{}", '{"format": "toy"}', "{", '"text"'])
def test_something_else_than_a_manifest(folder: Path, content: str) -> None:
    (folder / MANIFEST).write_text(content)
    with pytest.raises(DataError, match=r"manifest\.json: expected a directory .*; restore it"):
        read_manifest(folder, TOY)


@pytest.mark.parametrize("name", ["inputs", "config", "facts", "versions", "files"])
@pytest.mark.parametrize("value", [[], "text", 3])
def test_every_mapping_must_be_one(folder: Path, name: str, value: Any) -> None:
    edit(folder, (name,), value)
    with pytest.raises(DataError, match=rf"expected {name}, a mapping, found .*; restore it .* run `tcf toy` again"):
        read_manifest(folder, TOY)


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (("format",), 3, "expected format, a string, found 3"),
        (("fingerprint",), [], r"expected fingerprint, a string, found \[\]"),
        (("version",), "1", "expected version, a whole number, found '1'"),
        (("inputs", "raw"), 3, "expected inputs.raw, a string, found 3"),
        (("files", "a.txt"), [], r"expected files.a.txt, a mapping, found \[\]"),
        (("files", "a.txt", "bytes"), None, "expected files.a.txt.bytes, a whole number, found nothing"),
        (("files", "a.txt", "sha256"), 5, "expected files.a.txt.sha256, a string, found 5"),
        (("files", "a.txt"), None, "expected files.a.txt, a mapping, found nothing"),
        (("facts", "width"), None, "expected facts.width, a whole number, found nothing"),
        (("facts", "width"), "3", "expected facts.width, a whole number, found '3'"),
        (("facts", "width"), True, "expected facts.width, a whole number, found true"),
        (("facts", "share"), "1", "expected facts.share, a number, found '1'"),
        (("config", "kind"), 1, "expected config.kind, a string, found 1"),
    ],
)
def test_every_entry_that_is_relied_on_must_be_there(
    folder: Path, place: tuple[str, ...], value: Any, message: str
) -> None:
    edit(folder, place, value)
    with pytest.raises(DataError, match=rf"manifest\.json: {message}; restore it from a copy, or remove {folder} and"):
        read_manifest(folder, TOY)


def test_another_format_is_named_before_what_it_lacks(folder: Path) -> None:
    other = Format(name="other", version=1, error=DataError, made_by="tcf other", required={"facts.none": int})
    with pytest.raises(DataError, match="found format toy; name the right directory"):
        read_manifest(folder, other)


def test_what_to_do_about_a_damaged_file_can_be_said(folder: Path) -> None:
    manifest = read_manifest(folder, TOY)
    (folder / "a.txt").write_text("hellp")
    with pytest.raises(DataError, match=rf"its sha256 differs .*; restore it .* remove {folder} and run"):
        verify_files(folder, manifest, TOY)
    for content in ("hellp", "hell"):
        (folder / "a.txt").write_text(content)
        with pytest.raises(DataError, match="; ask for another$"):
            verify_files(folder, manifest, TOY, remedy="ask for another")
    (folder / "a.txt").unlink()
    with pytest.raises(DataError, match="found none; ask for another$"):
        verify_files(folder, manifest, TOY, remedy="ask for another")
