"""`tcf init` writes an example, and never over a file."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

import tcf
from tcf.commands.app import app
from tcf.common.errors import RunError

EXAMPLES = Path(tcf.__file__).parent / "examples"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("words", "name", "follows"),
    [
        ([], "study", "tcf study study.toml"),
        (["tcf-paper"], "tcf-paper", "tcf study tcf-paper.toml"),
        (["quickstart"], "quickstart", "tcf pipeline quickstart.toml"),
        (["best"], "best", "tcf pipeline best.toml"),
        (["search"], "search", "tcf search search.toml"),
    ],
)
def test_every_example_is_written_as_it_is(words: list[str], name: str, follows: str, here: Path) -> None:
    done = CliRunner().invoke(app, ["init", *words])
    assert done.exit_code == 0, done.output
    assert done.stdout == f"{name}.toml: written; change it for your own data, then run `{follows}`\n"
    assert [path.name for path in here.iterdir()] == [f"{name}.toml"]
    assert (here / f"{name}.toml").read_bytes() == (EXAMPLES / f"{name}.toml").read_bytes()


def test_it_offers_every_example() -> None:
    offered = {"study", "tcf-paper", "quickstart", "best", "search"}
    assert {path.stem for path in EXAMPLES.iterdir()} == offered


def test_another_place(here: Path) -> None:
    done = CliRunner().invoke(app, ["init", "--out", "my files/a.toml", "--json"])
    assert json.loads(done.stdout) == {"file": "my files/a.toml", "run": "tcf study 'my files/a.toml'"}
    assert (here / "my files" / "a.toml").is_file()


def test_a_file_that_is_there_stays(here: Path) -> None:
    (here / "study.toml").write_text("mine")
    (here / "gone.toml").symlink_to("nowhere")
    for out in ("study.toml", "gone.toml"):
        done = CliRunner().invoke(app, ["init", "--out", out])
        assert isinstance(done.exception, RunError)
        assert str(done.exception) == f"{out}: expected no such file, found one; name another --out, or remove it"
    assert (here / "study.toml").read_text() == "mine" and not (here / "nowhere").exists()
