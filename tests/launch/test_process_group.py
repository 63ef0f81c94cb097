"""Processes that can only work together, of small programs: what becomes of all when one fails."""

import json
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tcf.common.errors import CacheError, RunError
from tcf.launch import process_group, processes
from tcf.launch.process_group import Member, work_together

START = "import json, os, signal, sys, time; from pathlib import Path; "
WAIT = "time.sleep(300)"


@dataclass(frozen=True)
class Lines:
    """Work that is a program."""

    program: str
    threads: int = 2

    def as_line(self) -> bytes:
        return f"{json.dumps(START + self.program)}\n".encode()


@pytest.fixture(autouse=True)
def small_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process does what it is told in Python, and need not import anything."""
    monkeypatch.setattr(processes, "_PROGRAM", "import json, sys; exec(json.loads(sys.stdin.readline()))")
    monkeypatch.setattr(process_group, "_GRACE", 0.5)


def members(*programs: str) -> list[Member]:
    return [Member(f"cpu ({n})", "none", Lines(program), {"RANK": str(n)}) for n, program in enumerate(programs, 1)]


def telling(error: str | None, text: str, at: float = 0.0) -> str:
    told = json.dumps({"error": error, "text": text, "at": at})
    return f"print({told!r}); sys.exit(1)"


def test_all_do_their_work_with_their_own_variables(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """What the first one says is for people."""
    program = (
        f"(Path({str(tmp_path)!r}) / os.environ['RANK']).write_text(os.environ['OMP_NUM_THREADS']);"
        "print('said by', os.environ['RANK'], file=sys.stderr); print('told')"
    )
    work_together(members(program, program, program))
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"1": "2", "2": "2", "3": "2"}
    assert capfd.readouterr() == ("", "said by 1\n")


@pytest.mark.parametrize(
    ("programs", "kind", "message"),
    [
        ([WAIT, telling("CacheError", "c: no vectors")], CacheError, "c: no vectors"),
        # What a user can mend goes before what follows from it, whoever says it first.
        ([telling(None, "closed", 1.0), telling("CacheError", "c: no", 2.0)], CacheError, "c: no"),
        ([telling("RunError", "both", 2.0), telling("CacheError", "both", 1.0)], RunError, "both"),
        (
            [WAIT, "os.kill(os.getpid(), signal.SIGKILL)", WAIT],
            RunError,
            "cpu (2) was ended by SIGKILL, and so were the others; run the same command again",
        ),
        (["sys.exit(143)", WAIT], RunError, "cpu (1) was ended by SIGTERM, and so were the others; run the same com"),
        ([telling(None, "closed", 1.5), "os.kill(os.getpid(), 9)"], RunError, "cpu (2) was ended by SIGKILL"),
        (
            [telling(None, "closed", 1.5), telling(None, "a trace\nof it", 1.4)],
            RuntimeError,
            "cpu (2) failed:\na trace",
        ),
        ([WAIT, "sys.exit('unheard of')"], RuntimeError, "cpu (2) failed:\nstatus 1: unheard of"),
        (["sys.exit(3)", WAIT], RuntimeError, "cpu (1) failed:\nstatus 3: see above"),
    ],
)
def test_one_that_fails_ends_all(programs: Sequence[str], kind: type[Exception], message: str) -> None:
    began = time.monotonic()
    with pytest.raises(kind, match=f"^{re.escape(message)}") as caught:
        work_together(members(*programs))
    assert type(caught.value) is kind
    assert time.monotonic() - began < 30


def test_whatever_ends_this_process_ends_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[subprocess.Popen[bytes]] = []

    def start(*arguments: object, **named: object) -> "subprocess.Popen[bytes]":
        started.append(processes.start(*arguments, **named))  # type: ignore[arg-type]
        return started[-1]

    def interrupted(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(process_group, "start", start)
    monkeypatch.setattr(process_group, "_wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        work_together(members(WAIT, WAIT))
    assert [process.returncode for process in started] == [-15, -15]


def test_one_that_cannot_be_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "gone"))
    with pytest.raises(FileNotFoundError, match="gone"):
        work_together(members(WAIT))
