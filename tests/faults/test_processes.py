"""Commands that are killed, run out of space, meet one another, or wake long after another has done their work."""

import json
import os
import random
import re
import signal
import time
from pathlib import Path

import pytest

from small.faults.damage import LATER
from small.faults.full_disk import fill
from small.faults.processes import Moment, apart, ended, start
from small.faults.trials import Tally
from small.faults.works import WORKS, Work, content, undisturbed

PAGE = 4096
EVERY = os.environ.get("TCF_FAULTS") == "all"


@pytest.fixture(scope="module")
def world(root: Path) -> Path:
    undisturbed(root, WORKS if EVERY else named("data", "cache", "runs/text", "recommendations.parquet", "converted"))
    return root


def named(*outs: str) -> list[Work]:
    return [work for work in WORKS if work.out in outs]


def some(*outs: str) -> list[Work]:
    """All works, or a few of them."""
    return [*WORKS] if EVERY else named(*outs)


def check(tally: Tally, kind: str, root: Path, work: Work, name: str) -> None:
    """What lies at a place is what an undisturbed command made, and nothing else is there."""
    expected, found = content(root, work.out), content(root, work.beside(name))
    differing = sorted(file for file in expected.keys() | found.keys() if expected.get(file) != found.get(file))
    words = f"{kind}: {work.line}: {', '.join(differing)}"
    tally.add(f"{kind}: {work.out}", "believed" if differing else "survived", words)
    assert not differing, words


@pytest.mark.parametrize("work", some("data", "cache", "runs/text", "converted"), ids=lambda work: work.out)
def test_killed_at_any_moment_it_ends_with_the_same_bytes(
    world: Path, work: Work, tally: Tally, seed: int, every: bool
) -> None:
    draw = random.Random(f"{seed} {work.out}")
    for number in range(8 if every else 1):
        name = f"killed-{number}"
        line, out = work.to(work.beside(name)), work.beside(name)
        for _ in range(3 if every else 1):
            ended(line, world, Moment(draw.randint(1, 12), signal.SIGKILL, Path(out).name))
        done = ended(line, world)
        assert done.status == 0, done
        check(tally, "killed", world, work, name)


TWICE = ("data", "cache", "runs/text", "converted")


@pytest.mark.parametrize("work", named(*TWICE if EVERY else ("cache", "converted")), ids=lambda work: work.out)
def test_two_at_once_make_one_result(world: Path, work: Work, tally: Tally) -> None:
    line = work.to(work.beside("twice"))
    for done in [process.end() for process in [start(line, world) for _ in range(2)]]:
        assert done.status == 0 or done.error, done
    if ended(line, world).status != 0:  # whoever was refused does it again
        raise AssertionError(ended(line, world))
    check(tally, "two at once", world, work, "twice")


@pytest.mark.parametrize("work", named(*TWICE[1:] if EVERY else ("runs/text",)), ids=lambda work: work.out)
def test_one_that_wakes_late_does_no_harm(world: Path, work: Work, tally: Tally, seed: int, every: bool) -> None:
    draw = random.Random(f"{seed} {work.out}")
    for number in range(8 if every else 1):
        name = f"late-{number}"
        line, out = work.to(work.beside(name)), work.beside(name)
        sleeper = start(line, world, Moment(draw.randint(3, 12), signal.SIGSTOP, Path(out).name))
        sleeper.until_stopped()
        for claim in [*world.rglob(".*.claim")]:
            os.utime(claim, (time.time() - LATER,) * 2)
        done = ended(line, world)
        assert done.status == 0, done
        sleeper.wake()
        woken = sleeper.end()
        assert woken.status == 0 or woken.error, woken
        check(tally, "late wake", world, work, name)


@pytest.mark.parametrize("work", some("runs/text", "recommendations.parquet"), ids=lambda work: work.out)
def test_on_a_full_disk_it_leaves_nothing_and_ends_the_same_once_there_is_room(
    world: Path, work: Work, tally: Tally, seed: int, every: bool
) -> None:
    draw = random.Random(f"{seed} {work.out}")
    expected = content(world, work.out)
    pages = sum(-(-len(file) // PAGE) for file in expected.values())
    sizes = (
        sorted({draw.randint(1, pages - 1) if pages > 1 else 0 for _ in range(6)}) if every else [max(1, pages // 2)]
    )
    for size in sizes:
        report = (world / work.out).with_name(f"{size}-{Path(work.out).name}.json")
        assert apart(fill, world, work.line, Path(work.out).name, size * PAGE, report) == 0
        said = json.loads(report.read_text())
        words = f"full disk of {size} pages: tcf {work.line}: {said}"
        full = said["full"]["status"] == 2 and re.search("cannot be written|free space", said["full"]["error"])
        harmless = said["again"]["status"] == 0 and (full or said["full"]["status"] == 0)
        same = harmless and content(world, str(report.with_suffix("").relative_to(world))) == expected
        tally.add(f"full disk: {work.out}", "survived" if same else "lost", words)
        assert same, words
        assert [name for name in said["left"] if ".partial-" in name or name.endswith(".claim")] == [], words
