"""Workers and the command itself are killed at any moment; the same command then ends with the same bytes."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from small.launch.real_units import COMMAND, content, real_units, write_inputs
from small.launch.units import environment_here
from small.launch.waiting import is_gone, wait_for

PATIENCE = 300.0
FULL = os.environ.get("TCF_CLUSTER") == "all"


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with inputs, and in `undisturbed` what its units make one after the other in this process."""
    folder = tmp_path_factory.mktemp("work")
    write_inputs(folder, "opt" if FULL else "words")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TCF_HOME", str(folder / "home"))
        for unit in real_units(folder):
            unit.task.run()
    (folder / "undisturbed").mkdir()
    clear(folder, to=folder / "undisturbed")
    return folder


def clear(folder: Path, to: Path | None = None) -> None:
    """Move results away, or remove them."""
    for name in ("data", "cache", "runs", "evaluations", "records"):
        if to is not None and (folder / name).exists():
            (folder / name).rename(to / name)
        shutil.rmtree(folder / name, ignore_errors=True)


def started(folder: Path, workers: int) -> "subprocess.Popen[str]":
    environment = {**environment_here(), "TCF_HOME": str(folder / "home"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", COMMAND, str(folder), str(workers)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)


def children(parent: int) -> list[int]:
    """The processes that a process has started."""
    try:
        return [int(pid) for pid in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]
    except OSError:
        return []


def wait_for_workers(parent: "subprocess.Popen[str]") -> None:
    """Wait until a command has a worker, or has ended."""
    wait_for(lambda: children(parent.pid) or parent.poll() is not None, patience=PATIENCE)


def kill_one(parent: "subprocess.Popen[str]", draw: random.Random, victim: str) -> None:
    """Kill the command or one of its workers."""
    workers = children(parent.pid)
    if victim == "worker":
        os.kill(draw.choice(workers), signal.SIGKILL)
        return
    parent.kill()
    parent.communicate()
    wait_for(lambda: all(is_gone(worker) for worker in workers), patience=PATIENCE)


def test_whatever_is_killed_the_same_command_ends_with_the_same_bytes(work: Path) -> None:
    seed = int(os.environ.get("TCF_TEST_SEED", random.SystemRandom().randrange(10**6)))
    print(f"TCF_TEST_SEED={seed}")
    draw, workers, longest = random.Random(seed), 2 if FULL else 1, 3.0
    victims = draw.choices(["worker", "command"], k=20) if FULL else ["worker", "command"]
    while True:
        began, command = time.monotonic(), started(work, workers)
        while victims and command.poll() is None:
            wait_for_workers(command)
            try:
                command.wait(draw.uniform(0, longest))
            except subprocess.TimeoutExpired:
                if children(command.pid):
                    kill_one(command, draw, victims.pop())
        if command.returncode == -signal.SIGKILL:
            continue
        said, _ = command.communicate(timeout=PATIENCE)
        assert command.returncode == 0, said
        assert content(work) == content(work / "undisturbed")
        if not victims:
            return
        longest = time.monotonic() - began
        clear(work)
