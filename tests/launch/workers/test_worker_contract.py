"""What every starter must do, with real workers. A new starter only adds itself to `STARTERS`."""

import json
import logging
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from small.launch.waiting import is_gone, wait_for
from small.launch.workers import SmallJob
from tcf.common.errors import CacheError
from tcf.common.logs import configure_logging
from tcf.launch.workers import process_group
from tcf.launch.workers import worker as module
from tcf.launch.workers.independent_workers import IndependentWorkers
from tcf.launch.workers.local_processes import LocalProcesses
from tcf.launch.workers.process_group import run_process_group
from tcf.launch.workers.worker import Outcome, ProcessStarter, Worker, WorkerSpec, end_workers, ready

STARTERS: tuple[type[ProcessStarter], ...] = (LocalProcesses,)
PATIENCE = 60.0
CONVERSATION = WorkerSpec("echo", "small.launch.conversations", converses=True)

# Starts workers that do not end by themselves, and does not end either.
STARTER = """
import importlib, json, sys, time
sys.path[:] = json.loads(sys.argv[1])
from pathlib import Path
from small.launch.workers import SmallJob
from tcf.launch.workers.worker import WorkerSpec

starter = getattr(importlib.import_module(sys.argv[2]), sys.argv[3])()
folder = Path(sys.argv[4])
jobs = [SmallJob("sleep", folder, "0"), SmallJob("ignore SIGTERM", folder, "1")]
workers = [starter.start(WorkerSpec(job.name, "small.launch.workers", job)) for job in jobs]
echo = starter.start(WorkerSpec("echo", "small.launch.conversations", converses=True))
echo.send({})
print(json.dumps(echo.receive()), flush=True)
time.sleep(300)
"""


@pytest.fixture(params=STARTERS, ids=lambda kind: kind.__name__)
def starter(request: pytest.FixtureRequest) -> ProcessStarter:
    made: ProcessStarter = request.param()
    return made


@contextmanager
def started(starter: ProcessStarter, *specs: WorkerSpec) -> Iterator[list[Worker]]:
    """Workers that are ended with the block."""
    workers: list[Worker] = []
    try:
        for spec in specs:
            workers.append(starter.start(spec))
        yield workers
    finally:
        end_workers(workers)


def specs(folder: Path, *actions: str) -> list[WorkerSpec]:
    jobs = [SmallJob(action, folder, str(number)) for number, action in enumerate(actions)]
    return [WorkerSpec(f"worker {job.name}", "small.launch.workers", job, 3, {"SMALL": job.name}) for job in jobs]


def notes(folder: Path, workers: int) -> list[dict[str, Any]]:
    """What so many workers wrote about themselves; waits until all have."""
    paths = [folder / str(number) for number in range(workers)]
    wait_for(lambda: all(path.exists() for path in paths), patience=PATIENCE)
    return [json.loads(path.read_text()) for path in paths]


def outcome_of(worker: Worker) -> Outcome:
    outcome = worker.wait(PATIENCE)
    assert outcome is not None
    return outcome


def test_workers_get_their_jobs_threads_variables_and_level_of_the_log(starter: ProcessStarter, tmp_path: Path) -> None:
    configure_logging(logging.DEBUG)
    with started(starter, *specs(tmp_path, "end", "SIGINT", "end")) as workers:
        assert [outcome_of(worker) for worker in workers] == [Outcome(0, None, ("progress",))] * 3
        assert [worker.name for worker in workers] == ["worker 0", "worker 1", "worker 2"]
    found = notes(tmp_path, 3)
    assert [note["action"] for note in found] == ["end", "SIGINT", "end"]
    assert [(note["OMP_NUM_THREADS"], note["SMALL"]) for note in found] == [("3", "0"), ("3", "1"), ("3", "2")]
    assert {note["TCF_LOG_LEVEL"] for note in found} == {str(logging.DEBUG)}
    assert len({note["pid"] for note in found}) == 3


@pytest.mark.parametrize(
    ("action", "status", "error", "summary"),
    [
        ("refuse", 2, "CacheError", "c: expected vectors, found none"),
        ("refuse with an error of its own", 2, "CacheError", "c: expected vectors, found none"),
        ("defect", 1, None, "ZeroDivisionError: division by zero"),
        ("exit", 3, None, None),
        ("SIGKILL", -9, None, None),
    ],
)
def test_one_that_fails_says_why_and_the_others_go_on(
    starter: ProcessStarter, tmp_path: Path, action: str, status: int, error: str | None, summary: str | None
) -> None:
    with started(starter, *specs(tmp_path, "sleep", action)) as [other, worker]:
        outcome = outcome_of(worker)
        assert other.wait(0) is None
        assert worker.wait() == outcome
    assert (outcome.status, outcome.stderr) == (status, ("progress",))
    assert outcome.ended_by == (signal.SIGKILL if status < 0 else None)
    assert (outcome.report and (outcome.report.error, outcome.report.summary)) == (summary and (error, summary))


