"""The real command, killed and interrupted again and again, still ends with the bytes of an undisturbed run."""

import multiprocessing
import os
import random
import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Literal

import pytest

from small.encoders.models import made_up_texts, save_dataset, save_opt
from small.launch.kills import PRELOADED
from tcf.common.files import is_published
from tcf.data.cache.caches import open_cache

SHARD_ROWS = 5
ONE: tuple[str, ...] = ()
SEVERAL = ("--layers", "1,-1", "--token-states", "0")
# Of one cache; all of them with `make faults`.
KILLS = 10 if os.environ.get("TCF_FAULTS") == "all" else 3
# Six shards for each kill, and some that are left.
TEXTS = 300 if KILLS == 10 else 150
PATIENCE = 300.0


Kind = Literal["open", "rename", "mkdir", "any", "start", "progress"]


@dataclass(frozen=True)
class Moment:
    """When to kill.

    Attributes:
        kind: an event to count, or the clock: from the process' start, or from the first line of progress.
        number: which event of the kind.
        seconds: time after the event or on the clock; None kills before the event happens.
    """

    kind: Kind
    number: int = 0
    seconds: float | None = None

    @property
    def plan(self) -> "Plan":
        """What the process does about it itself: by the clock, nothing but work slowly."""
        return Plan("slow") if self.is_on_clock else Plan(self.kind, self.number, self.seconds)

    @property
    def is_on_clock(self) -> bool:
        return self.kind in ("start", "progress")


@dataclass(frozen=True)
class Plan:
    """What a process does to itself.

    Attributes:
        kind: an event to count; `slow`: none, but wait a little at each, so that it ends no sooner than it is killed.
        number: at which event of the kind it dies.
        seconds: how long after it; None: before it happens.
    """

    kind: Kind | Literal["nothing", "slow"]
    number: int = 0
    seconds: float | None = None


NOTHING = Plan("nothing")


@dataclass(frozen=True)
class Work:
    """What is extracted, and what an undisturbed run made of it.

    Attributes:
        folder: has the dataset and the model.
        options: say which caches are made.
        seconds: that the undisturbed run took.
        expected: the files that it made.
    """

    folder: Path
    options: tuple[str, ...]
    seconds: float = 0
    expected: dict[str, bytes] = field(default_factory=dict)

    @property
    def shard_files(self) -> int:
        return sum("shards" in Path(file).parts for file in self.expected)


@dataclass(frozen=True)
class Started:
    """A command in a process of its own, a copy of one that has imported the large libraries already.

    Attributes:
        process: the process.
        said: the file that its standard error goes to.
        printed: that of its standard output.
    """

    process: BaseProcess
    said: Path
    printed: Path

    def wait_for_a_line(self) -> None:
        """Wait until it has said something, or has ended."""
        ends = time.monotonic() + PATIENCE
        while "\n" not in self.said.read_text() and self.process.is_alive() and time.monotonic() < ends:
            time.sleep(0.01)

    def end(self) -> tuple[int | None, str, str]:
        """Wait for its end; returns its exit status, and what it printed and said."""
        self.process.join(PATIENCE)
        return self.process.exitcode, self.printed.read_text(), self.said.read_text()


