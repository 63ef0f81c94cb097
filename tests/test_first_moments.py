"""What ends a command in its first moments, and outputs that are full or closed: one line, never a traceback."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import tcf

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(tcf.__file__).parents[1])}
FULL = "/dev/full"


def shell(line: str) -> "subprocess.CompletedProcess[str]":
    """Run a line in which TCF stands for the program."""
    line = line.replace("TCF", f"{sys.executable} -m tcf")
    command = ["bash", "-o", "pipefail", "-c", line]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=ENVIRONMENT)


@pytest.mark.parametrize(
    ("number", "module"),
    [
        # Some modules that our code imports, the first one first; a command imports numpy.
        (signal.SIGINT, "typer.models"),
        (signal.SIGTERM, "tcf.config.fields"),
        (signal.SIGINT, "numpy"),
    ],
)
def test_a_signal_during_imports_is_one_line(number: signal.Signals, module: str, tmp_path: Path) -> None:
    # Python says on standard error which modules it has imported, at once.
    command = [sys.executable, "-X", "importtime", "-c", "from tcf.cli import main; main()", "runs", str(tmp_path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT)
    assert process.stdout and process.stderr
    for line in process.stderr:
        if line.split("|")[-1].strip() == module:
            process.send_signal(number)
            break
    said = [line for line in process.stderr if not line.startswith("import time:")]
    assert said == [f"tcf: interrupted by {number.name}; run the same command again to continue\n"]
    assert (process.wait(), process.stdout.read()) == (128 + number, "")


@pytest.mark.skipif(not Path(FULL).exists(), reason="this system has no full device")
@pytest.mark.parametrize("words", ["--help", "--version"])
def test_a_full_output_is_an_error(words: str) -> None:
    done = shell(f"TCF {words} > {FULL}")
    assert done.returncode == 2
    assert done.stderr == (
        "tcf: error: standard output: cannot be written (No space left on device); free space there, or write "
        "elsewhere\n"
    )


def test_a_closed_output_is_an_error() -> None:
    done = shell("TCF --help >&-")
    assert done.returncode == 2
    assert done.stderr == (
        "tcf: error: standard output: expected a terminal, file or pipe, found it closed; add `> /dev/null` to discard "
        "results\n"
    )


def test_a_closed_standard_error_leaves_results_as_they_are() -> None:
    done = shell("TCF --version 2>&-")
    assert (done.returncode, done.stdout[:4]) == (0, "tcf ")
    done = shell("TCF runs nowhere 2>&-")
    assert (done.returncode, done.stdout) == (2, "")


def test_a_reader_that_has_gone_is_told_nothing() -> None:
    done = shell("TCF --help | head -c 0")
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "")


def test_a_command_that_loads_much_says_so_first() -> None:
    command = [sys.executable, "-X", "importtime", "-m", "tcf", "evaluate", "nowhere", "--out", "nowhere"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT)
    assert process.stderr
    imported = []
    for line in process.stderr:
        if not line.startswith("import time:"):
            break
        imported.append(line.split("|")[-1].strip())
    process.kill()
    process.wait()
    process.stderr.close()
    assert line == "tcf evaluate: loading libraries\n"
    assert not {"torch", "numpy", "pyarrow"} & set(imported)
