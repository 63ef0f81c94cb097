"""The units of a study, each once."""

import dataclasses
import hashlib
import re
from collections.abc import Iterable
from pathlib import Path

from tcf.launch.units.tasks import Task
from tcf.launch.units.unit import Unit

__all__ = ["UnitList"]

_SHORT = 8  # hexadecimal digits
_ODD = re.compile(r"[^A-Za-z0-9_.+/-]")


class UnitList:
    """The units of a study, in the order in which they were added: needs before those that need them.

    Args:
        out: the study's folder.
    """

    def __init__(self, out: Path) -> None:
        self.out = out
        self._units: dict[str, Unit] = {}

    @property
    def units(self) -> tuple[Unit, ...]:
        """All units."""
        return tuple(self._units.values())

    def add(self, name: str, task: Task, needs: Iterable[str] = (), *, after_failures: bool = False) -> str:
        """Add a unit, unless it is there; returns its name, with odd characters replaced.

        Args:
            name: what it is called.
            task: what it does.
            needs: names of the units whose results it reads.
            after_failures: whether it also runs when some of these have failed.
        """
        unit = Unit(_plain(name), task, tuple(dict.fromkeys(needs)), after_failures=after_failures)
        there = self._units.get(unit.name)
        if there is not None and there.digest != unit.digest:  # two encoders of one model, with layers of their own
            unit = dataclasses.replace(unit, name=f"{unit.name}-{unit.digest[:_SHORT]}")
        self._units.setdefault(unit.name, unit)
        return unit.name

    def place(self, path: Path) -> str:
        """Return a path below the study's folder, for a name, without the kind of result; empty if it is elsewhere."""
        if not path.is_relative_to(self.out):
            return ""
        parts = path.relative_to(self.out).parts
        return "/".join(parts[1:] or parts)


def _plain(name: str) -> str:
    """A name that is a relative path without odd characters; one that had some ends in a digest of itself."""
    parts = [part for part in name.split("/") if part not in ("", ".", "..")]
    plain = _ODD.sub("_", "/".join(parts))
    return plain if plain == name else f"{plain}-{hashlib.sha256(name.encode()).hexdigest()[:_SHORT]}"
