"""The real command, killed again and again while it trains, still ends with the bytes of an undisturbed run."""

import multiprocessing
import os
import random
import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from small.launch.kills import PRELOADED, run_command
from small.train.runs import make_cache, make_dataset, walks
from small.train.trainings import TEXTS, TRAINED
from tcf.common.files import is_published
from tcf.common.manifest import read_manifest
from tcf.train.run.file_names import RUN
from tcf.train.run.list_runs import find_runs

KILLS = 10 if os.environ.get("TCF_FAULTS") == "all" else 3
EPOCHS = 16
COMMON = ["--devices", "cpu", "--width", 16, "--batch-size", 16, "--epochs", EPOCHS, "--patience", EPOCHS]
COMMON += ["--learning-rate", 0.01, "--dropout", 0.2]
# Ten kills at these events together take no training to its end: there are four steps and five states an epoch.
MOST_EVENTS = 24


@dataclass(frozen=True)
class Moment:
    """When to kill: at an event, which is a file below the run's folder that is opened for writing or renamed.

    Attributes:
        number: which event, counted from 1.
        seconds: how long after it; None kills before it happens.
    """

    number: int
    seconds: float | None


@dataclass(frozen=True)
class Work:
    """A training.

    Attributes:
        name: of its folders.
        folder: has dataset and cache.
        options: what is typed.
    """

    name: str
    folder: Path
    options: tuple[object, ...]

    def words(self, out: Path) -> list[str]:
        """The command line."""
        return [*map(str, ["train", "--data", self.folder / "data", "--out", out, *COMMON, *self.options])]


def killed_command(words: list[str], out: Path, moment: Moment, log: Path) -> None:
    """Be the command and die at a moment; what happens until then is logged."""
    for stream in (1, 2):
        os.dup2(os.open(log.with_suffix(".said"), os.O_WRONLY | os.O_CREAT | os.O_APPEND), stream)
    events = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    seen = 0

    def kill() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def later(seconds: float) -> None:
        time.sleep(seconds)
        kill()

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal seen
        if event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR):
            path = arguments[0]
        elif event == "os.rename":
            path = arguments[1]
        else:
            return
        if isinstance(path, int) or not os.fsdecode(path).startswith(f"{out}/"):
            return
        os.write(events, f"{event} {os.fsdecode(path)}\n".encode())
        seen += 1
        if seen == moment.number:
            if moment.seconds is None:
                kill()
            else:
                threading.Thread(target=later, args=(moment.seconds,), daemon=True).start()

    sys.argv = ["tcf", *words]
    from tcf.cli import main

    sys.addaudithook(watch)
    main()


def kill_once(work: Work, out: Path, moment: Moment) -> None:
    context = multiprocessing.get_context("forkserver")
    log = out.with_name(f"{out.name}.log")
    process = context.Process(target=killed_command, args=(work.words(out), out, moment, log))
    process.start()
    process.join()
    events = log.read_text().splitlines()
    print(f"{work.name}: {moment}, after {len(events)} events, the last {events[-1:]}")
    assert process.exitcode == -signal.SIGKILL, log.with_suffix(".said").read_text()
    assert not is_published(out)
    assert {run.state for run in find_runs(out)} <= {"resumable", "starts again"}


def finish(work: Work, out: Path) -> None:
    done = run_command(*work.words(out), folder=out)
    assert done.status == 0, done.said


def kill_often(work: Work, moments: list[Moment]) -> None:
    undisturbed, killed = work.folder / f"{work.name}-undisturbed", work.folder / f"{work.name}-killed"
    finish(work, undisturbed)
    for moment in moments:
        kill_once(work, killed, moment)
    (run,) = find_runs(killed)
    print(f"{work.name}: {run.epochs} epochs were done before the last start")
    finish(work, killed)
    for name in (*TRAINED, "config.toml"):
        assert (killed / name).read_bytes() == (undisturbed / name).read_bytes(), name
    assert sorted(p.name for p in killed.iterdir()) == sorted(p.name for p in undisturbed.iterdir())
    manifests = [read_manifest(out, RUN) for out in (killed, undisturbed)]
    assert manifests[0].fingerprint == manifests[1].fingerprint
    assert manifests[0].facts == manifests[1].facts


@pytest.fixture(scope="module")
def works(tmp_path_factory: pytest.TempPathFactory) -> tuple[Work, Work]:
    """Text with a state after each step; ids with drawn negatives and a state at each epoch's end and now and then."""
    multiprocessing.get_context("forkserver").set_forkserver_preload(PRELOADED)
    folder = tmp_path_factory.mktemp("work")
    dataset = make_dataset(folder, walks(), TEXTS)
    make_cache(folder, dataset, np.random.default_rng(0).normal(size=(30, 12)).astype(np.float16))
    text = Work("text", folder, ("--cache", folder / "cache", "--save-minutes", 0))
    ids = ("--items", "id", "--loss", "sampled", "--negatives", 8, "--save-minutes", 0.0002)
    return text, Work("ids", folder, (*ids, "--validation-users", 20))


def test_kills_change_nothing(works: tuple[Work, Work]) -> None:
    """Some of each training, the first one while the folder is being made."""
    seed = int(os.environ.get("TCF_TEST_SEED", random.SystemRandom().randrange(10**6)))
    print(f"TCF_TEST_SEED={seed}")
    draw = random.Random(seed)

    def moments() -> list[Moment]:
        delays = [None, *(draw.uniform(0, 0.01) for _ in range(KILLS - 2))]
        return [
            Moment(draw.randint(1, 4), None),
            *(Moment(draw.randint(1, MOST_EVENTS), draw.choice((None, delay))) for delay in delays),
        ]

    plans = [(work, moments()) for work in works]
    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(kill_often, work, planned) for work, planned in plans]:
            done.result()


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_interrupted_by_a_signal_it_says_so_and_goes_on(
    works: tuple[Work, Work], number: signal.Signals, status: int
) -> None:
    work = works[0]
    out = work.folder / f"by-{number.name}"
    done = run_command(*work.words(out), folder=out, hit=25, by=number)
    told = [line for line in done.said.splitlines() if line.startswith("tcf: ")]
    assert (done.status, done.printed) == (status, "")
    assert told == [f"tcf: interrupted by {number.name}; run the same command again to continue"]
    assert [run.state for run in find_runs(out)] == ["resumable"]
    assert not list(out.glob(".*"))
    again = run_command(*work.words(out), folder=out)
    assert again.status == 0
    assert "train: resuming at epoch " in again.said
