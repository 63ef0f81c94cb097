"""Extractions whose caches a unit has found damaged, among the units of a command or study."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from tcf.launch.units.repairs import asks_for_repair
from tcf.launch.units.run_unit import UnitEnd
from tcf.launch.units.tasks import ExtractTask
from tcf.launch.units.unit import Unit

__all__ = ["Extraction", "as_extraction", "damaged_extraction", "others_of_cache"]


@dataclass(frozen=True)
class Extraction:
    """A unit that extracts.

    Attributes:
        unit: the unit.
        task: its task.
    """

    unit: Unit
    task: ExtractTask


def as_extraction(unit: Unit) -> Extraction | None:
    """Return a unit as an extraction; None if it is something else."""
    return Extraction(unit, unit.task) if isinstance(unit.task, ExtractTask) else None


def damaged_extraction(end: UnitEnd, units: Mapping[str, Unit]) -> Extraction | None:
    """Return the extraction that can repair the cache because of which a unit has failed; None if that is not why.

    Of several into that cache, as of the parts of its shards, this is the last, which computes all that is missing.

    Args:
        end: how the unit has ended.
        units: all units, by name, in order.
    """
    if not asks_for_repair(end.reason):
        return None
    needed = set(_needed(units[end.unit], units))
    found = [as_extraction(unit) for name, unit in units.items() if name in needed]
    named = [one for one in found if one is not None and _is_named(one, end.reason)]
    return named[-1] if named else None


def others_of_cache(extraction: Extraction, units: Mapping[str, Unit]) -> list[str]:
    """Names of the other extractions into the same cache, in order."""
    found = [as_extraction(unit) for unit in units.values() if unit.name != extraction.unit.name]
    return [one.unit.name for one in found if one is not None and one.task.out == extraction.task.out]


def _needed(unit: Unit, units: Mapping[str, Unit]) -> Iterator[str]:
    for name in unit.needs:
        yield name
        yield from _needed(units[name], units)


def _is_named(extraction: Extraction, reason: str) -> bool:
    """Whether a message is about something in a cache."""
    return any(f"{extraction.task.out}{end}" in reason for end in ("/", ":", " "))
