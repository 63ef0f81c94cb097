"""What is known of each unit: a small file in a folder of the command or study, written by whoever runs the unit.

The folder that holds them is all the state that there is; nothing is asked of a scheduler's own accounting. That a unit
runs is shown by a lease beside its record, so a record of a process that was killed counts as interrupted.
"""

import json
import logging
import socket
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

from tcf import __version__
from tcf.common.files import is_published, publish_file, writing
from tcf.common.lease_file import is_held
from tcf.common.output.folders import make_folder
from tcf.common.parsing import LARGEST_JSON, read_json
from tcf.launch.units.unit import Unit

__all__ = ["Records", "State", "UnitRecord"]

logger = logging.getLogger(__name__)

State = Literal["waiting", "running", "interrupted", "failed", "done"]
"""What may be said of a unit: it has not begun, or anew; it runs; it was cut off; its last try failed; it is done."""


@dataclass(frozen=True)
class UnitRecord:
    """What is known of a unit's last try.

    Attributes:
        unit: its name.
        digest: of what is done.
        ended: how the try ended; `running` until then.
        tries: number of tries so far, this one included.
        host: name of the machine.
        job: the job of a scheduler that runs it; empty without one.
        version: tcf's, of the process that runs it.
        began: time of its begin, in seconds since 1970.
        seconds: how long it took; 0 until its end.
        error: why it failed, on one line; empty if it did not.
        log: the file with all that it printed.
        command: the command line that does the same.
        note: what the user should know of a try that is done; empty for nothing.
    """

    unit: str
    digest: str
    ended: Literal["running", "failed", "done"]
    tries: int
    host: str
    job: str
    version: str
    began: float
    seconds: float = 0.0
    error: str = ""
    log: str = ""
    command: str = ""
    note: str = ""


@dataclass(frozen=True)
class Records:
    """The records of all units of a command or study.

    Attributes:
        folder: where they are: `units/NAME.json`, and `logs/NAME.log` for what each unit has printed. Beside a record
            may be its unit's lease, and the wish that its cache be repaired.
    """

    folder: Path

    def file(self, unit: str) -> Path:
        """Where the record of a unit is."""
        return self.folder / "units" / f"{unit}.json"

    def lease(self, unit: str) -> Path:
        """Where the lease of the process that runs a unit is."""
        file = self.file(unit)
        return file.with_name(f".{file.name}.claim")

    def repair_wish(self, unit: str) -> Path:
        """Where a file is while an extraction is to look for damage in its cache before it begins."""
        file = self.file(unit)
        return file.with_name(f".{file.name}.repair")

    def log(self, unit: str) -> Path:
        """Where a unit's output goes."""
        return self.folder / "logs" / f"{unit}.log"

    def read(self, unit: str) -> UnitRecord | None:
        """Return the record of a unit; None if there is none, or if it is damaged, which only costs a look."""
        try:
            values = read_json(self.file(unit), most=LARGEST_JSON)
            record = UnitRecord(**values)
        except (OSError, ValueError, TypeError):
            return None
        return record if _has_its_types(record) else None

    def report_damage(self, units: Iterable[Unit]) -> None:
        """Name the records of units that are there and cannot be read, which count as missing."""
        damaged = [unit.name for unit in units if self.file(unit.name).exists() and self.read(unit.name) is None]
        for name in damaged:
            logger.warning(
                f"{self.file(name)}: expected the record of a unit, found something else; {name} is run again, which "
                "finds what it has published"
            )

    def state(self, unit: Unit) -> State:
        """Return what may be said of a unit, which is done if its outputs are there and nothing of it has changed."""
        if is_held(self.lease(unit.name)):
            return "running"
        record = self.read(unit.name)
        if record is None or record.digest != unit.digest:
            return "waiting"
        if record.ended == "running":
            return "interrupted"
        if record.ended == "done" and not all(is_published(out) or out.exists() for out in unit.task.outputs):
            return "waiting"
        return record.ended

    def begin(self, unit: Unit, job: str) -> UnitRecord:
        """Record that this process begins a try.

        Raises:
            RunError: the record cannot be written.
        """
        before = self.read(unit.name)
        tries = before.tries if before is not None and before.digest == unit.digest and before.ended != "done" else 0
        record = UnitRecord(
            unit=unit.name,
            digest=unit.digest,
            ended="running",
            tries=tries + 1,
            host=socket.gethostname(),
            job=job,
            version=__version__,
            began=time.time(),
            log=str(self.log(unit.name)),
            command=unit.task.command,
        )
        self.write(record)
        return record

    def note_lost(self, unit: Unit, reason: str) -> None:
        """Record that the process of a unit has ended without a word, unless another process is at it by now.

        Raises:
            RunError: the record or the log cannot be written.
        """
        record = self.read(unit.name)
        if record is None or record.ended != "running" or is_held(self.lease(unit.name)):
            return
        log = self.log(unit.name)
        with writing(log):
            make_folder(log.parent)
            with log.open("a", encoding="utf-8") as stream:
                stream.write(f"tcf: warning: lost: {reason}\n")
        self.write(replace(record, ended="failed", error=reason))

    def ask_again(self, unit: Unit, *, repair: bool) -> None:
        """Let a unit that is done run again, as if it had not.

        Args:
            unit: the unit.
            repair: whether damage in its cache is looked for first.

        Raises:
            RunError: its record cannot be removed.
        """
        with writing(self.file(unit.name)):
            if repair:
                self.repair_wish(unit.name).touch()
            self.file(unit.name).unlink(missing_ok=True)

    def write(self, record: UnitRecord) -> None:
        """Write a record.

        Raises:
            RunError: it cannot be written.
        """
        file = self.file(record.unit)
        with writing(file):
            make_folder(file.parent)
        publish_file(file, json.dumps(asdict(record), indent=1).encode())


def _has_its_types(record: UnitRecord) -> bool:
    """Whether the values of a record that was read are such as were written."""
    numbers = {"tries": int, "began": int | float, "seconds": int | float}
    values = asdict(record).items()
    return record.ended in ("running", "failed", "done") and all(
        isinstance(value, numbers.get(name, str)) for name, value in values
    )
