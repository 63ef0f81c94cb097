"""Worker processes: what they are told, what they are heard to say, and how they end."""

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from tcf.common.errors import RunError
from tcf.common.files import is_alive
from tcf.config.train import TrainConfig
from tcf.launch.search.trial_workers import TrialWorker, trial_workers
from tcf.launch.workers import local_processes
from tcf.launch.workers.jobs import TrainingJob
from tcf.launch.workers.worker import ErrorReport, Outcome, ready

# Says back what it hears, with its process id and threads; ends like a real worker when it cannot hear any more.
ECHO = """
import json, os, sys
for line in sys.stdin:
    print("heard something", file=sys.stderr, flush=True)
    about = {"pid": os.getpid(), "threads": os.environ.get("OMP_NUM_THREADS")}
    print(json.dumps({**about, **json.loads(line)}), flush=True)
"""


@pytest.fixture(autouse=True)
def _echo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_processes, "_BOOTSTRAP", ECHO)
    monkeypatch.setenv("OMP_NUM_THREADS", "7")


def job(folder: Path) -> TrainingJob:
    return TrainingJob(folder / "data", (folder / "a", folder / "b"), folder / "run", TrainConfig(width=8), 3)


def begun(worker: TrialWorker, folder: Path) -> int:
    """Let a trial be trained; returns the process id."""
    worker.train(job(folder))
    told = worker.receive()
    assert told is not None
    return int(told["pid"])


def test_a_task_there_and_back(tmp_path: Path) -> None:
    assert TrainingJob.from_message(job(tmp_path).as_message()) == job(tmp_path)


def test_a_process_that_cannot_be_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "gone"))
    with trial_workers(tmp_path / "logs", 1, [], threads=1) as [worker]:
        match = r"^worker 1: .* cannot be started \(no such file or directory: .*gone\); .*: the search resumes$"
        with pytest.raises(RunError, match=match):
            worker.train(job(tmp_path))


def test_a_process_for_one_task_after_the_other(tmp_path: Path) -> None:
    with trial_workers(tmp_path / "logs", 1, [], threads=8) as [worker]:
        assert worker.worker is None
        worker.train(job(tmp_path))
        assert ready([worker]) == [worker]
        told = worker.receive()
        assert told is not None
        assert told["out"] == str(tmp_path / "run")
        assert told["threads"] == 3
        worker.decide(False)
        assert worker.receive() == {"pid": told["pid"], "threads": "7", "go_on": False}
        assert begun(worker, tmp_path) == told["pid"]
    assert not is_alive(told["pid"])
    assert worker.failure(Outcome(1)) == "heard something"


def test_threads_and_devices_are_dealt_out(tmp_path: Path) -> None:
    with trial_workers(tmp_path, 3, ["cuda:0", "cuda:1"], threads=8) as workers:
        assert [(worker.device, worker.threads) for worker in workers] == [("cuda:0", 2), ("cuda:1", 2), ("cuda:0", 2)]
        begun(workers[0], tmp_path)
        workers[0].decide(True)
        assert (workers[0].receive() or {})["threads"] == "2"
    with trial_workers(tmp_path, 3, [], threads=2) as workers:
        assert [(worker.device, worker.threads) for worker in workers] == [(None, 1)] * 3
    with trial_workers(tmp_path, 1, [], threads=8) as [worker]:
        assert worker.threads == 0  # as many as `tcf train` takes


def test_only_those_that_speak_are_heard(tmp_path: Path) -> None:
    with trial_workers(tmp_path, 2, [], threads=2) as workers:
        begun(workers[0], tmp_path)
        begun(workers[1], tmp_path)
        workers[1].decide(True)
        assert ready(workers) == [workers[1]]


def test_a_process_that_was_killed_is_told_by_its_status_and_replaced(tmp_path: Path) -> None:
    with trial_workers(tmp_path, 1, [], threads=1) as [worker]:
        first = begun(worker, tmp_path)
        os.kill(first, signal.SIGKILL)
        assert ready([worker]) == [worker]
        assert worker.receive() is None
        assert worker.wait().status == -signal.SIGKILL
        second = begun(worker, tmp_path)
        assert second != first
        os.kill(second, signal.SIGKILL)
        while is_alive(second) and worker._started().wait(0) is None:
            time.sleep(0.01)
        worker.decide(True)  # no error: the next attempt to hear it tells
        assert worker.receive() is None


def test_an_interruption_ends_the_processes(tmp_path: Path) -> None:
    with pytest.raises(SystemExit), trial_workers(tmp_path, 2, [], threads=2) as workers:
        there = [begun(worker, tmp_path) for worker in workers]
        raise SystemExit(143)
    assert not any(is_alive(pid) for pid in there)


def test_nothing_said(tmp_path: Path) -> None:
    with trial_workers(tmp_path, 1, [], threads=1) as [worker]:
        worker.log.write_text("\n\n")
        assert worker.failure(Outcome(1)) == "without a message"


def test_what_a_worker_reported_goes_before_what_it_printed(tmp_path: Path) -> None:
    with trial_workers(tmp_path, 1, [], threads=1) as [worker]:
        worker.log.write_text("a warning at exit\n")
        report = ErrorReport(None, "Traceback ...\nKeyError: 'epoch'\n", 0.0)
        assert worker.failure(Outcome(1, report)) == "KeyError: 'epoch'"
