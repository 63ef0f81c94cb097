"""Extractions whose caches a unit has found damaged, among the units of a command or study."""

import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from tcf.launch.units.records import Records
from tcf.launch.units.repairs import asks_for_repair
from tcf.launch.units.run_unit import UnitEnd
from tcf.launch.units.tasks import ExtractTask
from tcf.launch.units.unit import Unit

__all__ = ["Extraction", "as_extraction", "ask_for_repairs", "damaged_extraction", "others_of_cache"]

logger = logging.getLogger(__name__)


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


def ask_for_repairs(units: Sequence[Unit], records: Records, queued: Collection[str]) -> None:
    """Let extractions run again whose caches other units have found damaged, when no command was there to do so.

    Args:
        units: all units, in order.
        records: what is known of each.
        queued: names of those that are about to be tried again.

    Raises:
        RunError: a record cannot be changed.
    """
    by_name = {unit.name: unit for unit in units}
    for unit in units:
        record = records.read(unit.name)
        if unit.name in queued or record is None or record.ended != "failed" or record.digest != unit.digest:
            continue
        extraction = damaged_extraction(UnitEnd(unit.name, "failed", record.error), by_name)
        if extraction is not None and records.state(extraction.unit) == "done":
            name = extraction.unit.name
            logger.warning(f"{unit.name}: {record.error}: {name} does so, and {unit.name} runs again after it")
            records.ask_again(extraction.unit, repair=True)
            for name in others_of_cache(extraction, by_name):
                records.ask_again(by_name[name], repair=False)


def _needed(unit: Unit, units: Mapping[str, Unit]) -> Iterator[str]:
    for name in unit.needs:
        yield name
        yield from _needed(units[name], units)


def _is_named(extraction: Extraction, reason: str) -> bool:
    """Whether a message is about something in a cache."""
    return any(f"{extraction.task.out}{end}" in reason for end in ("/", ":", " "))
