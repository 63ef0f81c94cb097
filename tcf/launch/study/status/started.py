"""Who is at a study: a lease of its folder, and a note of what was started, for `tcf study status`."""

import json
import os
import shlex
import socket
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tcf.common.errors import RunError
from tcf.common.files import publish_file, writing
from tcf.common.lease_file import acquire, is_held, kept
from tcf.common.output.folders import make_folder
from tcf.common.parsing import LARGEST_JSON, read_json
from tcf.launch.study.study import Study
from tcf.launch.units.unit import Unit, decode_unit

__all__ = ["StartedStudy", "claimed", "is_claimed", "note_start", "read_started", "study_command", "watch_command"]

How = Literal["resident", "submitted"]
"""Whether a command stays until all is done, or everything was handed to a scheduler at once."""


@dataclass(frozen=True)
class StartedStudy:
    """What the last command began.

    Attributes:
        file: the study's file.
        overrides: entries that replace those of the file.
        host: name of the machine that the command ran on.
        process: its number there.
        began: time of its begin, in seconds since 1970.
        how: whether it stays until all is done.
        units: all that is to be done.
        options: options of processes and jobs, as they were typed.
    """

    file: Path
    overrides: tuple[str, ...]
    host: str
    process: int
    began: float
    how: How
    units: tuple[Unit, ...]
    options: tuple[str, ...] = ()

    @property
    def words(self) -> str:
        """The command, for messages."""
        return f"process {self.process} on {self.host}"

    @property
    def again(self) -> str:
        """The command line that goes on."""
        detached = ("--detach",) if self.how == "submitted" else ()
        return study_command(self.file, self.overrides, (*self.options, *detached))


def study_command(file: Path, overrides: Iterable[str], options: Iterable[str] = ()) -> str:
    """The command line that runs a study.

    Args:
        file: its file.
        overrides: entries that replace those of the file.
        options: further options, as they are typed.
    """
    replaced = [part for entry in overrides for part in ("--set", entry)]
    return shlex.join(["tcf", "study", str(file), *replaced, *options])


def watch_command(study: Study) -> str:
    """The command line that watches a study that has begun; its folder says what was begun, whatever the file says."""
    return shlex.join(["tcf", "study", "status", str(study.out), "--watch"])


@contextmanager
def claimed(study: Study) -> Iterator[None]:
    """Hold the study's lease within the block: one command at a time decides what runs next.

    Raises:
        RunError: another command is at it, or the folder cannot be written.
    """
    lease = _lease(study.out)
    with writing(lease):
        make_folder(lease.parent)
        if not acquire(lease):
            raise RunError(_occupied(study))
    with kept(lease):
        yield


def is_claimed(out: Path) -> bool:
    """Whether a command is at a study."""
    return is_held(_lease(out))


def note_start(study: Study, overrides: Sequence[str], how: How = "resident") -> None:
    """Note that this process begins with a study.

    Raises:
        RunError: the note cannot be written.
    """
    values = {
        "file": os.path.abspath(study.path),  # noqa: PTH100 (keeps symbolic links)
        "overrides": [*overrides],
        "host": socket.gethostname(),
        "process": os.getpid(),
        "began": time.time(),
        "how": how,
        "units": [unit.as_message() for unit in study.units],
        "options": [*study.options],
    }
    make_folder(study.state)
    publish_file(_note(study.out), json.dumps(values, indent=1, ensure_ascii=False).encode())


def read_started(out: Path) -> StartedStudy | None:
    """Read what the last command began; None if there was none, or if the note is damaged."""
    try:
        values: Mapping[str, Any] = read_json(_note(out), most=LARGEST_JSON)
        return StartedStudy(
            file=Path(values["file"]),
            overrides=tuple(values["overrides"]),
            host=values["host"],
            process=values["process"],
            began=values["began"],
            how=values["how"],
            units=tuple(decode_unit(unit) for unit in values["units"]),
            options=tuple(values["options"]),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _occupied(study: Study) -> str:
    started = read_started(study.out)
    who = "another one" if started is None else started.words
    return (
        f"{study.out}: expected no other command at this study, found {who}; wait for its end "
        f"(`{watch_command(study)}`), or end it"
    )


def _lease(out: Path) -> Path:
    return out / ".study.claim"


def _note(out: Path) -> Path:
    return out / "state" / "study.json"
