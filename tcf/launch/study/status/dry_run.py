"""What a study would do: all units with their states, and what they are predicted to take."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tcf.common.text_table import text_table
from tcf.common.units import as_bytes, as_time, counted
from tcf.launch.study.predict import Prediction, predict
from tcf.launch.study.study import Study
from tcf.launch.units.records import Records, State
from tcf.launch.units.unit import STAGES, Unit

__all__ = ["DryRun", "PlannedUnit", "dry_run"]

_HEADS = ("unit", "state", "time", "memory", "disk", "note")


@dataclass(frozen=True)
class PlannedUnit:
    """A unit, and what is known of it before it runs.

    Attributes:
        unit: the unit.
        state: what may be said of it.
        prediction: what it is predicted to take; None of one that is done.
    """

    unit: Unit
    state: State
    prediction: Prediction | None

    @property
    def seconds(self) -> float | None:
        """Predicted seconds; 0 if it is done, None if nothing is known."""
        if self.state == "done":
            return 0.0
        minutes = None if self.prediction is None else self.prediction.minutes
        return None if minutes is None else 60 * minutes

    @property
    def cells(self) -> list[str]:
        """Its line in a table."""
        if self.state == "done" or self.prediction is None:
            return [f"  {self.unit.name}", self.state, "-", "-", "-", ""]
        found = self.prediction
        sizes = ("?" if size is None else as_bytes(size) for size in (found.memory, found.disk))
        seconds = self.seconds
        return [f"  {self.unit.name}", self.state, "?" if seconds is None else as_time(seconds), *sizes, found.note]

    def as_json(self) -> dict[str, Any]:
        """The same as JSON values."""
        found = self.prediction
        return {
            "unit": self.unit.name,
            "stage": self.unit.stage,
            "state": self.state,
            "needs": [*self.unit.needs],
            "seconds": self.seconds,
            "memory_bytes": None if found is None else found.memory,
            "disk_bytes": None if found is None else found.disk,
            "note": "" if found is None else found.note,
            "command": self.unit.task.command,
        }


@dataclass(frozen=True)
class DryRun:
    """What a study would do.

    Attributes:
        study: the study.
        units: its units, in the order in which they may run.
    """

    study: Study
    units: tuple[PlannedUnit, ...]

    def as_json(self) -> dict[str, Any]:
        """The same as JSON values."""
        return {"study": str(self.study.out), "units": [unit.as_json() for unit in self.units]}

    def summary(self, *, commands: bool = False) -> str:
        """All units, stage by stage, with totals.

        Args:
            commands: whether to show the command of each, too.
        """
        rows = [list(_HEADS)]
        for stage in STAGES:
            of_stage = [unit for unit in self.units if unit.unit.stage == stage]
            if of_stage:
                rows += [_total(f"{stage} ({counted(len(of_stage), 'unit')})", of_stage), *(u.cells for u in of_stage)]
        rows.append(_total(f"all ({counted(len(self.units), 'unit')})", self.units))
        shown = [text_table(rows), *self._notes()]
        if commands:
            shown += [f"\n{unit.unit.name}:\n  {unit.unit.task.command}" for unit in self.units]
        return "\n".join(shown)

    def _notes(self) -> Iterator[str]:
        yield "time: of this machine, one unit after the other; +: and what is not known yet"
        yield f"{self.study.out}: nothing has been written"


def dry_run(study: Study) -> DryRun:
    """Find out what a study would do; nothing is written.

    Raises:
        TcfError: a unit could not run at all.
    """
    records = Records(study.state)
    states: Mapping[str, State] = {unit.name: records.state(unit) for unit in study.units}
    predictions = predict(study)
    found = (PlannedUnit(unit, states[unit.name], predictions.get(unit.name)) for unit in study.units)
    return DryRun(study, tuple(found))


def _total(name: str, units: Sequence[PlannedUnit]) -> list[str]:
    """A line for several units: those done of all, the time of all others, the memory of the largest, all disk."""
    done = sum(unit.state == "done" for unit in units)
    waiting = [unit for unit in units if unit.state != "done"]
    known = [seconds for unit in waiting if (seconds := unit.seconds) is not None]
    time = as_time(sum(known)) if known or not waiting else "?"
    more = "+" if known and len(known) < len(waiting) else ""
    found = [unit.prediction for unit in waiting if unit.prediction is not None]
    memory = max((prediction.memory or 0 for prediction in found), default=0)
    disk = sum(prediction.disk or 0 for prediction in found)
    sizes = (as_bytes(size) if size else "-" for size in (memory, disk))
    return [name, f"{done} done" if done else "", time + more, *sizes, ""]
