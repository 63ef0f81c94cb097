"""A sweep that saves its unfinished work, killed again and again, ends with the bytes of an undisturbed run."""

import re
import signal
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from small.data.caches import content
from small.encoders.models import made_up_texts, save_dataset, save_opt
from small.launch.kills import Ended, run_command
from tcf.common.files import is_published

BLOCKS = 4
TEXTS = 60
SHARD_ROWS = 30
OPTIONS = ["--schedule", "sweep", "--checkpoint-layers", 1, "--devices", "cpu", "--shard-rows", SHARD_ROWS]


@dataclass(frozen=True)
class Work:
    """A dataset `d`, a model `m`, and what an undisturbed run made of them.

    Attributes:
        folder: where they are.
        options: what is asked for.
        renames: how often the undisturbed run renamed something into place.
        expected: the files that it made.
    """

    folder: Path
    options: tuple[str, ...]
    renames: int
    expected: dict[str, bytes]


def run(folder: Path, options: tuple[str, ...], out: Path, hit: int = 0, by: signal.Signals = signal.SIGKILL) -> Ended:
    words = ["extract", "--data", folder / "d", "--model", folder / "m", "--out", out / "c", *OPTIONS]
    return run_command(*words, "--tokens-per-batch", 128, *options, folder=out, hit=hit, by=by)


def undisturbed(folder: Path, name: str, options: tuple[str, ...]) -> Work:
    out = folder / name
    out.mkdir()
    done = run(folder, options, out)
    assert done.status == 0, done.said
    assert "resuming with block" not in done.said
    [renames] = re.findall(r"^renames: (\d+)$", done.said, re.MULTILINE)
    assert not list(out.rglob("*.sweep")) and not list(out.rglob("*.claim"))
    return Work(folder, options, int(renames), content(out))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("work")
    save_opt(folder / "m", blocks=BLOCKS)
    save_dataset(folder / "d", made_up_texts(TEXTS))
    return folder


def saved_blocks(out: Path) -> list[int]:
    """The blocks that unfinished work was saved for, complete."""
    return sorted(int(place.name[6:]) for place in out.rglob("block-*") if is_published(place))


def killed_often(work: Work, name: str, hits: list[int]) -> None:
    """Kill the command at these renames, counted anew in each process; then let it end."""
    out = work.folder / name
    out.mkdir()
    for hit in hits:
        before = saved_blocks(out)
        killed = run(work.folder, work.options, out, hit)
        assert killed.status == -signal.SIGKILL, killed.said
        told = re.findall(r"resuming with block (\d+)", killed.said)
        # Of what was saved, the newest is taken up: blocks are counted from 1 there.
        assert told[:1] == [str(before[-1] + 1)] if before else told == []
        assert len(saved_blocks(out)) <= 2
    before = saved_blocks(out)
    done = run(work.folder, work.options, out)
    assert done.status == 0, done.said
    assert ("resuming with block" in done.said) == bool(before)
    assert content(out) == work.expected
    assert not list(out.rglob("*.sweep")) and not list(out.rglob("*.claim"))


@pytest.fixture(scope="module")
def one(folder: Path) -> Work:
    undisturbed(folder, "before", ())  # remembers that the model shares prefixes, which is a rename
    work = undisturbed(folder, "one", ())
    # Each of the two macro-batches saves after all of its blocks but the last.
    assert work.renames >= 2 * (BLOCKS - 1) + 2
    return work


def test_killed_before_any_rename_it_goes_on_with_the_block_in_hand(one: Work) -> None:
    last = one.renames - 1
    with ThreadPoolExecutor(2) as pool:
        pieces = [
            pool.submit(killed_often, one, f"killed-{hits[0]}", hits) for hits in ([2, 3, 2], [last // 2], [last])
        ]
        for piece in pieces:
            piece.result()


def test_caches_of_several_layers_are_taken_up_together(folder: Path) -> None:
    work = undisturbed(folder, "several", ("--layers", "0,2,-1", "--token-states", "1"))
    killed_often(work, "several-killed", [4])


def test_interrupted_by_a_signal_it_says_so_on_one_line_and_goes_on(one: Work) -> None:
    out = one.folder / "interrupted"
    out.mkdir()
    for by, hit in ((signal.SIGINT, 4), (signal.SIGTERM, 3)):
        stopped = run(one.folder, (), out, hit, by)
        assert (stopped.status, stopped.printed) == (128 + by, ""), stopped.said
        assert f"tcf: interrupted by {by.name}; run the same command again to continue" in stopped.said.splitlines()
        assert "Traceback" not in stopped.said
        assert saved_blocks(out) and not list(out.rglob("*.claim"))
    done = run(one.folder, (), out)
    assert done.status == 0, done.said
    assert "resuming with block" in done.said
    assert content(out) == one.expected
    assert [path.name for path in out.iterdir()] == ["c"]
