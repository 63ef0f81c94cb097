import re
from pathlib import Path

import pytest

from tcf.data import reading_progress
from tcf.data.reading_progress import ReadingProgress, read_positions


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Two files that are large enough, and are looked at only when a test says so."""
    monkeypatch.setattr(reading_progress, "_LARGE", 10)
    monkeypatch.setattr(reading_progress, "_SECONDS_BETWEEN_LOOKS", 3600.0)
    monkeypatch.setattr("tcf.common.progress._SECONDS_BETWEEN_LINES", 0.0)
    (tmp_path / "a").write_bytes(bytes(3_000_000))
    (tmp_path / "b").write_bytes(bytes(1_000_000))
    return [tmp_path / "a", tmp_path / "b"]


def test_positions_are_those_of_open_files(files: list[Path]) -> None:
    with files[0].open("rb", buffering=0) as stream, files[0].open("rb", buffering=0) as other:
        stream.read(1000)
        other.read(7)
        assert read_positions(dict.fromkeys(files, 0)) == {files[0]: 1000}
    assert read_positions(dict.fromkeys(files, 0)) == {}


def said(capsys: pytest.CaptureFixture[str]) -> list[tuple[str, str]]:
    """What is done and what is being done, without rates and times."""
    found = []
    for line in capsys.readouterr().err.splitlines():
        match = re.match(r"prepare: (\d+/\d+) MB[^(]*(?:\((.*)\))?$", line)
        assert match is not None, line
        found.append((match[1], match[2] or ""))
    return found


def test_bytes_are_shown_as_they_are_read_and_then_what_follows(
    files: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    with ReadingProgress("prepare", files) as progress:
        with files[0].open("rb", buffering=0) as stream:
            stream.read(2_000_000)
            progress.look()
            stream.seek(0)  # read once more
            stream.read(1_000_000)
            progress.look()
            stream.read()
            progress.look()
        with files[1].open("rb", buffering=0) as stream:
            stream.read()
            progress.look()
        progress.phase("writing")
    assert said(capsys) == [
        ("0/4", ""),
        ("0/4", "reading"),
        ("2/4", "reading"),
        ("2/4", "reading"),
        ("3/4", "reading"),
        ("4/4", "sorting"),
        ("4/4", "writing"),
        ("4/4", "writing"),
    ]


def test_where_the_system_does_not_tell_there_are_the_parts_of_the_work(
    files: list[Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(reading_progress, "_DESCRIPTORS", tmp_path / "nowhere")
    with ReadingProgress("prepare", files) as progress, files[0].open("rb", buffering=0) as stream:
        stream.read()
        progress.look()
        progress.phase("writing")
    assert [words for _, words in said(capsys)] == ["", "reading", "reading", "writing", "writing"]


def test_nothing_is_shown_of_small_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a").write_bytes(b"small")
    with ReadingProgress("prepare", [tmp_path / "a"]) as progress:
        progress.phase("writing")
    assert capsys.readouterr().err == ""
