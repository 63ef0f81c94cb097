"""All uses of private or undocumented parts of Optuna.

Checked with Optuna 5.0. `tests/launch/search/test_optuna_internals.py` has a test for each function, which names what
broke.
"""

from pathlib import Path

from optuna.study import Study
from optuna.trial import FrozenTrial, Trial

__all__ = ["repair_journal", "running_trial"]


def running_trial(study: Study, trial: FrozenTrial) -> Trial:
    """Return a trial that an earlier process left running in a form that accepts suggestions and reports.

    `Study.ask` only creates new trials, and `Trial` needs the storage's own number of a trial, which a frozen trial
    has only as `_trial_id`.
    """
    return Trial(study, trial._trial_id)


def repair_journal(journal: Path) -> None:
    """Repair a journal after a process that ended in the middle of a line or while holding its lock.

    How `JournalFileBackend` stores a study is undocumented: one JSON object per line, and while a process writes, a
    file of the same name with `.lock` appended. Optuna waits for a stale lock, and appends to an incomplete line.

    Args:
        journal: the file, which no other process uses; it need not exist.
    """
    journal.with_name(f"{journal.name}.lock").unlink(missing_ok=True)
    content = journal.read_bytes() if journal.exists() else b""
    if content and not content.endswith(b"\n"):
        with journal.open("r+b") as stream:
            stream.truncate(content.rfind(b"\n") + 1)
