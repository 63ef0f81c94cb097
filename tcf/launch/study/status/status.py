"""The status of a study: what has become of each unit, what runs, what failed, and how long the rest will take."""

import os
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

from tcf.common.errors import ConfigError
from tcf.launch.study.status.started import StartedStudy, is_claimed
from tcf.launch.units.records import Records, State, UnitRecord
from tcf.launch.units.tasks import Stage
from tcf.launch.units.unit import STAGES, Unit

__all__ = ["STATES", "StudyStatus", "UnitStatus", "read_status"]

STATES: tuple[State, ...] = ("done", "running", "waiting", "interrupted", "failed")

_END = 4096  # bytes of a log in which its last line is looked for

Activity = Literal["running", "submitted", "ended"]
"""Whether a command is at a study; a scheduler may be; or nobody is, as far as is known."""


@dataclass(frozen=True)
class UnitStatus:
    """What is known of a unit.

    Attributes:
        unit: the unit.
        state: what may be said of it.
        record: of its last try; None if there was none, or if it was of another plan.
        line: the last line of its log, while it runs.
    """

    unit: Unit
    state: State
    record: UnitRecord | None
    line: str = ""

    def as_json(self) -> dict[str, Any]:
        """The same as JSON values."""
        record = self.record
        about = {} if record is None else {name: getattr(record, name) for name in _SHOWN}
        return {"unit": self.unit.name, "stage": self.unit.stage, "state": self.state, **about, "line": self.line}


_SHOWN = ("host", "job", "tries", "began", "seconds", "error", "log", "command")


@dataclass(frozen=True)
class StudyStatus:
    """How far a study is.

    Attributes:
        out: its folder.
        activity: whether somebody is at it.
        started: what the last command began; None if there was none.
        units: what is known of each unit.
        now: when this was read, in seconds since 1970.
    """

    out: Path
    activity: Activity
    started: StartedStudy | None
    units: tuple[UnitStatus, ...]
    now: float

    def of_state(self, state: State) -> list[UnitStatus]:
        """The units of a state."""
        return [unit for unit in self.units if unit.state == state]

    @property
    def counts(self) -> dict[Stage, Counter[State]]:
        """Number of units by stage and state, in the order of stages; stages without units are left out."""
        found: dict[Stage, Counter[State]] = {}
        for stage in STAGES:
            states = Counter(unit.state for unit in self.units if unit.unit.stage == stage)
            found |= {stage: states} if states else {}
        return found

    @property
    def complete(self) -> bool:
        """Whether all units are done."""
        return all(unit.state == "done" for unit in self.units)

    @property
    def ended(self) -> bool:
        """Whether nothing will change by itself: all is done, nobody is at it, or jobs have nothing left to do."""
        if self.complete or self.of_state("running"):
            return self.complete
        if self.activity == "submitted":
            settled = self._hopeless() | {unit.unit.name for unit in self.units if unit.state in ("done", "failed")}
            return len(settled) == len(self.units)
        return self.activity == "ended"

    def _hopeless(self) -> set[str]:
        """Names of the units that need one that failed, directly or not."""
        found = {unit.unit.name for unit in self.of_state("failed")}
        for unit in self.units:  # needs come before those that need them
            if not unit.unit.after_failures and found & {*unit.unit.needs}:
                found.add(unit.unit.name)
        return found

    @property
    def seconds_left(self) -> float | None:
        """Seconds until the end, if as many units run at a time as now; None if nothing is known of some stage.

        A unit is expected to take as long as the finished ones of its stage on average, or as it was predicted.
        """
        means = self._mean_seconds()
        left = 0.0
        for unit in self.units:
            if unit.state == "done":
                continue
            minutes = unit.unit.minutes
            expected = means.get(unit.unit.stage, None if minutes is None else 60 * minutes)
            if expected is None:
                return None
            began = unit.record.began if unit.state == "running" and unit.record is not None else self.now
            left += max(0.0, expected - (self.now - began))
        return left / max(1, len(self.of_state("running")))

    def _mean_seconds(self) -> Mapping[Stage, float]:
        taken: dict[Stage, list[float]] = {}
        for unit in self.of_state("done"):
            if unit.record is not None:
                taken.setdefault(unit.unit.stage, []).append(unit.record.seconds)
        return {stage: fmean(seconds) for stage, seconds in taken.items()}

    def as_json(self) -> dict[str, Any]:
        """The status as JSON values."""
        started = self.started
        return {
            "study": str(self.out),
            "activity": self.activity,
            "host": None if started is None else started.host,
            "process": None if started is None else started.process,
            "stages": {stage: {state: states[state] for state in STATES} for stage, states in self.counts.items()},
            "seconds_left": self.seconds_left,
            "units": [unit.as_json() for unit in self.units],
        }


def read_status(out: Path, units: Sequence[Unit], started: StartedStudy | None) -> StudyStatus:
    """Read how far a study is; nothing is written, and nobody is asked.

    Args:
        out: the study's folder.
        units: all that is to be done.
        started: what the last command began; None if there was none.

    Raises:
        ConfigError: there are no units.
    """
    if not units:
        raise ConfigError(f"{out}: expected something to do, found no units; check the study's file")
    records = Records(out / "state")
    found = tuple(_status_of(unit, records) for unit in units)
    return StudyStatus(out, _activity(out, started), started, found, time.time())


def _activity(out: Path, started: StartedStudy | None) -> Activity:
    if is_claimed(out):
        return "running"
    return "submitted" if started is not None and started.how == "submitted" else "ended"


def _status_of(unit: Unit, records: Records) -> UnitStatus:
    state = records.state(unit)
    record = records.read(unit.name)
    current = record if record is not None and record.digest == unit.digest else None
    line = next(_last_lines(records.log(unit.name)), "") if state in ("running", "interrupted") else ""
    return UnitStatus(unit, state, current, line)


def _last_lines(log: Path) -> Iterator[str]:
    """The lines at the end of a log that are not empty, the last one first."""
    try:
        with log.open("rb") as stream:
            stream.seek(max(0, os.fstat(stream.fileno()).st_size - _END))
            text = stream.read().decode(errors="replace")
    except OSError:
        return
    yield from (line.strip() for line in reversed(text.splitlines()) if line.strip())
