"""Runs units with a launcher until each is done or given up, and says what has become of them."""

import logging
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from tcf.common.errors import RunError
from tcf.common.progress import Progress
from tcf.common.units import counted
from tcf.launch.launchers.course import Course
from tcf.launch.launchers.launcher import Launcher
from tcf.launch.units.records import Records
from tcf.launch.units.tasks import Stage
from tcf.launch.units.unit import STAGES, Unit, check_names

__all__ = ["UnitResults", "check_results", "run_units"]

logger = logging.getLogger(__name__)

_LINES = 15


@dataclass(frozen=True)
class UnitResults:
    """What has become of units.

    Attributes:
        done: names of those that were run now.
        found: names of those that were done before, or by another command meanwhile.
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


def run_units(
    units: Sequence[Unit],
    records: Records,
    launcher: Launcher,
    *,
    tries: int | Mapping[Stage, int],
    what: str = "units",
) -> UnitResults:
    """Run units, each once the units that it needs are done; those that are done already are found.

    A unit that fails, or whose process is lost, is tried again, as often as `tries` says in this command; one that is
    given up keeps those that need it from running, and the others go on. The result of a unit that another command is
    running is waited for.

    Args:
        units: the units; needs before those that need them.
        records: what is known of each.
        launcher: runs them, and is closed at the end.
        tries: how often each is tried, or each of a stage.
        what: word for the progress.

    Raises:
        TcfError: units cannot be run at all.
    """
    check_names(units)
    minutes = sum(unit.minutes or 0 for unit in units) if all(unit.minutes for unit in units) else None
    of_stages = dict.fromkeys(STAGES, tries) if isinstance(tries, int) else tries
    with closing(launcher), Progress(what, len(units), "units", work=minutes) as progress:
        course = Course({unit.name: unit for unit in units}, records, launcher, of_stages, progress)
        course.run()
    return UnitResults(tuple(course.done), tuple(course.found), course.failed, tuple(course.left))


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
        logger.error(_end_of_log(name, records.log(name)))
    if results.failed:
        name, reason = next(iter(results.failed.items()))
        need = f"need{'s' if len(results.left) == 1 else ''} {'it' if len(results.failed) == 1 else 'them'}"
        others = f", and {counted(len(results.left), 'unit')} that {need}" if results.left else ""
        raise RunError(
            f"{len(results.failed)} of {counted(results.number, 'unit')} failed{others}; the first is {name}: "
            f"{reason}; see {records.log(name)}, fix the cause, and run `{again}`, which does only what is missing"
        )


def _end_of_log(name: str, log: Path) -> str:
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-_LINES:]
    except OSError:
        return f"{name}: there is no log"
    return "\n".join([f"{name}: the end of {log}:", *(f"    {line}" for line in lines)])
