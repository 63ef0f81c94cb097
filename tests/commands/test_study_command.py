"""The command line of studies: the default command, options of processes and jobs, and statuses."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from small.command_line import contexts
from small.launch.pipelines import write_tcf
from small.launch.studies import changed
from tcf.commands.app import app
from tcf.commands.command import DefaultGroup
from tcf.launch.study.status import detach
from tcf.launch.study.study import Study

IDS = changed('items = ["text", "id"]', 'items = ["id"]')


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_tcf(tmp_path / "raw")
    (tmp_path / "s.toml").write_text(IDS)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*words: str) -> Result:
    return CliRunner().invoke(app, [*words])


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("f.toml --dry-run", "run f.toml --dry-run"),
        ("--dry-run f.toml", "run --dry-run f.toml"),
        ("-q f.toml", "-q run f.toml"),
        ("run f.toml", "run f.toml"),
        ("status f.toml --watch", "status f.toml --watch"),
        ("-v status f.toml", "-v status f.toml"),
        ("--help", "--help"),
        ("", ""),
    ],
)
def test_without_a_command_the_file_is_run(words: str, expected: str) -> None:
    group = contexts()["tcf study"].command
    assert isinstance(group, DefaultGroup)
    assert group.with_default(words.split()) == expected.split()


def test_a_dry_run_lists_all_units_and_writes_nothing(here: Path) -> None:
    before = sorted(here.rglob("*"))
    done = run("study", "s.toml", "--dry-run", "--set", "grid.seeds=[0, 3]", "--json")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert [(unit["unit"], unit["state"]) for unit in told["units"]] == [
        ("prepare/walks", "waiting"),
        ("evaluate/walks/popularity", "waiting"),
        *((f"{stage}/walks/sasrec-id/seed-{n}", "waiting") for n in (0, 3) for stage in ("train", "evaluate")),
        ("compare", "waiting"),
    ]
    shown = run("study", "s.toml", "--dry-run")
    assert "all (5 units)" in shown.output and "nothing has been written" in shown.output
    assert sorted(here.rglob("*")) == before


def test_options_of_processes_and_jobs_replace_those_of_the_file(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[tuple[Study, tuple[str, ...], list[str]]] = []

    def catch(study: Study, overrides: tuple[str, ...], arguments: list[str]) -> detach.Detached:
        given.append((study, overrides, arguments))
        return detach.Detached(study, 123, (), study.state / "study.log")

    monkeypatch.setattr(detach, "detach", catch)
    (here / "s.toml").write_text(f"{IDS}\n[launch]\nworkers = 3\n[launch.train]\ntries = 7\nmemory = '9GB'\n")
    words = ["--launcher", "slurm", "--tries", "2", "--sbatch", "a=b", "--sbatch", "c", "--nodes-per-worker", "2"]
    done = run("study", "s.toml", "--detach", *words, "--set", "train.epochs=5")
    assert done.exit_code == 0, done.output
    assert f"watch it: tcf study status {here}/out --watch" in done.output and "stop it: kill 123" in done.output
    [(study, overrides, arguments)] = given
    train, extract = study.launch["train"], study.launch["extract"]
    assert (train.launcher, train.tries, train.memory, train.workers) == ("slurm", 2, "9GB", 3)
    assert (train.sbatch, train.nodes_per_worker, extract.nodes_per_worker) == (("a=b", "c"), 2, 1)
    assert (extract.launcher, extract.tries, extract.workers) == ("slurm", 2, 3)
    assert overrides == ("train.epochs=5",)
    assert arguments[:5] == ["study", "run", "s.toml", "--set", "train.epochs=5"]
    assert sorted(arguments[5:]) == sorted(words) and list(study.options) == arguments[5:]
    assert {setting.config.epochs for setting in study.settings} == {5}


def test_a_status_before_the_start(here: Path) -> None:
    done = run("study", "status", "s.toml", "--json")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told["activity"] == "ended" and told["stages"]["train"]["waiting"] == 1
    assert not (here / "out").exists()
    assert "expected the folder of a study" in str(run("study", "status", str(here)).exception)


def test_in_the_background_then_a_status_then_a_failure(here: Path) -> None:
    """As users do: detached, watched from another process, a failure reported by its exit status, and mended."""
    own = here / "out/results.csv"
    own.parent.mkdir()
    own.write_text("a table of the user's own\n")
    done = run("study", "s.toml", "--detach", "--tries", "1", "--json")
    assert done.exit_code == 0, done.output
    process = json.loads(done.stdout)["process"]
    try:
        watched = _tcf("study", "status", "s.toml", "--watch")
    finally:
        _end(process)
    assert watched.returncode == 1, watched.stdout
    log = (here / "out/state/study.log").read_text()
    assert "1 of 5 units failed; the first is compare: " in log and "run `tcf study " in log
    assert "failed:\n  compare: " in watched.stdout and watched.stdout.startswith("study: ")
    assert own.read_text() == "a table of the user's own\n"
    own.unlink()
    mended = _tcf("study", "s.toml")
    assert (mended.returncode, own.read_text().count("\n")) == (0, 4)
    assert mended.stdout.startswith("walks:\nranking ") and "4 found" in mended.stderr


def _tcf(*words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, "-m", "tcf", *words], capture_output=True, text=True, check=False)


def _end(process: int) -> None:
    """Wait for a child of this process, which is ended if it does not end by itself."""
    until = time.monotonic() + 60
    while os.waitpid(process, os.WNOHANG) == (0, 0):
        if time.monotonic() > until:
            os.kill(process, signal.SIGTERM)
        time.sleep(0.1)
