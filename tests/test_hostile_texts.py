"""Ids, titles, paths, keys and values that would command a terminal, through every command that prints them."""

import json
import os
import re
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from small.command_line import run_program
from small.train.runs import csr, make_cache, walks
from tcf.config.train import TrainConfig
from tcf.data.dataset import write_dataset
from tcf.data.split import leave_one_out
from tcf.data.statistics import dataset_statistics
from tcf.train.stage import train

ATTACK = "\x1b]0;owned\x07\x9b31m\u202egnp\u2066\x85"
FORGED = "\ntcf: error: forged"
# What rich writes to a terminal of its own: colours, cursor movements and the cursor itself, none of which is ours.
OF_RICH = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
OBEYED = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
COMMANDS = (
    "data describe data",
    "data overlap data data --cache cache",
    "train --data data --items id --epochs 1 --width 8 --devices cpu --out new-run",
    "train --cache cache --items text --dry-run --devices cpu --out unused",
    "evaluate id --out evaluation --device cpu",
    "recommend id --out - --k 2 --device cpu",
    "recommend id --out new.csv --k 2 --device cpu",
    "runs .",
    "cache describe cache",
    "cache verify cache",
    "cache export cache --out -",
    "cache compare cache other-cache --data data",
    "cache merge cache cache --out merged",
    "cache prune cache --data data --out pruned",
    "doctor .",
)
REFUSED = (
    "recommend id --out new.csv --users users.txt --device cpu",
    "train --config keys.toml --out unused",
    "pipeline keys.toml",
    "data prepare table raw --out unused --events log.csv --user-column u --item-column i --text-columns missing",
    "data prepare tcf raw --out unused",
    "evaluate data --out unused",
    "extract --data data --model nowhere --out unused",
    "no-such-command",
)
Show = Callable[[Sequence[str]], tuple[int, str]]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a hostile name, a dataset with hostile ids and titles, and a cache and a run of it."""
    folder = tmp_path_factory.mktemp("place") / f"{ATTACK}folder"
    folder.mkdir()
    histories = csr(walks())
    texts = pa.array([f"{ATTACK}{FORGED} {item}" for item in range(30)], pa.large_string())
    split = leave_one_out(histories)
    dataset = write_dataset(
        folder / "data",
        item_ids=pa.array([f"{ATTACK}{FORGED}i{item}" for item in range(30)], pa.large_string()),
        texts=texts,
        user_ids=pa.array([f"{ATTACK}{FORGED}u{user}" for user in range(60)], pa.large_string()),
        split=split,
        inputs={},
        config={},
        statistics=dataset_statistics(split, texts, {}),
    )
    draw = np.random.default_rng(0)
    for name in ("cache", "other-cache"):
        make_cache(folder, dataset, draw.normal(size=(30, 4)).astype(np.float32), name)
    config = TrainConfig(items="id", width=8, epochs=1, devices="cpu")
    train(data=dataset.path, out=folder / "id", config=config)
    (folder / "users.txt").write_text(f"{ATTACK}nobody\n")
    (folder / "keys.toml").write_text('"\\u001b]0;owned\\u0007\\u202e" = 1\n')
    (folder / "raw").mkdir()
    (folder / "raw" / "log.csv").write_text(f"u,i,{ATTACK.replace(chr(0x85), '')}\n1,2,3\n")
    (folder / "raw" / "behaviors.tsv").write_text(f"{ATTACK}user only\n")
    (folder / "raw" / "items.tsv").write_text("a\tA\n")
    return folder


@contextmanager
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], str]]:
    """Both outputs are a terminal; yields a function that ends it, and returns what it was sent."""
    leader, follower = os.openpty()
    received = list[bytes]()

    def receive() -> None:
        try:
            while chunk := os.read(leader, 65_536):
                received.append(chunk)
        except OSError:
            pass  # the other end has been closed

    reader = threading.Thread(target=receive)
    reader.start()
    out, err = os.fdopen(follower, "w"), os.fdopen(os.dup(follower), "w")

    def end() -> str:
        for stream in (out, err):
            stream.close()
        reader.join()
        return b"".join(received).decode()

    with monkeypatch.context() as patch:
        patch.setenv("TERM", "xterm")
        patch.setattr(sys, "stdout", out)
        patch.setattr(sys, "stderr", err)
        yield end
    os.close(leader)


@pytest.fixture(params=["pipe", "terminal"])
def show(
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    place: Path,
    own_home: None,
) -> Iterator[Show]:
    """Runs a command line in the hostile folder; returns its exit status and all that it sent to its outputs."""
    monkeypatch.chdir(place)
    with run_program(monkeypatch) as run:

        def in_terminal(words: Sequence[str]) -> tuple[int, str]:
            with terminal(monkeypatch) as end:
                status = run(words)
                return status, OF_RICH.sub("", end())

        def in_pipe(words: Sequence[str]) -> tuple[int, str]:
            status = run(words)
            captured = capfd.readouterr()
            # A pipe gets the file that was asked for as it is; only a person would be harmed by it.
            return status, captured.err if "-" in words else captured.out + captured.err

        yield in_terminal if request.param == "terminal" else in_pipe


def test_results(show: Show, place: Path) -> None:
    for words in COMMANDS:
        status, shown = show(words.split())
        assert status == 0 or words.startswith("doctor"), shown
        assert OBEYED.findall(shown) == [], words
        # A cell of a CSV file may hold a line break, also where a terminal is asked to show it.
        assert "-" in words.split() or not re.search("^tcf: error: forged", shown, re.MULTILINE), words
        for name in ("evaluation", "merged", "pruned", "new-run"):
            if (place / name).exists():
                (place / name).rename(place / f"{name}-{len(list(place.iterdir()))}")


def test_errors(show: Show, place: Path) -> None:
    for words in REFUSED:
        for named in (words, words.replace("keys", f"{place}/keys")):
            status, shown = show(named.split(" "))
            assert status == 2, shown
            assert OBEYED.findall(shown) == [], words
            assert len([line for line in shown.splitlines() if line.startswith("tcf: error: ")]) == 1, shown
    status, shown = show([f"{ATTACK}{FORGED}"])
    assert (status, OBEYED.findall(shown), shown.count("\n")) == (2, [], 1), shown


def test_documents(show: Show, place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for words in ("data describe data", "runs .", "cache compare cache other-cache --data data", "doctor ."):
        _, shown = show([*words.split(), "--json"])
        assert OBEYED.findall(shown) == [], words
        start = min(shown.find(bracket) for bracket in "[{" if bracket in shown)
        document = json.loads(shown[start : max(map(shown.rfind, "]}")) + 1])
        if words.startswith("data describe"):
            assert document["examples"][0]["user"].startswith(f"{ATTACK}{FORGED}u")
