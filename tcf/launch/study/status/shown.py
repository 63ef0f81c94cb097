"""The status of a study for people: a table of stages, what runs, what failed, and how long the rest will take."""

import time
from collections.abc import Iterator

from tcf.common.text_table import text_table
from tcf.common.units import as_time, counted
from tcf.common.untrusted.printable import printable
from tcf.launch.study.status.status import STATES, StudyStatus, UnitStatus
from tcf.launch.units.records import State

__all__ = ["shown_line", "shown_status"]

_MOST = 20  # running or failed units that are listed
_WIDTH = 100  # characters of a log's line


def shown_status(status: StudyStatus) -> str:
    """Show a status, several lines."""
    return "\n".join(_lines(status))


def shown_line(status: StudyStatus) -> str:
    """Show a status in one line, as it is written now and then where there is no terminal."""
    numbers = {state: len(status.of_state(state)) for state in STATES}
    words = [f"{number} {state}" for state, number in numbers.items() if number]
    running = [unit.unit.name for unit in status.of_state("running")][:2]
    now = f" ({', '.join(running)})" if running else ""
    return f"study: {', '.join(words)} of {counted(len(status.units), 'unit')}, {_left(status)}{now}"


def _lines(status: StudyStatus) -> Iterator[str]:
    rows = [[stage, *map(_number, STATES, map(states.get, STATES))] for stage, states in status.counts.items()]
    total = ["all", *(_number(state, len(status.of_state(state))) for state in STATES)]
    yield f"{status.out}: {_activity(status)}"
    yield text_table([["stage", *STATES], *rows, total])
    yield from _listed("running", status.of_state("running"), status)
    yield from _listed("interrupted", status.of_state("interrupted"), status)
    yield from _listed("failed", status.of_state("failed"), status)
    yield _left(status)


def _number(state: State, number: int | None) -> str:
    """A number below the name of a state."""
    return str(number or "-").rjust(len(state))


def _activity(status: StudyStatus) -> str:
    started = status.started
    match status.activity:
        case _ if status.complete:
            return "done"
        case "running":
            return "running" if started is None else f"running, {started.words}"
        case "submitted" if not status.ended:
            return "handed to the scheduler"
        case _:
            return "not started" if started is None else f"stopped; `{started.again}` goes on"


def _listed(title: str, units: list[UnitStatus], status: StudyStatus) -> Iterator[str]:
    if units:
        yield f"{title}:"
        yield from (f"  {_words(unit, status)}" for unit in units[:_MOST])
    if len(units) > _MOST:
        yield f"  and {len(units) - _MOST} more"


def _words(unit: UnitStatus, status: StudyStatus) -> str:
    record = unit.record
    if record is None:
        return unit.unit.name
    if unit.state == "failed":
        return printable(f"{unit.unit.name}: {record.error} (see {record.log})")
    job = f", job {record.job}" if record.job else ""
    since = time.strftime("%H:%M:%S", time.localtime(record.began))
    line = f": {unit.line[:_WIDTH]}" if unit.line else ""
    return printable(f"{unit.unit.name} ({record.host}{job}, since {since}, try {record.tries}){line}")


def _left(status: StudyStatus) -> str:
    if status.complete:
        return "all done"
    seconds = status.seconds_left
    return "time left unknown" if seconds is None else f"about {as_time(seconds)} left"
