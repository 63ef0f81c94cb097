"""An extraction in parts by the real command, whose processes are killed; `test_launched_commands.py` has the rest."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import tcf
from small.data.caches import content
from small.extract.devices import Work, made_work
from small.launch.waiting import wait_for

pytestmark = pytest.mark.skipif(
    os.environ.get("TCF_CLUSTER") != "all", reason="takes minutes; set TCF_CLUSTER=all, as `make test-cluster` does"
)
PATIENCE = 240.0
WORDS = "--shard-rows 4 --tokens-per-batch 512 --devices cpu".split()
PROGRAM = "from tcf.cli import main; main()"


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Work:
    return made_work(tmp_path_factory.mktemp("work"))


def start(work: Work, out: Path, *words: str) -> "subprocess.Popen[str]":
    given = ["extract", "--data", str(work.folder / "d"), "--model", str(work.folder / "m"), "--out", str(out)]
    paths = {"PYTHONPATH": str(Path(tcf.__file__).parents[1]), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *given, *WORDS, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **paths},
    )


def shards(out: Path) -> int:
    return len(list((out / "shards").glob("*"))) if (out / "shards").exists() else 0


def children(process: "subprocess.Popen[str]") -> Iterator[int]:
    for task in Path(f"/proc/{process.pid}/task").iterdir():
        yield from map(int, (task / "children").read_text().split())


def test_a_worker_is_killed_and_its_part_is_done_again(work: Work, tmp_path: Path) -> None:
    out = tmp_path / "c"
    process = start(work, out, "--workers", "2")
    wait_for(lambda: shards(out) > 0, patience=PATIENCE)
    os.kill(next(iter(children(process))), signal.SIGKILL)
    printed, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, said
    assert printed.startswith("120 items") and "SIGKILL" in said and "tried again" in said
    assert finished(out) == work.expected


def test_the_command_is_killed_at_any_moment(work: Work, tmp_path: Path) -> None:
    """The same command goes on, and its workers have ended with it."""
    out, draws = tmp_path / "c", random.Random(int(os.environ.get("TCF_TEST_SEED", "0")))
    for _ in range(3):
        kill_within(start(work, out, "--workers", "2"), out, draws.uniform(0, 3))
    process = start(work, out, "--workers", "2")
    _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, said
    assert finished(out) == work.expected


def kill_within(process: "subprocess.Popen[str]", out: Path, seconds: float) -> None:
    """Kill a command so many seconds after its cache is there, and wait for the end of its workers."""
    wait_for(lambda: (out / "manifest.json").exists() or process.poll() is not None, patience=PATIENCE)
    time.sleep(seconds)
    workers = [*children(process)] if process.poll() is None else []
    process.kill()
    process.communicate()
    wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers), patience=PATIENCE)


def finished(out: Path) -> dict[str, bytes]:
    """A cache without what killed processes have left, which the next one to publish there under that name removes."""
    return {name: found for name, found in content(out).items() if ".partial-" not in name}


def test_two_commands_fill_one_cache_and_one_is_killed(work: Work, tmp_path: Path) -> None:
    """As on two nodes, each with its part; the part is begun again, and the finishing command finds nothing to do."""
    out = tmp_path / "c"
    first, second = (start(work, out, "--shards", f"{part}/2") for part in range(2))
    wait_for(lambda: shards(out) > 0, patience=PATIENCE)
    first.kill()
    first.communicate()
    _, said = second.communicate(timeout=PATIENCE)
    assert second.returncode == 0, said
    printed, said = start(work, out, "--shards", "0/2").communicate(timeout=PATIENCE)
    assert "shards 0/2: done; 0 sequences of other parts still missing" in printed, said
    printed, said = start(work, out).communicate(timeout=PATIENCE)
    assert " 0 computed now" in printed, said
    assert finished(out) == work.expected


def test_a_part_that_fails_each_time_is_reported(work: Work, tmp_path: Path) -> None:
    """The others are done; the error has the end of its log, and says what to run."""
    out, model = tmp_path / "c", tmp_path / "m"
    shutil.copytree(work.folder / "m", model)
    given = ["--model", str(model), "--max-memory", "cpu=1KiB", "--workers", "2", "--tries", "2"]
    process = start(work, out, *given)
    _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 2
    [error] = [line for line in said.splitlines() if line.startswith("tcf: error: ")]
    assert "2 of 3 units failed, and 1 unit that need" in error and "run `tcf extract --data" in error
    assert said.count("tried again (1 of 2)") == 2 and "the end of " in said
