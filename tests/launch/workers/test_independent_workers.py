"""Workers that share this process's work, of small programs: how they are started, watched and ended."""

import json
import re
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from small.launch.waiting import wait_for
from tcf.config.extract import ExtractConfig
from tcf.launch.workers import local_processes, worker
from tcf.launch.workers.independent_workers import IndependentWorkers
from tcf.launch.workers.jobs import ExtractionJob, decode_message, encode_message
from tcf.launch.workers.worker import WorkerSpec

JOB = ExtractionJob(
    Path("d"), Path("m é"), Path("/c"), "a name", ExtractConfig(layers=(0, -1), shards="1/2"), threads=3
)


def spec(name: str) -> WorkerSpec:
    return WorkerSpec(name, "tcf.launch.extract_process", JOB, JOB.threads)


def program(monkeypatch: pytest.MonkeyPatch, lines: str) -> None:
    monkeypatch.setattr(local_processes, "_BOOTSTRAP", lines)


def received(line: bytes) -> ExtractionJob:
    message = decode_message(line)
    assert message is not None
    return ExtractionJob.from_message(message)


def test_a_job_there_and_back() -> None:
    line = encode_message(JOB.as_message())
    assert line.count(b"\n") == 1 and line.endswith(b"\n")
    assert received(line) == JOB
    # A name that is no UTF-8.
    odd = replace(JOB, model=Path("m\udcff"))
    assert received(encode_message(odd.as_message())) == odd


def test_an_unfinished_line_is_no_message() -> None:
    line = encode_message({"text": "é\n", "number": 0.1})
    assert decode_message(line) == {"text": "é\n", "number": 0.1}
    assert decode_message(line[:-1]) is None
    assert decode_message(b"") is None


def test_a_process_gets_its_job_its_threads_and_our_modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = f"""
import json, os, sys
told = [sys.stdin.readline(), os.environ["OMP_NUM_THREADS"], json.loads(sys.argv[1])]
open({str(tmp_path / "new")!r}, "w").write(json.dumps(told))
os.rename({str(tmp_path / "new")!r}, {str(tmp_path / "told")!r})
print("not for our output")
"""
    program(monkeypatch, lines)
    with IndependentWorkers() as workers:
        workers.start(spec("cpu"))
        wait_for((tmp_path / "told").exists, patience=60)
    line, threads, path = json.loads((tmp_path / "told").read_text())
    assert received(line.encode()) == JOB
    assert (threads, path) == ("3", sys.path)
    assert workers.failed == []


def test_a_process_finds_what_this_one_finds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Here another `tcf`, which comes first on our path and nowhere else; an interruption is left to us."""
    (tmp_path / "tcf" / "launch").mkdir(parents=True)
    for folder in ("tcf", "tcf/launch"):
        (tmp_path / folder / "__init__.py").touch()
    lines = f"""
import os, signal
def main():
    os.kill(os.getpid(), signal.SIGINT)
    open({str(tmp_path / "there")!r}, "w")
"""
    (tmp_path / "tcf" / "launch" / "extract_process.py").write_text(lines)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    with IndependentWorkers() as workers:
        workers.start(spec("cpu"))
        wait_for(lambda: (tmp_path / "there").exists() or workers.failed, patience=60)
    assert workers.failed == []


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        ("print('extract: 1/2 items', file=sys.stderr); sys.exit('tcf: error: m: no weights')", "m: no weights"),
        ("sys.stderr.write('a warning\\n\\nextract: 1/2\\n'); sys.exit(2)", "a warning"),
        ("sys.exit(3)", "ended with status 3"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("import os; os.kill(os.getpid(), 9)", "ended by SIGKILL"),
    ],
)
@pytest.mark.usefixtures("shown_log")
def test_a_process_that_fails_is_told_of_at_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], lines: str, reason: str
) -> None:
    program(monkeypatch, f"import sys; {lines}")
    with IndependentWorkers() as workers:
        workers.start(spec("cuda:1 (process 2 of 2)"))
        wait_for(lambda: workers.failed, patience=60)
        (line,) = capsys.readouterr().err.splitlines()
    assert line == f"tcf: warning: cuda:1 (process 2 of 2) failed: {reason}; the others continue with its work"
    assert workers.failed == ["cuda:1 (process 2 of 2)"]
    assert capsys.readouterr().err == ""


@pytest.mark.usefixtures("shown_log")
def test_a_process_that_cannot_be_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "gone"))
    with IndependentWorkers() as workers:
        workers.start(spec("cpu"))
    assert workers.failed == ["cpu"]
    assert re.match(
        r"tcf: warning: cpu failed: it cannot be started \(no such file or directory: .*gone\); the others continue",
        capsys.readouterr().err,
    )


@pytest.mark.usefixtures("shown_log")
def test_those_still_there_are_ended_and_count_as_sound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of two, one does not end when it is asked to."""
    program(monkeypatch, f"import time; open({str(tmp_path / 'one')!r}, 'w'); time.sleep(300)")
    monkeypatch.setattr(worker, "_PATIENCE", 0.2)
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt), IndependentWorkers() as workers:
        workers.start(spec("one"))
        program(
            monkeypatch,
            "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
            f"open({str(tmp_path / 'two')!r}, 'w'); time.sleep(300)",
        )
        workers.start(spec("two"))
        wait_for(lambda: (tmp_path / "one").exists() and (tmp_path / "two").exists(), patience=60)
        raise KeyboardInterrupt
    assert time.monotonic() - began < 60
    outcomes = [worker.wait() for worker in workers._workers]
    assert [outcome and outcome.status for outcome in outcomes] == [-15, -9]
    assert (workers.failed, capsys.readouterr().err) == ([], "")
