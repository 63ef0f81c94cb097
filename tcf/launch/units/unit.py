"""A unit: one thing that a command or a study does, once."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, get_args

from tcf.common.manifest import digest
from tcf.launch.units.tasks import Stage, Task, decode_task

__all__ = ["STAGES", "Unit", "check_names", "decode_unit"]

STAGES: tuple[Stage, ...] = get_args(Stage)
"""All stages, in the order in which a study goes through them."""


@dataclass(frozen=True)
class Unit:
    """One thing to do, once; its result is what its task publishes.

    Attributes:
        name: unique; a relative path below which its log and its record are, such as `train/ml-100k/text/seed-0`.
        task: what is done.
        needs: names of the units whose results it reads.
        minutes: predicted time; None if nothing is known.
        after_failures: whether it also runs when some of these units have failed, on what there is.
    """

    name: str
    task: Task
    needs: tuple[str, ...] = ()
    minutes: float | None = None
    after_failures: bool = False

    @property
    def stage(self) -> Stage:
        """The stage that its task belongs to."""
        return self.task.stage

    @property
    def digest(self) -> str:
        """Sha256 of what is done: with another setting or path, or other raw files, it is another unit."""
        stamp = self.task.stamp
        return digest({**self.task.as_message(), **({"stamp": stamp} if stamp else {})})

    def as_message(self) -> dict[str, Any]:
        """The unit as JSON values."""
        return {
            "name": self.name,
            "task": self.task.as_message(),
            "needs": list(self.needs),
            "minutes": self.minutes,
            "after_failures": self.after_failures,
        }


def decode_unit(message: Mapping[str, Any]) -> Unit:
    """Build a unit from such values."""
    return Unit(
        message["name"],
        decode_task(message["task"]),
        tuple(message["needs"]),
        message["minutes"],
        message["after_failures"],
    )


def check_names(units: Iterable[Unit]) -> None:
    """Refuse two units of one name, and needs that no unit meets.

    Raises:
        ValueError: a defect of what made the units.
    """
    names = [unit.name for unit in units]
    if len(set(names)) < len(names):
        raise ValueError(f"units: a name is there twice among {sorted(names)}")
    for unit in units:
        if missing := set(unit.needs) - set(names):
            raise ValueError(f"{unit.name}: needs {sorted(missing)}, which no unit makes")
