"""A unit run in this process: its lease, its record, its log, and its errors."""

import contextlib
import logging
import os
import sys
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from tcf.common.errors import RunError, TcfError, place_error_words
from tcf.common.files import writing
from tcf.common.lease_file import acquire, kept
from tcf.common.output.folders import make_folder
from tcf.common.untrusted.printable import printable_lines
from tcf.launch.units.records import Records
from tcf.launch.units.repairs import run_repairing
from tcf.launch.units.unit import Unit

__all__ = ["UnitEnd", "run_unit"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class UnitEnd:
    """How a try of a unit ended.

    Attributes:
        unit: its name.
        ended: `done`; `failed` if its stage raised an error; `lost` if its process or job ended, or it was never begun;
            `held` if another process runs it, which is no try of this one.
        reason: why, on one line; empty if it is done.
        defect: whether the error was none that a user can fix; the process had better not be used again.
    """

    unit: str
    ended: Literal["done", "failed", "lost", "held"]
    reason: str = ""
    defect: bool = False


def run_unit(unit: Unit, records: Records, job: str = "") -> UnitEnd:
    """Run a unit; all that is printed meanwhile goes to its log.

    Args:
        unit: the unit.
        records: where its record and its log are.
        job: the scheduler's job that this is; empty without one.

    Raises:
        RunError: the record or the log cannot be written.
    """
    lease = records.lease(unit.name)
    with writing(lease):
        make_folder(lease.parent)
        if not acquire(lease):
            return UnitEnd(unit.name, "held", f"another process runs it (see {records.file(unit.name)})")
    with kept(lease):
        return _try(unit, records, job)


def _try(unit: Unit, records: Records, job: str) -> UnitEnd:
    """Run a unit that is leased, and record how it goes."""
    record = records.begin(unit, job)
    began = time.monotonic()
    with _output_to(records.log(unit.name)):
        logger.info(f"try {record.tries}, {record.host}: {record.command}")
        end, note = _end_of(unit, records)
    seconds = round(time.monotonic() - began, 3)
    how: Literal["failed", "done"] = "done" if end.ended == "done" else "failed"
    try:
        records.write(replace(record, ended=how, seconds=seconds, error=end.reason, note=note))
    except RunError:
        if end.ended == "done":
            raise  # nobody would know
    return end


def _end_of(unit: Unit, records: Records) -> tuple[UnitEnd, str]:
    """Run the unit's task; returns how it ended, and a note. A defect's traceback is in the log."""
    defect = False
    try:
        note = run_repairing(unit.task, records.repair_wish(unit.name))
    except TcfError as error:
        reason = " ".join(str(error).split())
    except Exception as error:
        words = place_error_words(error) if isinstance(error, OSError) else None
        if words is None:
            defect = True
            sys.stderr.write(printable_lines(traceback.format_exc()))
        reason = words or f"{type(error).__name__}: {' '.join(str(error).split())}"
    else:
        return UnitEnd(unit.name, "done"), note
    logger.error(f"failed: {reason}")
    return UnitEnd(unit.name, "failed", reason, defect), ""


@contextlib.contextmanager
def _output_to(log: Path) -> Iterator[None]:
    """Append what this process and its children print to a file, within the block."""
    with writing(log):
        make_folder(log.parent)
        target = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    before = {number: os.dup(number) for number in (1, 2)}
    try:
        _flush()
        for number in before:
            os.dup2(target, number)
        yield
    finally:
        _flush()
        for number, descriptor in before.items():
            os.dup2(descriptor, number)
            os.close(descriptor)
        os.close(target)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # full, or closed
            stream.flush()
