"""Everything in tcf that leans on private or undocumented parts of Optuna, gathered in one place.

Checked with Optuna 5.0. `tests/launch/search/test_optuna_internals.py` has a test for each function, which names what
broke.
"""

from pathlib import Path

from optuna.study import Study
from optuna.trial import FrozenTrial, Trial

__all__ = ["repair_journal", "running_trial"]


def running_trial(study: Study, trial: FrozenTrial) -> Trial:
    """A trial that an earlier process left running, as one that can be reported to and drawn for.

    `Study.ask` makes new trials only, and `Trial` takes the storage's own number of a trial, which a frozen trial has
    as `_trial_id` alone.
    """
    return Trial(study, trial._trial_id)


def repair_journal(journal: Path) -> None:
    """Make a journal fit to be written to, after a process that ended in the middle of a line or with its lock.

    How `JournalFileBackend` keeps a study is undocumented: one JSON object a line, and a file beside it, with `.lock`
    after its name, while one writes. Optuna waits for a lock that nobody holds any more, and appends to half a line.

    Args:
        journal: the file, which no other process uses; it need not be there.
    """
    journal.with_name(f"{journal.name}.lock").unlink(missing_ok=True)
    content = journal.read_bytes() if journal.exists() else b""
    if content and not content.endswith(b"\n"):
        with journal.open("r+b") as stream:
            stream.truncate(content.rfind(b"\n") + 1)
