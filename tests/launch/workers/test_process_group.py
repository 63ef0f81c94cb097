"""Workers that can only work together, of small programs: what becomes of all when one fails."""

import json
import re
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tcf.common.errors import CacheError, RunError
from tcf.launch.workers import local_processes, process_group
from tcf.launch.workers.jobs import Job
from tcf.launch.workers.local_processes import LocalProcesses, LocalWorker
from tcf.launch.workers.process_group import run_process_group
from tcf.launch.workers.worker import WorkerSpec

START = "import json, os, signal, sys, time; from pathlib import Path; "
WAIT = "time.sleep(300)"


@dataclass(frozen=True)
class Program(Job):
    """A job that is a program."""

    program: str


@pytest.fixture(autouse=True)
def small_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker runs the program that is its job, and need not import anything."""
    bootstrap = "import json, sys; exec(json.loads(sys.stdin.readline())['program'])"
    monkeypatch.setattr(local_processes, "_BOOTSTRAP", bootstrap)
    monkeypatch.setattr(process_group, "_GRACE", 0.5)


def run(*programs: str, starter: LocalProcesses | None = None) -> None:
    specs = [
        WorkerSpec(f"cpu ({n})", "none", Program(START + program), 2, {"RANK": str(n)})
        for n, program in enumerate(programs, 1)
    ]
    run_process_group(starter or LocalProcesses(), specs)


def reporting(error: str | None, text: str, at: float = 0.0) -> str:
    report = json.dumps({"error": error, "text": text, "at": at})
    return f"Path(os.environ['TCF_ERROR_REPORT']).write_text({report!r}); sys.exit(1)"


def test_all_do_their_work_with_their_own_variables(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """What the first one says is for people."""
    program = (
        f"(Path({str(tmp_path)!r}) / os.environ['RANK']).write_text(os.environ['OMP_NUM_THREADS']);"
        "print('said by', os.environ['RANK'], file=sys.stderr); print('told')"
    )
    run(program, program, program)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"1": "2", "2": "2", "3": "2"}
    assert capfd.readouterr() == ("", "said by 1\n")


@pytest.mark.parametrize(
    ("programs", "kind", "message"),
    [
        ([WAIT, reporting("CacheError", "c: no vectors")], CacheError, "c: no vectors"),
        # An error the user can fix takes precedence over its consequences, whichever is reported first.
        ([reporting(None, "closed", 1.0), reporting("CacheError", "c: no", 2.0)], CacheError, "c: no"),
        ([reporting("RunError", "both", 2.0), reporting("CacheError", "both", 1.0)], RunError, "both"),
        (
            [WAIT, "os.kill(os.getpid(), signal.SIGKILL)", WAIT],
            RunError,
            "cpu (2) was ended by SIGKILL, and the others with it; run the same command again",
        ),
        (["sys.exit(143)", WAIT], RunError, "cpu (1) was ended by SIGTERM, and the others with it; run the same com"),
        ([reporting(None, "closed", 1.5), "os.kill(os.getpid(), 9)"], RunError, "cpu (2) was ended by SIGKILL"),
        (
            [reporting(None, "closed", 1.5), reporting(None, "a trace\nof it", 1.4)],
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
        run(*programs)
    assert type(caught.value) is kind
    assert time.monotonic() - began < 30


def test_whatever_ends_this_process_ends_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[LocalWorker] = []

    class Recording(LocalProcesses):
        def start(self, spec: WorkerSpec) -> LocalWorker:
            started.append(super().start(spec))
            return started[-1]

    def interrupted(*given: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(process_group, "_wait_for_all", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(WAIT, WAIT, starter=Recording())
    outcomes = [worker.wait() for worker in started]
    assert [outcome and outcome.status for outcome in outcomes] == [-15, -15]


def test_one_that_cannot_be_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "gone"))
    with pytest.raises(
        RunError, match=r"^cpu \(1\): .* cannot be started \(no such file or directory: .*gone\); free memory"
    ):
        run(WAIT)
