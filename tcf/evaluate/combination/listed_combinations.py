"""Lists the combinations below a folder: their members, weights and validation metrics."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from tcf.common.errors import TcfError
from tcf.common.files import MANIFEST
from tcf.common.output.folders import walk
from tcf.evaluate.combination.members import Member
from tcf.evaluate.combination.recorded_combination import is_combination, read_stored
from tcf.ranking.metrics import VALIDATION_METRICS

__all__ = ["ListedCombination", "find_combinations"]


@dataclass(frozen=True)
class ListedCombination:
    """A combination found in a folder; whether its runs are still there is not looked at.

    Attributes:
        path: its directory.
        state: finished, or damaged.
        members: the members, with their weights.
        metrics: its metrics on the validation targets, by name; None for one that was not measured.
        problem: why it is considered damaged.
    """

    path: Path
    state: Literal["finished", "damaged"]
    members: tuple[Member, ...] = ()
    metrics: Mapping[str, float | None] = field(default_factory=dict)
    problem: str = ""


def find_combinations(folder: Path) -> list[ListedCombination]:
    """Every combination in a folder and below it, by path; links and hidden folders are skipped."""
    return sorted(_found(folder), key=lambda found: found.path)


def _found(folder: Path) -> Iterator[ListedCombination]:
    for path, folders, files in walk(folder):
        if MANIFEST in files and is_combination(path):
            yield _listed(path)
        folders[:] = [] if MANIFEST in files else [name for name in folders if not name.startswith(".")]


def _listed(path: Path) -> ListedCombination:
    try:
        stored = read_stored(path)
    except TcfError as error:
        return ListedCombination(path, "damaged", problem=str(error))
    return ListedCombination(path, "finished", stored.members, _metrics(stored.manifest.facts))


def _metrics(facts: Mapping[str, Any]) -> dict[str, float | None]:
    return {metric.name: facts.get(metric.name) for metric in VALIDATION_METRICS}
