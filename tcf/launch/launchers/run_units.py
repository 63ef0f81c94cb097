"""Runs units with a launcher until each is done or given up: the order, the tries, and what follows from failures."""

import logging
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field

from tcf.common.errors import RunError
from tcf.common.progress import Progress
from tcf.common.units import counted
from tcf.launch.launchers.launcher import Launcher
from tcf.launch.units.records import Records
from tcf.launch.units.run_unit import UnitEnd
from tcf.launch.units.unit import Unit, check_names

__all__ = ["UnitResults", "check_results", "run_units"]

logger = logging.getLogger(__name__)

_POLL = 5.0  # seconds between two looks at records, so that progress shows what runs
_LINES = 15


@dataclass(frozen=True)
class UnitResults:
    """What has become of units.

    Attributes:
        done: names of those that were run now.
        found: names of those that were done before.
        failed: why others were given up, by name.
        left: names of those that could not run, because they need some that failed.
    """

    done: tuple[str, ...]
    found: tuple[str, ...]
    failed: Mapping[str, str]
    left: tuple[str, ...]

    @property
    def number(self) -> int:
        """Number of all units."""
        return len(self.done) + len(self.found) + len(self.failed) + len(self.left)

    @property
    def complete(self) -> bool:
        """Whether all are done."""
        return not self.failed and not self.left


@dataclass
class _Course:
    """The course of a set of units.

    Attributes:
        units: all units, by name.
        records: what is known of each.
        launcher: runs them.
        tries: how often a unit is tried.
        waiting: names of those that have not been submitted, in order.
        submitted: names of those that have.
        done: names of those that are done now.
        failed: why units were given up, by name.
        left: names of those that need one that was given up.
        tried: number of ended tries, by name.
    """

    units: Mapping[str, Unit]
    records: Records
    launcher: Launcher
    tries: int
    waiting: list[str]
    submitted: set[str] = field(default_factory=set)
    done: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    left: list[str] = field(default_factory=list)
    tried: dict[str, int] = field(default_factory=dict)

    def run(self, progress: Progress) -> None:
        """Submit what can run, and handle ends, until nothing is left."""
        while self.waiting or self.submitted:
            progress.advance(self._leave_out())
            self._submit()
            if not self.submitted and not self.waiting:
                return
            for end in self.launcher.ended(_POLL):
                progress.advance(self._handle(end))
            progress.advance(0, self._running())

    def _leave_out(self) -> int:
        """Leave out units that need one that was given up; returns their number."""
        before = len(self.left)
        while hopeless := [name for name in self.waiting if self._is_hopeless(name)]:
            for name in hopeless:
                self.waiting.remove(name)
                self.left.append(name)
        return len(self.left) - before

    def _is_hopeless(self, name: str) -> bool:
        unit = self.units[name]
        given_up = [need for need in unit.needs if need in self.failed or need in self.left]
        return bool(given_up) and not unit.after_failures

    def _submit(self) -> None:
        ready = [self.units[name] for name in self.waiting if self._is_ready(name)]
        if ready:
            taken = {unit.name for unit in self.launcher.take(ready)}
            self.waiting = [name for name in self.waiting if name not in taken]
            self.submitted.update(taken)

    def _is_ready(self, name: str) -> bool:
        return not any(need in self.waiting or need in self.submitted for need in self.units[name].needs)

    def _handle(self, end: UnitEnd) -> int:
        """Note how a try ended; returns 1 if the unit is done or given up, 0 if it is tried again."""
        self.submitted.discard(end.unit)
        if end.ended == "done":
            self.done.append(end.unit)
            logger.info(f"{end.unit}: done")
            return 1
        self.tried[end.unit] = self.tried.get(end.unit, 0) + 1
        if self.tried[end.unit] < self.tries:
            logger.warning(f"{end.unit}: {end.reason}; it is tried again ({self.tried[end.unit]} of {self.tries})")
            self.waiting.insert(0, end.unit)
            return 0
        self.failed[end.unit] = end.reason
        logger.error(f"{end.unit}: {end.reason}; given up (tried {counted(self.tries, 'time')})")
        return 1

    def _running(self) -> str:
        names = list(self.launcher.running())
        return ", ".join(names[:2]) + (f" and {len(names) - 2} more" if len(names) > 2 else "")


def run_units(
    units: Sequence[Unit], records: Records, launcher: Launcher, *, tries: int, what: str = "units"
) -> UnitResults:
    """Run units, each once the units that it needs are done; those that are done already are found.

    A unit that fails, or whose process is lost, is tried again; one that is given up keeps those that need it from
    running, and the others go on.

    Args:
        units: the units; needs before those that need them.
        records: what is known of each.
        launcher: runs them, and is closed at the end.
        tries: how often each is tried.
        what: word for the progress.
    """
    check_names(units)
    found = [unit.name for unit in units if records.state(unit) == "done"]
    waiting = [unit.name for unit in units if unit.name not in found]
    course = _Course({unit.name: unit for unit in units}, records, launcher, tries, waiting)
    with closing(launcher), Progress(what, len(units), "units", done=len(found)) as progress:
        course.run(progress)
    return UnitResults(tuple(course.done), tuple(found), course.failed, tuple(course.left))


def check_results(results: UnitResults, records: Records, again: str) -> None:
    """Report units that were given up, with the ends of their logs.

    Args:
        results: of `run_units`.
        records: where their logs are.
        again: the command that goes on.

    Raises:
        RunError: a unit was given up.
    """
    for name in results.failed:
        log = records.log(name)
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-_LINES:] if log.exists() else []
        logger.error("\n".join([f"{name}: the end of {log}:", *(f"    {line}" for line in lines)]))
    if results.failed:
        name, reason = next(iter(results.failed.items()))
        others = f", and {counted(len(results.left), 'unit')} that need it" if results.left else ""
        raise RunError(
            f"{len(results.failed)} of {counted(results.number, 'unit')} failed{others}; the first is {name}: "
            f"{reason}; see {records.log(name)}, fix the cause, and run `{again}`, which does only what is missing"
        )
