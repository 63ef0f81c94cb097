"""The private parts of Optuna that `tcf.launch.search.optuna_internals` leans on are there and behave as used."""

import json
import os
from pathlib import Path

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.study import Study
from optuna.trial import TrialState

from tcf.launch.search.optuna_internals import repair_journal, running_trial

OPTUNA = f"Optuna {optuna.__version__}"
HERE = "tcf/launch/search/optuna_internals.py"


@pytest.fixture(autouse=True)
def no_messages() -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)


def opened(journal: Path) -> Study:
    storage = JournalStorage(JournalFileBackend(str(journal)))
    return optuna.create_study(study_name="x", storage=storage, load_if_exists=True)


def test_a_running_trial_is_taken_up_by_its_private_number(tmp_path: Path) -> None:
    study = opened(tmp_path / "journal")
    study.tell(study.ask(), 0.0)
    rate = study.ask().suggest_float("rate", 0, 1)
    study = opened(tmp_path / "journal")
    [frozen] = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    what = f"{OPTUNA}: Trial(study, FrozenTrial._trial_id) is no longer the trial that ran; {HERE} takes trials up so"
    trial = running_trial(study, frozen)
    assert trial.number == 1, what
    assert trial.suggest_float("rate", 0, 1) == rate, what
    trial.report(0.5, 1)
    study.tell(trial, 0.25)
    ended = opened(tmp_path / "journal").trials[1]
    assert (ended.state, ended.value, ended.intermediate_values) == (TrialState.COMPLETE, 0.25, {1: 0.5}), what


def test_a_journal_is_one_json_object_a_line(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    opened(journal).ask()
    lines = journal.read_bytes().splitlines(keepends=True)
    assert all(line.endswith(b"\n") and isinstance(json.loads(line), dict) for line in lines), (
        f"{OPTUNA}: JournalFileBackend no longer writes one JSON object a line; {HERE} cuts half a line off"
    )


def test_the_lock_is_a_file_beside_the_journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal, beside = tmp_path / "journal", set[str]()
    opened(journal)
    backend = JournalFileBackend(str(journal))
    fsync = os.fsync

    def look(descriptor: int) -> None:
        beside.update(file.name for file in tmp_path.iterdir())
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", look)
    backend.append_logs([{"op_code": 99}])
    assert beside - {"journal"} == {"journal.lock"}, (
        f"{OPTUNA}: while JournalFileBackend writes, {beside} is there; {HERE} removes journal.lock"
    )


@pytest.mark.parametrize("content", [b"", b'{"a": 1}\n', b'{"a": 1}\n{"b'])
def test_repairing(tmp_path: Path, content: bytes) -> None:
    journal = tmp_path / "journal"
    journal.write_bytes(content)
    (tmp_path / "journal.lock").symlink_to(journal)
    repair_journal(journal)
    assert journal.read_bytes() == content[: content.rfind(b"\n") + 1]
    assert [file.name for file in tmp_path.iterdir()] == ["journal"]
    repair_journal(tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_something_else_than_a_journal_is_told_by_these_errors(tmp_path: Path) -> None:
    """`tcf.launch.search.study` says of these that the file is no journal."""
    for content in (b"once upon a time\n" * 2, b'{"a": 1}\n' * 2):
        (tmp_path / "journal").write_bytes(content)
        with pytest.raises((ValueError, KeyError)):
            opened(tmp_path / "journal")
