"""What all commands have in common, seen on two small ones."""

import logging
import sys
from pathlib import Path
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from tcf.commands.command import Command, Group, HeavyCommand

app = typer.Typer(cls=Group, rich_markup_mode=None)
inner = typer.Typer(cls=Group, rich_markup_mode=None)
app.add_typer(inner, name="inner")


@app.command("show", cls=HeavyCommand)
@inner.command("show", cls=Command)
def show(
    path: Path,
    more: Annotated[list[Path] | None, typer.Option()] = None,
    other: Annotated[Path | None, typer.Option()] = None,
    text: Annotated[str, typer.Option()] = "",
) -> None:
    level = logging.getLogger("tcf").level
    print(path, *more or (), other, text, logging.getLevelName(level))


def run(line: str) -> tuple[str, str]:
    done = CliRunner().invoke(app, line.split())
    assert done.exit_code == 0, done.output
    return done.stdout.strip(), done.stderr.strip()


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(
    ("line", "level"),
    [
        ("show x", "INFO"),
        ("show x -v", "DEBUG"),
        ("show x --quiet", "WARNING"),
        ("-q show x", "WARNING"),
        ("--verbose inner show x", "DEBUG"),
        ("inner -q show x", "WARNING"),
        ("-v inner show x", "DEBUG"),
        ("-q inner -v show x", "DEBUG"),
        ("-v inner show -q x", "WARNING"),
    ],
)
def test_the_last_word_says_how_much_is_logged(line: str, level: str) -> None:
    assert run(line)[0].split()[-1] == level


def test_a_command_that_loads_much_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    assert run("show x")[1].endswith("show: loading libraries")
    assert run("show x -q")[1] == ""
    assert run("inner show x")[1] == ""


def test_details_begin_with_versions(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TCF_HOME", str(home / "kept"))
    _, said = run("inner show x -v")
    assert "numpy " in said and f"stored files are in {home / 'kept'}" in said
    assert run("inner show x")[1] == ""


def test_libraries_are_heard_where_details_are_shown() -> None:
    from transformers.utils import logging as transformers_logging

    from tcf.encoders.failures import quiet

    kept = transformers_logging.get_verbosity()
    try:
        transformers_logging.set_verbosity(logging.WARNING)
        run("inner show x -v")
        quiet()
        assert transformers_logging.get_verbosity() == logging.WARNING
        run("inner show x")
        quiet()
        assert transformers_logging.get_verbosity() == logging.ERROR
    finally:
        transformers_logging.set_verbosity(kept)


def test_paths_may_begin_with_a_home_folder(home: Path) -> None:
    typed = "inner show ~/a --more ~/b --more c/~ --other ~ --text ~/d"
    assert run(typed)[0] == f"{home}/a {home}/b c/~ {home} ~/d INFO"
    # As it is where there is no such user.
    assert run("inner show ~nobody-of-this-name/a")[0].startswith("~nobody-of-this-name/a ")
