"""A unit run in this process: its lease, its record, its log, and its errors."""

import contextlib
import dataclasses
import logging
import os
import sys
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tcf.common.errors import RunError, TcfError, place_error_words
from tcf.common.files import writing
from tcf.common.lease_file import acquire, heartbeats, is_own
from tcf.common.output.folders import make_folder
from tcf.common.untrusted.printable import printable_lines
from tcf.launch.units.records import Records
from tcf.launch.units.unit import Unit

__all__ = ["UnitEnd", "run_unit"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class UnitEnd:
    """How a try of a unit ended.

    Attributes:
        unit: its name.
        ended: `done`; `failed` if its stage raised an error; `lost` if its process or job ended, or it was never begun.
        reason: why, on one line; empty if it is done.
    """

    unit: str
    ended: Literal["done", "failed", "lost"]
    reason: str = ""


def run_unit(unit: Unit, records: Records, job: str = "") -> UnitEnd:
    """Run a unit; all that is printed meanwhile goes to its log.

    Args:
        unit: the unit.
        records: where its record and its log are.
        job: the scheduler's job that this is; empty without one.

    Raises:
        RunError: the record or the log cannot be written, or another process runs this unit.
    """
    lease, log = records.lease(unit.name), records.log(unit.name)
    with writing(lease):
        make_folder(lease.parent)
        if not acquire(lease):
            raise RunError(f"{unit.name}: expected no other process at it, found one (see {records.file(unit.name)})")
    try:
        with heartbeats(lease):
            record = records.begin(unit, job)
            began = time.monotonic()
            with _output_to(log):
                logger.info(f"try {record.tries}, {record.host}: {record.command}")
                error = _error_of(unit)
            seconds = round(time.monotonic() - began, 3)
            records.write(
                dataclasses.replace(record, ended="failed" if error else "done", seconds=seconds, error=error)
            )
    finally:
        if is_own(lease):
            lease.unlink(missing_ok=True)
    return UnitEnd(unit.name, "failed" if error else "done", error)


def _error_of(unit: Unit) -> str:
    """Run the unit's task; returns its error on one line, or nothing. A defect's traceback is in the log."""
    try:
        unit.task.run()
    except TcfError as error:
        reason = " ".join(str(error).split())
    except Exception as error:
        words = place_error_words(error) if isinstance(error, OSError) else None
        if words is None:
            sys.stderr.write(printable_lines(traceback.format_exc()))
        reason = words or f"{type(error).__name__}: {' '.join(str(error).split())}"
    else:
        return ""
    logger.error(f"failed: {reason}")
    return reason


@contextlib.contextmanager
def _output_to(log: Path) -> Iterator[None]:
    """Append what this process and its children print to a file, within the block."""
    with writing(log):
        make_folder(log.parent)
        target = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    kept = {number: os.dup(number) for number in (1, 2)}
    try:
        sys.stdout.flush()
        for number in kept:
            os.dup2(target, number)
        yield
    finally:
        sys.stdout.flush()
        for number, descriptor in kept.items():
            os.dup2(descriptor, number)
            os.close(descriptor)
        os.close(target)
