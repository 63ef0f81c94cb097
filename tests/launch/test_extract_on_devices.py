"""Extraction on several devices, which are CPU processes here."""

import dataclasses
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

import tcf
from small.data.caches import content
from small.extract.devices import CONFIG, SHARDS, TEXTS, Work, made_work
from small.launch.waiting import is_gone, wait_for
from tcf.extract.worker import ShardWorker
from tcf.launch import extract_on_devices as module
from tcf.launch.extract_on_devices import extract_on_devices
from tcf.launch.workers.independent_workers import IndependentWorkers

PATIENCE = 120.0

# Python runs this first in every process. It notes which process claims and which publishes what, and holds the first
# shard back until as many processes as are wanted have claimed one.
HOOK = """
import os, sys, time

FOLDER, LOG, WANTED = os.environ["DEVICES_TEST"].split("|")
log = os.open(LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

def together():
    claims = [line for line in open(LOG).read().splitlines() if line.startswith("claim ")]
    return len({line.split()[1] for line in claims}) >= int(WANTED)

def watch(event, arguments):
    # A lease gets its name, or is made in steps where the file system knows no other way.
    created = arguments[0] if event == "open" and arguments[2] & os.O_CREAT else None
    named = str(arguments[1] if event == "os.link" else created)
    if named.endswith(".claim"):
        os.write(log, f"claim {os.getpid()} {named}\\n".encode())
    if event == "os.rename" and str(arguments[1]).startswith(FOLDER):
        ends = time.monotonic() + 60
        while not together() and time.monotonic() < ends:
            time.sleep(0.02)
        time.sleep(0.05)
        os.write(log, f"publish {os.getpid()} {arguments[1]}\\n".encode())

sys.addaudithook(watch)
"""


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Work:
    work = made_work(tmp_path_factory.mktemp("work"))
    (work.folder / "hook").mkdir()
    (work.folder / "hook" / "sitecustomize.py").write_text(HOOK)
    return work


def whole(out: Path) -> dict[str, bytes]:
    """What is there for readers; a killed process may leave hidden files behind."""
    return {name: bytes_ for name, bytes_ in content(out).items() if not any(p[0] == "." for p in Path(name).parts)}


@dataclass(frozen=True)
class Log:
    """What the hook has noted."""

    file: Path

    def told(self, what: str) -> list[int]:
        """The process of every claim, or of every publication."""
        lines = self.file.read_text().splitlines() if self.file.exists() else []
        return [int(line.split()[1]) for line in lines if line.startswith(f"{what} ")]

    @property
    def processes(self) -> list[int]:
        return sorted(set(self.told("claim")))


@dataclass(frozen=True)
class Running:
    """The command, and what is known of the process that it started."""

    process: "subprocess.Popen[str]"
    log: Log

    @property
    def others(self) -> list[int]:
        return [pid for pid in self.log.processes if pid != self.process.pid]

    def in_the_middle(self) -> "Running":
        """When each has claimed a shard, and some are published."""
        wait_for(lambda: self.process.poll() is not None or len(self.log.told("publish")) >= 6, patience=PATIENCE)
        assert self.process.poll() is None, self.process.communicate()
        return self


def environment(work: Work, out: Path, log: Path, *, together: int) -> dict[str, str]:
    """Of processes with the hook."""
    paths = [str(work.folder / "hook"), str(Path(tcf.__file__).parents[1])]
    return {"PYTHONPATH": os.pathsep.join(paths), "DEVICES_TEST": f"{out}|{log}|{together}"}


def start(work: Work, out: Path) -> Running:
    """The command on two devices."""
    log = Path(f"{out}.{time.monotonic_ns()}.log")
    variables = {**os.environ, **environment(work, out, log, together=2), "OMP_NUM_THREADS": "2"}
    command = [sys.executable, "-m", "tcf.cli", "extract", "--devices", "cpu,cpu"]
    for name, value in work.arguments(out).items():
        command += [] if name == "name" else [f"--{name}", str(value)]
    command += ["--shard-rows", str(CONFIG.shard_rows), "--tokens-per-batch", str(CONFIG.tokens_per_batch)]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return Running(subprocess.Popen(command, env=variables, **pipes), Log(log))


def wait_until_gone(pids: list[int]) -> None:
    wait_for(lambda: all(map(is_gone, pids)), patience=PATIENCE)


