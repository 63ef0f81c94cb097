import importlib.metadata
import json
import os
import resource
import signal
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from typer.testing import CliRunner

import tcf
from small_models import save_dataset
from tcf.cli import app
from tcf.config import ExtractConfig, PrepareConfig, TrainConfig
from tcf.data.cache_writer import create_cache, write_join, write_shard
from tcf.data.keys import text_keys

COMMAND = [sys.executable, "-m", "tcf.cli"]
ENVIRONMENT = {**os.environ, "COLUMNS": "200", "PYTHONPATH": str(Path(tcf.__file__).parents[1])}


def run(*words: str | Path) -> "subprocess.CompletedProcess[str]":
    command = [*COMMAND, *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=ENVIRONMENT)


def run_main(program: str) -> "subprocess.Popen[str]":
    """The command line with another program in the place of its commands."""
    lines = f"import sys, time\nimport tcf.cli\nfrom tcf.errors import *\ndef app():\n    {program}\n"
    command = [sys.executable, "-c", lines + "tcf.cli.app = app\ntcf.cli.main()"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT)


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """A cache of two items, whose dataset is `d` beside it."""
    dataset = save_dataset(tmp_path / "d", ["b", "a"])
    identity = {"pooling": "mean", "max_tokens": 30, "compute": "float32", "storage": "float16"}
    create_cache(tmp_path / "c", identity=identity, model="toy", width=2)
    keys = text_keys(pa.array(["a", "b"], pa.large_string()))
    write_shard(tmp_path / "c", keys, np.array([[1, 2], [3, 4]], np.float16))
    write_join(tmp_path / "c", dataset, texts=keys, sequences=keys, facts={"items": 2})
    return tmp_path / "c"


def test_help_is_quick() -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    done = run("--help")
    seconds = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before
    assert done.returncode == 0
    assert all(command in done.stdout for command in ("data", "extract", "cache", "train"))
    # Importing torch alone takes longer than this.
    assert seconds < 1


def test_no_arguments_are_a_call_for_help() -> None:
    assert "Usage: " in run().stdout + run().stderr


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
    try:
        expected = importlib.metadata.version("tcf")
    except importlib.metadata.PackageNotFoundError:
        expected = "(not installed)"
    assert (done.returncode, done.stdout, done.stderr) == (0, f"tcf {expected}\n", "")


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
        (["extract", "--data", "d", "--model", "m", "--out", "c", "--pooling", "max"], "--pooling"),
        (["extract", "--data", "d", "--model", "m"], "--out"),
        (["data", "prepare", "csv", "raw", "--out", "d"], "csv"),
    ],
)
def test_a_wrong_command_line_has_status_2_and_names_the_fault(words: list[str], named: str) -> None:
    done = run(*words)
    assert (done.returncode, done.stdout) == (2, "")
    assert named in done.stderr
    assert "Traceback" not in done.stderr


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


def test_a_cache_is_described_in_words_and_in_json(cache: Path) -> None:
    words = CliRunner().invoke(app, ["cache", "describe", str(cache)])
    assert words.exit_code == 0
    assert "vectors: 2" in words.stdout
    assert "  pooling: mean" in words.stdout
    described = json.loads(CliRunner().invoke(app, ["cache", "describe", str(cache), "--json"]).stdout)
    assert (described["vectors"], described["width"], described["encoder"]["model"]) == (2, 2, "toy")


def test_a_cache_is_verified(cache: Path) -> None:
    assert "2 vectors in 1 shards" in CliRunner().invoke(app, ["cache", "verify", str(cache)]).stdout
    result = json.loads(CliRunner().invoke(app, ["cache", "verify", str(cache), "--json"]).stdout)
    assert result == {"path": str(cache), "shards": 1, "vectors": 2, "missing": 0, "verified": True}
    (file,) = cache.rglob("vectors.npy")
    file.write_bytes(file.read_bytes()[:-1] + b"\xff")
    done = run("cache", "verify", cache)
    assert done.returncode == 2
    assert "sha256 differs" in done.stderr


@pytest.mark.parametrize("named", [False, True])
def test_a_cache_is_exported(cache: Path, tmp_path: Path, named: bool) -> None:
    data = ["--data", str(tmp_path / "d")] if named else []
    done = CliRunner().invoke(app, ["cache", "export", str(cache), *data, "--out", str(tmp_path / "v.npy")])
    assert done.stdout == f"{tmp_path / 'v.npy'}: 2 vectors of width 2, float16\n"
    assert np.load(tmp_path / "v.npy").tolist() == [[3, 4], [1, 2]]
