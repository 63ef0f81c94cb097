"""How units are shared out over jobs: short ones together in one, and tasks in arrays that Slurm accepts."""

from collections.abc import Hashable, Sequence
from typing import TypeVar

from tcf.config.launch import LaunchConfig
from tcf.launch.units.tasks import Stage
from tcf.launch.units.unit import Unit

__all__ = ["nodes_of", "packed", "pieces", "together"]

_T = TypeVar("_T")
_K = TypeVar("_K", bound=Hashable)


def nodes_of(stage: Stage, config: LaunchConfig) -> int:
    """Return the number of nodes of a stage's jobs; only a training can use several for one unit."""
    return config.nodes_per_worker if stage == "train" else 1


def packed(units: Sequence[Unit], config: LaunchConfig) -> list[list[Unit]]:
    """Put units of one stage into tasks: each fills up with short ones until it takes `pack_minutes`.

    A unit that is not short, or of which nothing is known, has a task of its own, and so has one of several nodes.

    Args:
        units: units that may run at the same time.
        config: settings of their stage.
    """
    tasks: list[list[Unit]] = []
    filling: list[Unit] = []
    minutes = 0.0
    for unit in units:
        if unit.minutes is None or unit.minutes >= config.pack_minutes or nodes_of(unit.stage, config) > 1:
            tasks.append([unit])
            continue
        if not filling:
            tasks.append(filling)
        filling.append(unit)
        minutes += unit.minutes
        if minutes >= config.pack_minutes:
            filling, minutes = [], 0.0
    return tasks


def pieces(tasks: Sequence[_T], most: int) -> list[Sequence[_T]]:
    """Cut tasks into arrays of at most this many.

    Example:
        >>> pieces("abcdefg", 3)
        ['abc', 'def', 'g']
    """
    return [tasks[start : start + most] for start in range(0, len(tasks), most)]


def together(entries: Sequence[tuple[_K, _T]]) -> dict[_K, list[_T]]:
    """Put what has the same key together, in the order in which keys come first.

    Example:
        >>> together([("a", 1), ("b", 2), ("a", 3)])
        {'a': [1, 3], 'b': [2]}
    """
    found: dict[_K, list[_T]] = {}
    for key, value in entries:
        found.setdefault(key, []).append(value)
    return found
