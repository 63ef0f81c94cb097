"""The course of a set of units: their order, their tries, and what follows from failures."""

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tcf.common.errors import RunError
from tcf.common.progress import Progress
from tcf.common.units import as_time, counted
from tcf.launch.launchers.damage import as_extraction, damaged_extraction, others_of_cache
from tcf.launch.launchers.launcher import Launcher
from tcf.launch.units.records import Records
from tcf.launch.units.run_unit import UnitEnd
from tcf.launch.units.tasks import Stage
from tcf.launch.units.unit import Unit

__all__ = ["Course"]

logger = logging.getLogger(__name__)

_POLL = 5.0  # seconds between two looks at units that other commands run, and at what runs


@dataclass
class Course:
    """What has become of each unit so far; every unit is in one of `waiting`, `submitted` and the later four.

    Attributes:
        units: all units, by name, in order.
        records: what is known of each.
        launcher: runs them.
        tries: how often a unit is tried, by stage.
        progress: shows what has been done.
        waiting: names of those that have not been submitted, in order.
        submitted: names of those that have.
        done: names of those that were run now.
        found: names of those that were done already, or by another command.
        failed: why units were given up, by name.
        left: names of those that need one that was given up.
        tried: number of ended tries, by name.
        looked_at: when the record of a waiting unit was last read, by name.
        elsewhere: names of waiting units that another command is running.
        asked: caches whose repair was asked for; once is enough.
        repaired: caches that were repaired.
    """

    units: Mapping[str, Unit]
    records: Records
    launcher: Launcher
    tries: Mapping[Stage, int]
    progress: Progress
    waiting: list[str] = field(default_factory=list)
    submitted: set[str] = field(default_factory=set)
    done: list[str] = field(default_factory=list)
    found: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    left: list[str] = field(default_factory=list)
    tried: dict[str, int] = field(default_factory=dict)
    looked_at: dict[str, float] = field(default_factory=dict)
    elsewhere: set[str] = field(default_factory=set)
    asked: set[Path] = field(default_factory=set)
    repaired: set[Path] = field(default_factory=set)

    def run(self) -> None:
        """Submit what can run, and handle ends, until nothing is left."""
        self.waiting = list(self.units)
        self.records.report_damage(self.units.values())
        for name in self.units:
            if self.records.state(self.units[name]) == "done":
                self._find(name)
        while True:
            self._leave_out()
            self._submit()
            if not self.submitted and not self.waiting:
                self.progress.advance(0, self._summary())
                return
            self._note_running()
            for end in self.launcher.ended(_POLL):
                self._handle(end)

    def _submit(self) -> None:
        ready = [name for name in self.waiting if self._is_ready(name)]
        offered = [self.units[name] for name in ready if self._can_begin(name)]
        if offered:
            taken = {unit.name for unit in self.launcher.take(offered)}
            self.waiting = [name for name in self.waiting if name not in taken]
            self.submitted.update(taken)

    def _is_ready(self, name: str) -> bool:
        return not any(need in self.waiting or need in self.submitted for need in self.units[name].needs)

    def _can_begin(self, name: str) -> bool:
        """Whether a unit is to be run here; not if another command is at it, or has done it meanwhile."""
        now = time.monotonic()
        if now < self.looked_at.get(name, -_POLL) + _POLL:
            return name not in self.elsewhere
        self.looked_at[name] = now
        state = self.records.state(self.units[name])
        if state == "done":
            logger.info(f"{name}: done by another command")
            self._find(name)
        elif state == "running" and name not in self.elsewhere:
            logger.info(f"{name}: another command is running it, which is waited for")
            self.elsewhere.add(name)
        elif state != "running":
            self.elsewhere.discard(name)
        return state not in ("done", "running")

    def _handle(self, end: UnitEnd) -> None:
        """Note how a try has ended."""
        name = end.unit
        self.submitted.discard(name)
        match end.ended:
            case "done":
                self._finish(name)
            case "held":
                self._wait_again(name)
            case "failed" | "lost":
                self._note_failure(end)

    def _finish(self, name: str) -> None:
        self.done.append(name)
        self._count(name)
        record = self.records.read(name)
        logger.info(f"{name}: done" + (f" in {as_time(record.seconds)}" if record is not None else ""))
        if record is not None and record.note:
            logger.warning(f"{name}: {record.note}")
            self._fill_others(self.units[name])

    def _note_failure(self, end: UnitEnd) -> None:
        name = end.unit
        if end.ended == "lost":
            self._record_loss(end)
        if self._asks_for_repair(end):
            self._wait_again(name)
            return
        self.tried[name] = self.tried.get(name, 0) + 1
        tries = self.tries[self.units[name].stage]
        if self.tried[name] < tries:
            logger.warning(f"{name}: {end.reason}; it is tried again ({self.tried[name] + 1} of {tries})")
            self._wait_again(name)
            return
        self.failed[name] = end.reason
        self._count(name)
        logger.error(f"{name}: {end.reason}; given up (tried {counted(tries, 'time')})")

    def _record_loss(self, end: UnitEnd) -> None:
        try:
            self.records.note_lost(self.units[end.unit], end.reason)
        except RunError as error:
            logger.warning(f"{end.unit}: {error}")

    def _asks_for_repair(self, end: UnitEnd) -> bool:
        """Let the extraction of a cache that a unit has found damaged run again; False if that is no remedy."""
        extraction = damaged_extraction(end, self.units)
        if extraction is None:
            return False
        name = extraction.unit.name
        if extraction.task.out in self.asked:
            return not self._is_over(name)  # another unit has asked, and it is about to
        self.asked.add(extraction.task.out)
        if not self._is_over(name) or not self._undo(name, repair=True):
            return False
        logger.warning(f"{end.unit}: {end.reason}: {name} does so now, and {end.unit} runs again after it")
        return True

    def _fill_others(self, unit: Unit) -> None:
        """Let other extractions into a repaired cache run again: some of what was dropped may have been theirs."""
        extraction = as_extraction(unit)
        if extraction is None or extraction.task.out in self.repaired:
            return
        self.repaired.add(extraction.task.out)
        for name in others_of_cache(extraction, self.units):
            if self._is_over(name):
                self._undo(name, repair=False)

    def _undo(self, name: str, *, repair: bool) -> bool:
        """Let a unit that is done wait again; False if that cannot be recorded."""
        try:
            self.records.ask_again(self.units[name], repair=repair)
        except RunError as error:
            logger.warning(f"{name}: {error}")
            return False
        for names in (self.done, self.found):
            if name in names:
                names.remove(name)
        self._count(name, -1)
        self._wait_again(name)
        return True

    def _is_over(self, name: str) -> bool:
        return name in self.done or name in self.found

    def _wait_again(self, name: str) -> None:
        self.waiting.insert(0, name)
        self.looked_at.pop(name, None)

    def _find(self, name: str) -> None:
        self.waiting.remove(name)
        self.elsewhere.discard(name)
        self.found.append(name)
        self._count(name, resumed=True)

    def _leave_out(self) -> None:
        """Leave out units that need one that was given up."""
        left = []
        while hopeless := [name for name in self.waiting if self._is_hopeless(name)]:
            for name in hopeless:
                self.waiting.remove(name)
                self._count(name, resumed=True)
            self.left += hopeless
            left += hopeless
        if left:
            more = f" and {len(left) - 1} more" if len(left) > 1 else ""
            logger.warning(f"left out, because they need what has failed: {left[0]}{more}")

    def _is_hopeless(self, name: str) -> bool:
        unit = self.units[name]
        given_up = [need for need in unit.needs if need in self.failed or need in self.left]
        return bool(given_up) and (not unit.after_failures or len(given_up) == len(unit.needs))

    def _count(self, name: str, number: int = 1, *, resumed: bool = False) -> None:
        """Show a unit as finished, or as not; one that has not run now does not count in the rate."""
        self.progress.advance(number, work=number * (self.units[name].minutes or 0), resumed=resumed)

    def _summary(self) -> str:
        parts = {"done": self.done, "found": self.found, "failed": self.failed, "left out": self.left}
        return ", ".join(f"{len(names)} {how}" for how, names in parts.items() if names)

    def _note_running(self) -> None:
        names = [*self.launcher.running(), *sorted(self.elsewhere)]
        more = f" and {len(names) - 2} more" if len(names) > 2 else ""
        self.progress.advance(0, f"{', '.join(names[:2])}{more}" if names else "nothing runs")
