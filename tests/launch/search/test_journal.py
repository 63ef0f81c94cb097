"""A damaged journal is named with its line, whatever the damage is; nothing of it is believed, and nothing is lost."""

import json
import random
import re
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from tcf.common.errors import RunError
from tcf.launch.search.journal import open_journal

Lines = list[bytes]
SEED = 20261130


def write(path: Path) -> Lines:
    """A journal of three trials, one of which is running; returns its lines."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(study_name="search", storage=open_journal(path), direction="maximize")
    for value in (0.25, float("nan")):
        trial = study.ask()
        trial.suggest_float("rate", 1e-4, 1e-1, log=True)
        trial.suggest_categorical("width", [8, None])
        trial.report(value, 1)
        trial.set_user_attr("facts", {"hr@10": 0.25, "parameters": 3, 1: ("a", 2)})
        study.tell(trial, 0.25)
    study.ask().suggest_int("heads", 1, 4)
    return path.read_bytes().splitlines(keepends=True)


def trials(path: Path) -> list[tuple[object, ...]]:
    study = optuna.load_study(study_name="search", storage=open_journal(path))
    return [(each.state, each.value, each.params, each.user_attrs) for each in study.get_trials()]


def edited(key: str, value: object) -> Callable[[bytes], bytes]:
    return lambda line: json.dumps({**json.loads(line), key: value}).encode() + b"\n"


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda line: b"\n",
    "gone": lambda line: b"",
    "half": lambda line: line[: len(line) // 2] + b"\n",
    "twice": lambda line: line * 2,
    "joined": lambda line: line[:-1],
    "zeros": lambda line: b"\0" * (len(line) - 1) + b"\n",
    "nested": lambda line: b"[" * 10**5 + b"\n",
    "digits": lambda line: b'{"op_code": ' + b"9" * 5000 + b"}\n",
    "another kind": edited("op_code", 99),
    "no checksum": lambda line: re.sub(rb', *"checksum": *"[0-9a-f]+"|,"checksum":"[0-9a-f]+"', b"", line),
    "another checksum": edited("checksum", "0" * 32),
    "a number as checksum": edited("checksum", 5),
    "a list": lambda line: b"[]\n",
    "another trial": edited("trial_id", 77),
    "more": edited("more", 1),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_each_line_damaged_in_each_way(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "study.jsonl"
    lines = write(path)
    before = trials(path)
    for number, line in enumerate(lines):
        if kind in ("gone", "joined") and number == len(lines) - 1:
            continue  # what was being written when a process was killed
        damaged = b"".join([*lines[:number], DAMAGE[kind](line), *lines[number + 1 :]])
        path.write_bytes(damaged)
        with pytest.raises(RunError, match=rf"jsonl:{number + 1 + (kind == 'twice')}: expected a record") as told:
            open_journal(path)
        assert "\n" not in str(told.value)
        assert path.read_bytes() == damaged  # nothing is lost
        assert number == 0 or "keep its first" in str(told.value)
    path.write_bytes(b"".join(lines))
    assert trials(path) == before


def test_flipped_bits(tmp_path: Path) -> None:
    path, chance = tmp_path / "study.jsonl", random.Random(SEED)
    whole = b"".join(write(path))
    before = trials(path)
    for place in sorted(chance.sample(range(len(whole)), 150)):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << chance.randrange(8)
        path.write_bytes(damaged)
        if place == len(whole) - 1:
            continue  # the end of the last line: half a record, which is cut off
        try:
            assert trials(path) == before, place  # a letter of a key in \u notation, at most
        except RunError:
            assert path.read_bytes() == damaged


def test_what_a_killed_process_left_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "study.jsonl"
    lines = write(path)
    for size in (1, 5, len(lines[-1]) // 2, len(lines[-1]) - 1):
        path.write_bytes(b"".join(lines[:-1]) + lines[-1][:size])
        assert len(trials(path)) == 3
        assert path.read_bytes() == b"".join(lines[:-1])
    path.write_bytes(lines[0][:20])  # of the first record
    open_journal(path)
    assert path.read_bytes() == b""


OTHERS = (b"notes", b"notes\n", b'{"op_code": 0}\n', b'{"op_code":0}\n{', b"\n\n", b"\xff\xfe" * 9)


@pytest.mark.parametrize("content", OTHERS)
def test_files_of_other_programs_are_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "study.jsonl"
    path.write_bytes(content)
    with pytest.raises(RunError, match=rf"jsonl:1: expected a record .*; restore it from a copy, or remove {tmp_path}"):
        open_journal(path)
    assert path.read_bytes() == content


def test_a_study_of_optuna_alone_is_refused(tmp_path: Path) -> None:
    storage = JournalStorage(JournalFileBackend(str(tmp_path / "study.jsonl")))
    optuna.create_study(study_name="search", storage=storage)
    with pytest.raises(RunError, match="is of another program"):
        open_journal(tmp_path / "study.jsonl")


def test_optuna_reads_our_journal(tmp_path: Path) -> None:
    write(tmp_path / "study.jsonl")
    study = optuna.load_study(
        study_name="search", storage=JournalStorage(JournalFileBackend(str(tmp_path / "study.jsonl")))
    )
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE] * 2 + [TrialState.RUNNING]


def test_a_folder_or_a_pipe_in_place_of_a_journal(tmp_path: Path) -> None:
    (tmp_path / "study.jsonl").mkdir()
    with pytest.raises(OSError, match="not a regular file"):
        open_journal(tmp_path / "study.jsonl")
