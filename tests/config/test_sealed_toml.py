"""A configuration file that changed since tcf wrote it is named, whatever changed; what people write is not."""

import logging
from pathlib import Path

import pytest

from small.command_line import run_program
from tcf.commands.options import read_settings
from tcf.config.sealed_toml import sealed_toml

CONTENT = b"# Trial 1.\nwidth = 64\n"


def warnings_of(file: Path, content: bytes, caplog: pytest.LogCaptureFixture) -> list[str]:
    caplog.clear()
    file.write_bytes(content)
    with caplog.at_level(logging.WARNING, "tcf"):
        read_settings(file)
    return caplog.messages


@pytest.mark.parametrize(
    ("old", "new"), [(b"width = 64", b"width = 24"), (b"Trial 1", b"Trial 3"), (b"width = 64\n", b"")]
)
def test_a_change_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture, old: bytes, new: bytes) -> None:
    file = tmp_path / "best.toml"
    assert warnings_of(file, sealed_toml(CONTENT), caplog) == []
    [said] = warnings_of(file, sealed_toml(CONTENT).replace(old, new), caplog)
    assert said.startswith(f"{file}: changed since tcf wrote it; ")


def test_without_its_first_line_it_is_a_file_like_any_other(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert warnings_of(tmp_path / "mine.toml", CONTENT, caplog) == []
    assert read_settings(tmp_path / "mine.toml") == {"width": 64}


@pytest.mark.parametrize(("content", "named"), [(b"", "found neither"), (b"width = 64 # \xff\n", "another encoding")])
def test_what_is_left_of_a_file_is_an_error_that_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], content: bytes, named: str
) -> None:
    file = tmp_path / "best.toml"
    file.write_bytes(content)
    with run_program(monkeypatch) as run:
        assert run(["train", "--config", str(file), "--out", str(tmp_path / "new")]) == 2
    said = capfd.readouterr().err
    assert f"tcf: error: {file}: " in said and named in said and "; " in said