def test_whoever_ends_the_first_process_ends_the_other_and_nothing_is_lost(work: Work, tmp_path: Path) -> None:
    """It is killed, then interrupted, then left alone."""
    out = tmp_path / "c"
    killed = start(work, out).in_the_middle()
    [other] = killed.others
    killed.process.kill()
    killed.process.communicate()
    wait_until_gone([other])
    first = whole(out)
    assert 0 < len(first) < len(work.expected)

    interrupted = start(work, out).in_the_middle()
    [other] = interrupted.others
    interrupted.process.send_signal(signal.SIGINT)
    printed, said = interrupted.process.communicate(timeout=PATIENCE)
    assert (interrupted.process.returncode, printed) == (130, "")
    assert is_gone(other)
    told = [line for line in said.splitlines() if line.startswith("tcf: ")]
    assert told == ["tcf: interrupted by SIGINT; run the same command again to continue"]
    second = whole(out)
    assert first.items() < second.items()
    assert len(second) < len(work.expected)

    done = extract_on_devices(**work.arguments(out), config=dataclasses.replace(CONFIG, devices="cpu,cpu"))
    assert 0 < done.computed < TEXTS
    assert whole(out) == work.expected


@pytest.mark.usefixtures("shown_log")
def test_three_devices_of_which_one_is_killed_make_the_bytes_of_one(
    work: Work, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """This process is the first; it waits with its second shard, and kills another one that is computing, too."""
    out, log = tmp_path / "c", tmp_path / "log"
    for name, value in environment(work, out, log, together=2).items():
        monkeypatch.setenv(name, value)
    others = Log(log)
    compute, calls = ShardWorker.compute, iter(range(SHARDS))

    def computing(self: ShardWorker, *arguments: Any) -> Any:
        if next(calls) == 1:
            wait_for(lambda: len(others.told("publish")) >= 3, patience=PATIENCE)
            os.kill(others.processes[0], signal.SIGKILL)
            wait_until_gone(others.processes[:1])
        return compute(self, *arguments)

    monkeypatch.setattr(ShardWorker, "compute", computing)
    threads = torch.get_num_threads()
    done = extract_on_devices(**work.arguments(out), config=dataclasses.replace(CONFIG, devices="cpu,cpu,cpu"))
    assert 0 < done.computed < TEXTS
    assert (done.sequences, done.items) == (TEXTS, TEXTS)
    assert whole(out) == work.expected
    assert torch.get_num_threads() == threads
    assert len(others.processes) == 2
    wait_until_gone(others.processes)
    said = capsys.readouterr().err
    name = "cpu (process 2 of 3)" if "process 2 of 3" in said else "cpu (process 3 of 3)"
    assert [line for line in said.splitlines() if line.startswith("tcf: ")] == [
        f"tcf: warning: {name} failed: ended by SIGKILL; the others continue with its work",
        f"tcf: warning: the other devices did the work of {name}",
    ]


@pytest.mark.usefixtures("shown_log")
def test_a_device_that_fails_is_reported_and_the_work_is_done(
    work: Work, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    failed = threading.Event()
    announce, compute = IndependentWorkers._report_failure, ShardWorker.compute

    def announcing(self: IndependentWorkers, *arguments: Any) -> None:
        announce(self, *arguments)
        failed.set()

    def computing(self: ShardWorker, *arguments: Any) -> Any:
        assert failed.wait(PATIENCE)
        return compute(self, *arguments)

    monkeypatch.setattr(IndependentWorkers, "_report_failure", announcing)
    monkeypatch.setattr(ShardWorker, "compute", computing)
    monkeypatch.setattr(module, "resolve_devices", lambda names: (torch.device("cpu"), torch.device("cuda", 99)))
    monkeypatch.setattr(torch, "set_num_threads", lambda threads: None)
    done = extract_on_devices(**work.arguments(tmp_path / "c"), config=CONFIG)
    assert done.computed == TEXTS
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("tcf: ")]
    assert len(told) == 2
    assert told[0].startswith(
        "tcf: warning: cuda:99 (process 2 of 2) failed: --devices: expected a device of this machine, which has"
    )
    assert told[1] == "tcf: warning: the other devices did the work of cuda:99 (process 2 of 2)"
    assert whole(tmp_path / "c") == work.expected
