"""Shows the status of a study again and again until nothing changes any more."""

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TextIO

from tcf.common.errors import ConfigError
from tcf.common.logs import write_text
from tcf.common.untrusted.printable import printable, printable_lines
from tcf.launch.study.expand import expand
from tcf.launch.study.status.shown import shown_line, shown_status
from tcf.launch.study.status.started import read_started
from tcf.launch.study.status.status import StudyStatus, read_status
from tcf.launch.study.study_file import read_study

__all__ = ["Reader", "open_status", "watch_status"]

Reader = Callable[[], StudyStatus]
"""Reads the status anew."""

_SECONDS = 3.0  # between two looks
_SECONDS_BETWEEN_LINES = 30.0


def open_status(place: Path, overrides: Sequence[str] = ()) -> Reader:
    """Return what reads a study's status.

    Args:
        place: the study's file, or its folder.
        overrides: entries that replace those of the file.

    Raises:
        ConfigError: it is neither, or the file is wrong.
    """
    if place.is_dir():
        return lambda: _status_of_folder(place)
    study = expand(read_study(place, overrides), write=False)

    def read() -> StudyStatus:
        # What the last command began may have other entries than the file has now.
        started = read_started(study.out)
        same = started is not None and (not overrides or started.overrides == tuple(overrides))
        units = started.units if started is not None and same else study.units
        return read_status(study.out, units, started)

    return read


def _status_of_folder(folder: Path) -> StudyStatus:
    started = read_started(folder)
    if started is None:
        raise ConfigError(
            f"{folder}: expected the folder of a study, found none that `tcf study` has begun; name the study's file"
        )
    return read_status(folder, started.units, started)


def watch_status(read: Reader, stream: TextIO, *, seconds: float = _SECONDS) -> StudyStatus:
    """Show the status until nothing changes any more; returns the last one.

    Args:
        read: reads it.
        stream: where it is shown: again and again at the same place of a terminal, else in a line now and then.
        seconds: between two looks.
    """
    if stream.isatty() and os.environ.get("TERM") != "dumb":
        return _watch_live(read, stream, seconds)
    return _watch_in_lines(read, stream, seconds)


def _watch_live(read: Reader, stream: TextIO, seconds: float) -> StudyStatus:
    # Imported only for a terminal, because importing rich is slow.
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    def shown(status: StudyStatus) -> Text:
        return Text(printable_lines(shown_status(status)))

    status = read()
    with Live(shown(status), console=Console(file=stream), auto_refresh=False) as live:
        while not status.ended:
            time.sleep(seconds)
            status = read()
            live.update(shown(status), refresh=True)
    return status


def _watch_in_lines(read: Reader, stream: TextIO, seconds: float) -> StudyStatus:
    """Write a line when a unit has ended, and one now and then; the whole status in the end."""
    shown, due = "", 0.0
    while not (status := read()).ended:
        numbers = str([unit.state for unit in status.units])
        if numbers != shown or time.monotonic() >= due:
            write_text(f"{printable(shown_line(status))}\n", stream)
            shown, due = numbers, time.monotonic() + _SECONDS_BETWEEN_LINES
        time.sleep(seconds)
    write_text(f"{printable_lines(shown_status(status))}\n", stream)
    return status
