import io
import logging
import subprocess
import sys
from pathlib import Path

import pytest

import tcf
from tcf.common.displays import open_display
from tcf.common.logs import LEVEL_VARIABLE, configure_as_parent, configure_logging, level_for_workers
from tcf.common.progress import Progress

logger = logging.getLogger("tcf.common.test_logs")


def run(*command: str) -> "subprocess.CompletedProcess[str]":
    """A process of its own, in which nobody has configured logging."""
    environment = {"PYTHONPATH": str(Path(tcf.__file__).parents[1])}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


def work() -> None:
    """A detail, a note, a warning and some progress."""
    logger.debug("a detail")
    logger.info("a note of 100%")
    logger.warning("a warning")
    with Progress("work", 1, "items"):
        pass


PROGRESS = ["work: 0/1 items", "work: 0/1 items in under 1 s"]


@pytest.mark.parametrize(
    ("level", "shown"),
    [
        (logging.WARNING, ["tcf: warning: a warning"]),
        (logging.INFO, ["a note of 100%", "tcf: warning: a warning", *PROGRESS]),
        (logging.DEBUG, ["a detail", "a note of 100%", "tcf: warning: a warning", *PROGRESS]),
    ],
)
def test_the_level_says_what_is_shown(level: int, shown: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(logging.ERROR)
    configure_logging(level)  # in place of the first call, not beside it
    work()
    printed, said = capsys.readouterr()
    assert (printed, said.splitlines()) == ("", shown)


def test_handlers_of_others_have_the_records(caplog: pytest.LogCaptureFixture) -> None:
    configure_logging()
    work()
    assert caplog.messages == ["a note of 100%", "a warning"]


def test_a_caller_who_configures_a_log_of_notes_has_the_progress_in_it(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    with caplog.at_level(logging.INFO):
        work()
    assert caplog.messages == ["a note of 100%", "a warning", *PROGRESS]
    assert caplog.records[-1].name == "tcf.progress"
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("name", ["tcf", "tcf.progress"])
def test_a_level_above_info_turns_progress_off(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    before = logging.getLogger(name).level
    logging.getLogger(name).setLevel(logging.WARNING)
    try:
        with Progress("work", 1, "items"):
            pass
    finally:
        logging.getLogger(name).setLevel(before)
    assert capsys.readouterr().err == ""


SCRIPT = """
import logging
from tcf.common.logs import configure_logging
from tcf.common.progress import Progress
{configured}
logging.getLogger("tcf.a").info("a note")
logging.getLogger("tcf.a").warning("a warning")
with Progress("work", 1, "items"):
    pass
print("done")
"""


def test_a_library_that_nobody_configured_shows_warnings_and_progress() -> None:
    done = run(sys.executable, "-c", SCRIPT.format(configured=""))
    assert (done.returncode, done.stdout) == (0, "done\n")
    assert done.stderr.splitlines() == ["a warning", *PROGRESS]


@pytest.mark.parametrize("redirection", ["2>/dev/full", "2>&-"])
def test_a_standard_error_that_takes_nothing_stops_nothing(redirection: str) -> None:
    script = SCRIPT.format(configured="configure_logging()")
    done = run("sh", "-c", f'exec "$0" -c "$1" {redirection}', sys.executable, script)
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")


def test_a_worker_logs_at_the_level_of_its_parent() -> None:
    assert level_for_workers() == logging.NOTSET
    configure_logging(logging.DEBUG)
    level = str(level_for_workers())
    configure_logging(logging.WARNING)
    configure_as_parent({LEVEL_VARIABLE: level})
    assert logging.getLogger("tcf").level == logging.DEBUG


def test_a_worker_of_a_parent_that_nobody_configured_is_left_alone() -> None:
    for environment in ({}, {LEVEL_VARIABLE: str(level_for_workers())}, {LEVEL_VARIABLE: "loud"}):
        configure_as_parent(environment)
    assert logging.getLogger("tcf").level == logging.NOTSET


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_lines_appear_above_the_bar_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "40")
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    configure_logging()
    long = "/".join(["a long path"] * 10) + " [bold]"
    with Progress("outer", 2, "items") as outer:
        assert sys.stderr is not terminal
        logger.info(long)
        with Progress("inner", 1, "parts") as inner:
            inner.advance(1)
        print("from a library", file=sys.stderr)
        outer.advance(2)
    assert sys.stderr is terminal
    text = terminal.getvalue()
    lines = text.replace("\r", "\n").splitlines()
    assert any(line.endswith(long) for line in lines)
    assert any("inner: 1/1 parts in under 1 s" in line for line in lines)
    assert any(line.endswith("from a library") for line in lines)
    # One bar is the last thing drawn, after everything that was written.
    assert text.rindex("outer") > text.rindex("from a library")
    assert text.endswith("\x1b[?25h")  # and the cursor is there again


def test_a_terminal_without_cursor_movements_has_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    terminal = Terminal()
    display = open_display("work", 2, stream=terminal, seconds_between_lines=10, clock=lambda: 0.0)
    display.show(1, "1/2")
    display.note("a note")
    display.close()
    assert terminal.getvalue() == "work: 1/2\na note\n"
