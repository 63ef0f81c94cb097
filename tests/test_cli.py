import configparser
import os
import resource
import signal
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import tcf
from tcf.commands.app import app
from tcf.config.extract import ExtractConfig
from tcf.config.prepare import PrepareConfig
from tcf.config.train import TrainConfig
from tcf.data.dataset import open_dataset

COMMAND = [sys.executable, "-m", "tcf"]
ENVIRONMENT = {**os.environ, "COLUMNS": "200", "PYTHONPATH": str(Path(tcf.__file__).parents[1])}


def run(*words: str | Path) -> "subprocess.CompletedProcess[str]":
    command = [*COMMAND, *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=ENVIRONMENT)


def run_main(program: str) -> "subprocess.Popen[str]":
    """The command line with another program in the place of its commands."""
    lines = "import sys, time\nimport tcf.cli, tcf.commands.app\nfrom tcf.common.errors import *\n"
    replaced = f"def run_commands():\n    {program}\n    return 0\ntcf.commands.app.run_commands = run_commands\n"
    command = [sys.executable, "-c", lines + replaced + "tcf.cli.main()"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT)


def test_help_is_quick() -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    done = run("--help")
    seconds = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before
    assert done.returncode == 0
    assert all(command in done.stdout for command in ("data", "extract", "cache", "train"))
    # Importing torch alone takes longer than this.
    assert seconds < 1


def test_no_arguments_are_a_call_for_help() -> None:
    done, help = run(), run("--help")
    assert (done.returncode, done.stdout, done.stderr) == (2, help.stdout, "")


@pytest.mark.parametrize(
    ("command", "kind"),
    [(["data", "prepare"], PrepareConfig), (["extract"], ExtractConfig), (["train"], TrainConfig)],
)
def test_every_setting_is_an_option(command: list[str], kind: Any) -> None:
    shown = run(*command, "--help").stdout
    for entry in fields(kind):
        assert f"--{entry.name.replace('_', '-')}" in shown


def test_version() -> None:
    done = run("--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"tcf {tcf.__version__}\n", "")


def test_the_version_is_that_of_the_code_and_of_no_other_distribution(tmp_path: Path) -> None:
    """Neither of somebody else's tcf, nor of an earlier installation of this one."""
    other = tmp_path / "tcf-9.9.dist-info"
    other.mkdir()
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: tcf\nVersion: 9.9\n")
    script = (
        "import importlib.metadata, sys; from tcf.common.manifest import library_versions; "
        "print(importlib.metadata.version('tcf'), library_versions()['tcf'], 'torch' in sys.modules)"
    )
    path = os.pathsep.join([str(tmp_path), ENVIRONMENT["PYTHONPATH"]])
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        env={**ENVIRONMENT, "PYTHONPATH": path},
        cwd=tmp_path,  # the folder of a clone may hold what an earlier installation left
    )
    assert done.stdout.split() == ["9.9", tcf.__version__, "False"]


def test_the_distribution_is_text_cf_with_the_version_of_the_code() -> None:
    about = configparser.ConfigParser()
    about.read(Path(tcf.__file__).parents[1] / "setup.cfg", encoding="utf-8")
    assert (about["metadata"]["name"], about["metadata"]["version"]) == ("text-cf", "attr: tcf.__version__")


def test_an_error_is_one_line_and_status_2(tmp_path: Path) -> None:
    done = run("cache", "describe", tmp_path / "nowhere")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"tcf: error: {tmp_path / 'nowhere'}: expected a directory of format tcf-cache")
    assert done.stderr.count("\n") == 1


def test_an_error_of_several_lines_becomes_one() -> None:
    process = run_main(r"raise DataError('one\n  two')")
    assert process.communicate() == ("", "tcf: error: one two\n")
    assert process.returncode == 2


def test_a_defect_keeps_its_traceback() -> None:
    process = run_main("raise RuntimeError('a defect')")
    _, said = process.communicate()
    assert process.returncode == 1
    assert said.startswith("Traceback")
    assert said.endswith("RuntimeError: a defect\n")


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["extract", "--no-such-option"], "--no-such-option"),
        (["no-such-command"], "no-such-command"),
        (["extract", "--data", "d", "--model", "m", "--out", "c", "--shard-rows", "0"], "--shard-rows"),
        (["extract", "--data", "d", "--model", "m", "--out", "c", "--max-tokens", "x"], "--max-tokens"),
        (["extract", "--data", "d", "--model", "m", "--out", "c", "--pooling", "median"], "--pooling"),
        (["extract", "--data", "d", "--model", "m"], "--out"),
        (["extract", "--data", "d", "--model", "m", "--out", "c", "--token-states", "x"], "--token-states"),
        (["extract", "--data", "d", "--model", "m", "--out", "c", "--token-storage", "int8"], "--token-storage"),
        (["data", "prepare", "csv", "raw", "--out", "d"], "csv"),
    ],
)
def test_a_wrong_command_line_has_status_2_and_names_the_fault(words: list[str], named: str) -> None:
    done = run(*words)
    assert (done.returncode, done.stdout) == (2, "")
    assert named in done.stderr
    assert "Traceback" not in done.stderr


def test_a_dataset_is_prepared_with_texts_by_a_template(tmp_path: Path) -> None:
    (tmp_path / "x.item").write_text("item_id:token\ttitle:token_seq\tgenre:token_seq\na\tAlpha\tfun\nb\tBeta\t\n")
    (tmp_path / "x.inter").write_text("user_id:token\titem_id:token\nu\ta\nu\tb\nu\ta\n")
    words = ["data", "prepare", "recbole", str(tmp_path), "--out", str(tmp_path / "d"), "--min-history", "3"]
    done = CliRunner().invoke(app, [*words, "--template", "{{{title}}}: {genre}"])
    assert done.exit_code == 0, done.output
    assert open_dataset(tmp_path / "d").texts.to_pylist() == ["{Alpha}: fun", "{Beta"]
    refused = run(*words, "--template", "{genre}", "--text-columns", "title")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr.startswith("tcf: error: --template: expected either --template or --text-columns, found both")


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_is_one_line(number: signal.Signals, status: int) -> None:
    process = run_main("print('ready', flush=True); time.sleep(60)")
    assert process.stdout and process.stdout.readline() == "ready\n"
    process.send_signal(number)
    printed, said = process.communicate()
    assert printed == ""
    assert said.startswith(f"tcf: interrupted by {number.name}; ")
    assert said.count("\n") == 1
    assert process.returncode == status


def test_a_reader_that_goes_away_is_no_defect() -> None:
    process = run_main("print('ready', flush=True); time.sleep(0.5); print('x' * 100_000, flush=True)")
    assert process.stdout and process.stdout.readline() == "ready\n"
    process.stdout.close()
    assert process.stderr and process.stderr.read() == ""
    process.stderr.close()
    assert process.wait() == 1