def test_a_defect_is_reported_with_its_traceback_and_the_moment(starter: ProcessStarter, tmp_path: Path) -> None:
    began = time.monotonic()
    with started(starter, *specs(tmp_path, "defect")) as [worker]:
        report = outcome_of(worker).report
    assert report is not None
    assert report.text.startswith("Traceback (most recent call last):\n") and "print(1 / 0)" in report.text
    assert began < report.at < time.monotonic()


def test_all_end_when_asked_with_force_where_that_takes_long(
    starter: ProcessStarter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_PATIENCE", 2.0)
    workers = [starter.start(spec) for spec in [*specs(tmp_path, "sleep", "ignore SIGTERM", "end"), CONVERSATION]]
    found = notes(tmp_path, 3)
    assert outcome_of(workers[2]).status == 0
    workers[3].send({})
    echo = workers[3].receive()
    assert echo is not None
    outcomes = end_workers(workers)
    assert [outcome.status for outcome in outcomes] == [143, -signal.SIGKILL, 0, -signal.SIGTERM]
    assert [outcome.report for outcome in outcomes] == [None] * 4
    assert all(is_gone(pid) for pid in (*(note["pid"] for note in found), echo["pid"]))
    assert [(tmp_path / f"{number}.cleaned-up").exists() for number in range(3)] == [True, False, True]
    assert end_workers(workers) == outcomes
    for worker in workers:
        worker.send({"lost": True})


def test_all_end_when_the_process_that_started_them_is_killed(starter: ProcessStarter, tmp_path: Path) -> None:
    kind = type(starter)
    command = [sys.executable, "-c", STARTER, json.dumps(sys.path), kind.__module__, kind.__name__, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        pids = [note["pid"] for note in notes(tmp_path, 2)]
        pids.append(json.loads(parent.stdout.readline())["pid"])
        assert not any(is_gone(pid) for pid in pids)
        parent.kill()
    wait_for(lambda: all(is_gone(pid) for pid in pids), patience=PATIENCE)
    assert (tmp_path / "0.cleaned-up").exists()


def test_messages_go_there_and_back(starter: ProcessStarter, tmp_path: Path) -> None:
    with started(starter, CONVERSATION, CONVERSATION) as [first, second]:
        for worker in (second, first, second):
            worker.send({"text": "é\n", "number": 0.1})
            assert ready([first, second]) == [worker]
            message = worker.receive()
            assert message is not None and (message["text"], message["number"]) == ("é\n", 0.1)
        first.kill()
        assert ready([first, second]) == [first]
        assert first.receive() is None
        assert outcome_of(first).ended_by == signal.SIGKILL
        assert second.wait(0) is None


def test_what_a_worker_prints_goes_where_it_should(
    starter: ProcessStarter, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A conversation's is added to a log, with the traceback of a defect."""
    log = tmp_path / "log"
    log.write_text("before\n")
    [job] = specs(tmp_path, "end")
    inherits = WorkerSpec(job.name, job.module, job.job, stderr="inherit")
    logs = WorkerSpec("echo", "small.launch.conversations", stderr=log, converses=True)
    with started(starter, inherits, logs) as [inheriting, logging]:
        assert outcome_of(inheriting) == Outcome(0, None, None)
        logging.send({"print": "for people"})
        logging.send({"defect": "gone"})
        assert logging.receive() is None
        outcome = outcome_of(logging)
    assert capfd.readouterr() == ("", "progress\n")
    lines = log.read_text().splitlines()
    assert lines[:3] == ["before", "for people", "Traceback (most recent call last):"]
    assert lines[-1] == "KeyError: 'gone'"
    assert (outcome.status, outcome.report and outcome.report.summary) == (1, "KeyError: 'gone'")


@pytest.mark.parametrize("action", ["refuse", "refuse with an error of its own"])
def test_a_group_ends_with_the_first_failure(
    starter: ProcessStarter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, action: str
) -> None:
    monkeypatch.setattr(process_group, "_GRACE", 0.5)
    with pytest.raises(CacheError, match="^c: expected vectors,\nfound none$"):
        run_process_group(starter, specs(tmp_path, "sleep", action))
    assert all(is_gone(note["pid"]) for note in notes(tmp_path, 2))
    run_process_group(starter, specs(tmp_path, "end", "end"))


@pytest.mark.usefixtures("shown_log")
def test_a_worker_that_fails_independently_is_announced(
    starter: ProcessStarter, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with IndependentWorkers(starter) as workers:
        for spec in specs(tmp_path, "sleep", "refuse"):
            workers.start(spec)
        found = notes(tmp_path, 2)
        wait_for(lambda: bool(workers.failed), patience=PATIENCE)
        assert not is_gone(found[0]["pid"])
    assert is_gone(found[0]["pid"])
    assert workers.failed == ["worker 1"]
    warning = "tcf: warning: worker 1 failed: c: expected vectors, found none; the others continue with its work\n"
    assert capsys.readouterr().err == warning
