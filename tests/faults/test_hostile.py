"""Whatever a command is given, it says in one line and within seconds what is wrong, and writes nothing elsewhere."""

import os
import signal
import stat
import subprocess
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import pytest

from small.faults.hostile import CONTROLS, HOSTILE, Hostile, with_controls
from small.faults.trials import Tally
from small.faults.typed import Typed, typed
from small.faults.works import write_inputs
from small.faults.world import EXTRACT, TRAIN

SECONDS = 20


class HangsError(BaseException):
    """A command takes too long; nothing of tcf handles it."""


@pytest.fixture(scope="module")
def made(root: Path) -> Path:
    write_inputs(root)
    (root / "users.txt").write_text("u0\n")
    for line in (
        "data prepare tcf raw --out data",
        f"{EXTRACT} --data data --out cache",
        f"{TRAIN} --cache cache --items text --out runs/text",
    ):
        assert typed(line).status == 0, line
    return root


@pytest.fixture
def place(made: Path) -> Iterator[Path]:
    """The folder with everything, which is as it was after a test."""
    before = set(made.iterdir())
    yield made
    for path in set(made.iterdir()) - before:
        subprocess.run(["rm", "-rf", path], check=True)  # which nothing is too deep for


@contextmanager
def within(seconds: int) -> Iterator[None]:
    def hangs(number: int, frame: FrameType | None) -> None:
        raise HangsError

    before = signal.signal(signal.SIGALRM, hangs)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def contents(folder: Path) -> dict[str, object]:
    """Every file by its path, without calibration runs and the deep folders."""
    found: dict[str, object] = {}
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name not in ("n", "home")]
        for path in (Path(parent, name) for name in names):
            found[str(path)] = path.stat().st_size if path.is_file() else "other"
    return found


def attempt(line: str) -> Typed:
    try:
        with within(SECONDS):
            return typed(line)
    except HangsError:
        return Typed(-1, "", f"it takes more than {SECONDS} s: {traceback.format_exc()}")


@pytest.mark.parametrize("hostile", HOSTILE, ids=lambda hostile: hostile.name)
def test_hostile_input_is_refused_in_one_line(place: Path, hostile: Hostile, tally: Tally) -> None:
    hostile.prepare(place)
    before, beside = contents(place), set(place.parent.iterdir())
    done = attempt(hostile.line)
    refused = done.status == 2 and hostile.named in done.error and ";" in done.error and len(done.error) < 2500
    refused |= hostile.harmless and done.status == 0
    changed = {path for path, size in before.items() if contents(place).get(path) != size} | set(
        place.parent.iterdir()
    ) - beside
    tally.add("hostile input", "lost" if changed else "detected" if refused else "unclear", f"{hostile.name}: {done}")
    assert refused, (done.status, done.printed[-500:], done.said[-1500:])
    assert not changed


def test_text_from_outside_reaches_no_terminal_raw(place: Path, tally: Tally) -> None:
    with_controls(place)
    (place / "strange.txt").write_text(f"u{CONTROLS}\n")
    (place / "strange.toml").write_text(f'"a{CONTROLS!s}" = 1\n'.replace("\x1b", "\\u001b").replace("\x07", "\\u0007"))
    for line in (
        "data prepare tcf bad --out bad-data",
        "data describe bad-data",
        "data describe bad-data --json",
        f"data describe no{CONTROLS}where",
        f"{EXTRACT} --data bad-data --out bad-cache",
        "cache compare bad-cache cache --data bad-data",
        "recommend runs/text --users strange.txt --out new.csv --device cpu",
        "train --config strange.toml --data data --items id --out new",
        "search strange.toml",
        "pipeline strange.toml",
    ):
        done = attempt(line)
        raw = {character for character in done.printed + done.said if character in CONTROLS and not character.isascii()}
        raw |= {"\x1b", "\x07"} & set(done.printed + done.said)
        tally.add("hostile text", "believed" if raw else "survived", line)
        assert not raw, (line, raw)
        assert done.status in (0, 2), (line, done)


@pytest.mark.parametrize("kind", ["pipe", "null", "link"])
def test_what_is_no_file_of_ours_is_never_replaced(place: Path, kind: str, tally: Tally) -> None:
    path = place / "bad.csv"
    match kind:
        case "pipe":
            os.mkfifo(path)
            reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        case "null":
            path.symlink_to("/dev/null")
        case "link":
            (place / "mine.txt").write_text("mine")
            path.symlink_to("mine.txt")
    before = stat.S_IFMT(path.lstat().st_mode)
    done = attempt("cache export cache --data data --out bad.csv")
    assert done.status in (0, 2), done
    same = stat.S_IFMT(path.lstat().st_mode) == before and stat.S_ISCHR(Path("/dev/null").stat().st_mode)
    same &= kind != "link" or (place / "mine.txt").read_text() == "mine"
    tally.add("hostile place", "survived" if same else "lost", f"{kind}: {done}")
    assert same, done
    if kind == "pipe":
        os.close(reader)