def start(work: Work, out: Path, plan: Plan = NOTHING) -> Started:
    """Start the command.

    Args:
        work: what is extracted.
        out: the cache.
        plan: when it is to be killed.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    words = ["extract", "--data", str(work.folder / "d"), "--model", str(work.folder / "m")]
    words += ["--out", str(out), "--devices", "cpu", "--shard-rows", str(SHARD_ROWS), *work.options]
    said, printed = (Path(f"{out.parent}.{name}") for name in ("said", "printed"))
    for stream in (said, printed):
        stream.write_text("")
    # The trial of the undisturbed run serves all others, so all read as much at once.
    home = work.folder / "home"
    process = context.Process(target=_command, args=(words, out.parent, plan, home, (printed, said)))
    process.start()
    return Started(process, said, printed)


def _command(words: list[str], folder: Path, plan: Plan, home: Path, streams: tuple[Path, Path]) -> None:
    """Be the command. It notes what is opened for writing, renamed or made below a folder, and dies as planned."""
    for number, path in enumerate(streams, start=1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_APPEND), number)
    os.environ["TCF_HOME"] = str(home)
    from tcf.cli import main

    log, seen = os.open(f"{folder}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND), 0

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal seen
        found = _seen(event, arguments)
        if found is None or not found[1].startswith(f"{folder}/"):
            return
        os.write(log, f"{found[0]} {found[1]}\n".encode())
        if plan.kind == "slow":
            time.sleep(0.02)
        if plan.kind in (found[0], "any"):
            seen += 1
            if seen == plan.number:
                _die(plan.seconds)

    sys.addaudithook(watch)
    sys.argv = ["tcf", *words]
    main()


def _seen(event: str, arguments: tuple[Any, ...]) -> tuple[str, str] | None:
    """The kind of an event and its path; None if it writes nothing."""
    match event:
        case "open" if isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR):
            kind, path = "open", arguments[0]
        case "os.rename":
            kind, path = "rename", arguments[1]
        case "os.mkdir":
            kind, path = "mkdir", arguments[0]
        case _:
            return None
    return None if isinstance(path, int) else (kind, os.fsdecode(path))


def _die(seconds: float | None) -> None:
    """Kill this process before the event happens, or a moment later."""

    def kill() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def later(seconds: float) -> None:
        time.sleep(seconds)
        kill()

    if seconds is None:
        kill()
    else:
        threading.Thread(target=later, args=(seconds,), daemon=True).start()


def finish(work: Work, out: Path) -> None:
    status, _, said = start(work, out).end()
    assert status == 0, said


def content(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def published(out: Path) -> dict[str, tuple[int, int]]:
    """Inode and time of every file of the shards that are there, each of which must be whole."""
    files: list[Path] = []
    for cache in [path for path in (out, *out.glob("[!.]*")) if is_published(path)]:
        open_cache(cache).verify()
        files += [file for file in cache.glob("shards/[!.]*/*") if is_published(file.parent)]
    return {str(file): (file.stat().st_ino, file.stat().st_mtime_ns) for file in files}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("work")
    save_opt(folder / "m")
    save_dataset(folder / "d", made_up_texts(TEXTS))
    return folder


def undisturbed(folder: Path, name: str, options: tuple[str, ...]) -> Work:
    (folder / name).mkdir()
    began = time.monotonic()
    finish(Work(folder, options), folder / name / "c")
    return Work(folder, options, time.monotonic() - began, content(folder / name))


@pytest.fixture(scope="module")
def one(folder: Path) -> Work:
    work = undisturbed(folder, "one", ONE)
    # Three files a shard: its keys, its vectors and its manifest.
    assert work.shard_files == 3 * TEXTS // SHARD_ROWS
    return work


@pytest.fixture(scope="module")
def several(folder: Path) -> Work:
    work = undisturbed(folder, "several", SEVERAL)
    # Two caches of vectors, and one of token states, whose shards have a fourth file, their offsets.
    assert work.shard_files == (3 + 3 + 4) * TEXTS // SHARD_ROWS
    return work


def kill_once(work: Work, out: Path, moment: Moment) -> None:
    """Start the command and kill it; what was published before must stay as it is, and be whole."""
    before = published(out)
    log = Path(f"{out.parent}.log")
    log.write_text("")
    # By the clock, a process is killed that is too slow to finish, however fast this machine has become meanwhile.
    started = start(work, out, moment.plan)
    if moment.is_on_clock:
        if moment.kind == "progress":
            started.wait_for_a_line()
        time.sleep(moment.seconds or 0)
        started.process.kill()
    status, _, said = started.end()
    events = log.read_text().splitlines()
    after = published(out)
    print(f"{out.parent.name}: {moment}, after {len(events)} events, the last {events[-1:]}, {len(after)} files")
    assert status == -signal.SIGKILL, said
    assert {file: after.get(file) for file in before} == before
    # Whatever was renamed before the last event is there to stay.
    renamed = [Path(event.removeprefix("rename ")) for event in events[:-1] if event.startswith("rename ")]
    assert all(is_published(path) for path in renamed if path.parent.name == "shards")


def kill_often(work: Work, name: str, moments: list[Moment]) -> None:
    out = work.folder / name / "c"
    out.parent.mkdir()
    for moment in moments:
        kill_once(work, out, moment)
    before = published(out)
    assert 0 < len(before) < work.shard_files
    finish(work, out)
    after = published(out)
    assert {file: after[file] for file in before} == before
    assert content(out.parent) == work.expected
    assert not list(out.parent.rglob(".*.partial-*"))


def drawn_moments(draw: random.Random, seconds: float, first: Moment) -> list[Moment]:
    # Few enough for all ten together to leave something to do: a shard opens 4 files, renames 2 and has 9 events.
    most: dict[Kind, int] = {"open": 24, "rename": 12, "any": 54}
    exact = [Moment(kind, draw.randint(1, most[kind])) for kind in most]
    inside = [Moment(kind, draw.randint(1, most[kind]), draw.uniform(0, 0.002)) for kind in (*most, *list(most)[:1])]
    clock = [Moment("start", seconds=draw.uniform(0, 0.6 * seconds)), Moment("progress", seconds=draw.uniform(0, 0.6))]
    moments = [*exact, *inside, *clock]
    draw.shuffle(moments)
    # The last kill comes when shards have been published, whatever was drawn: at most six renames make the caches.
    return [first, *moments[: KILLS - 2], Moment("rename", 12)]


def test_kills_change_nothing(one: Work, several: Work) -> None:
    """As many while one cache is filled as while three are filled at once."""
    seed = int(os.environ.get("TCF_TEST_SEED", random.SystemRandom().randrange(10**6)))
    print(f"TCF_TEST_SEED={seed}")
    draw = random.Random(seed)
    # The first kills come while the cache itself is being published: before its manifest and before its rename.
    plans = [(work, drawn_moments(draw, work.seconds, Moment("rename", n))) for n, work in ((1, one), (2, several))]
    with ThreadPoolExecutor(2) as pool:
        pieces = [pool.submit(kill_often, work, f"killed-{i}", moments) for i, (work, moments) in enumerate(plans)]
        for done in pieces:
            done.result()


def test_interrupted_by_a_signal_it_says_so_on_one_line_and_goes_on(one: Work) -> None:
    out = one.folder / "interrupted" / "c"
    out.parent.mkdir()
    for number, status in ((signal.SIGTERM, 143), (signal.SIGINT, 130)):
        before = published(out)
        started = start(one, out, Plan("slow"))
        ends = time.monotonic() + PATIENCE
        while len(list(out.glob("shards/[!.]*/manifest.json"))) * 3 <= len(before) and time.monotonic() < ends:
            time.sleep(0.01)
        os.kill(started.process.pid or 0, number)
        found, printed, said = started.end()
        assert (found, printed) == (status, "")
        told = [line for line in said.splitlines() if line.startswith("tcf: ")]
        assert len(told) == 1
        assert told[0].startswith(f"tcf: interrupted by {number.name}; ")
        after = published(out)
        assert len(before) < len(after) < one.shard_files
        assert {file: after[file] for file in before} == before
    finish(one, out)
    assert content(out.parent) == one.expected
