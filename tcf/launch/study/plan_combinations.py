"""The units of a study that join finished runs into one ranking, and evaluate it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tcf.launch.study.belonging import is_combination, is_evaluation
from tcf.launch.study.identities import combination_digest, evaluation_digest
from tcf.launch.study.places import Places
from tcf.launch.study.study import PlannedCombination, PlannedSetting
from tcf.launch.study.tables.content import StudyCombination, StudyFile
from tcf.launch.study.unit_list import UnitList
from tcf.launch.study.wanted_places import WantedPlaces
from tcf.launch.units.tasks import CombineTask, EvaluateTask

__all__ = ["PlannedMember", "PlannedUnits", "plan_combination"]


@dataclass(frozen=True)
class PlannedMember:
    """A setting whose runs may be members of combinations.

    Attributes:
        setting: the setting.
        digest: of what decides its runs.
        needs: name of the unit that trains the run of each seed.
    """

    setting: PlannedSetting
    digest: str
    needs: Mapping[int, str]


@dataclass(frozen=True)
class PlannedUnits:
    """A combination, and its units.

    Attributes:
        planned: the combination.
        combining: name of the unit that makes that of each seed.
        evaluating: names of the units that evaluate these.
    """

    planned: PlannedCombination
    combining: Mapping[int, str]
    evaluating: tuple[str, ...]


@dataclass(frozen=True)
class _Run:
    """A run that is a member: what it is called, where it is, and the unit that trains it."""

    name: str
    path: Path
    need: str


def plan_combination(
    combination: StudyCombination,
    members: Mapping[str, PlannedMember],
    file: StudyFile,
    places: Places,
    wanted: WantedPlaces,
    units: UnitList,
) -> PlannedUnits:
    """Add the units that make a combination, or one for each seed, and evaluate it.

    Args:
        combination: what is joined.
        members: all settings of the study, by name.
        file: the study.
        places: where results are.
        wanted: what these places are called.
        units: the units of the study so far.
    """
    own = [members[name] for name in combination.members]
    runs = _runs_of_combinations(combination, own)
    each = combination.seeds == "each" and any(setting.seeds for setting in file.settings)
    identity = combination_digest(combination, [one.digest for one in own], [*own[0].needs])

    def folder(seed: int, place: Path) -> Path:
        return place / f"seed-{seed}" if each else place

    def belongs(path: Path) -> bool:
        return all(
            is_combination(folder(seed, path), combination, [run.name for run in found], [run.path for run in found])
            for seed, found in runs.items()
            if not each or folder(seed, path).exists()
        )

    out = places.of(wanted.combination(combination), identity, belongs)
    evaluation = places.of(
        wanted.evaluation(combination),
        evaluation_digest(identity, file.evaluate),
        lambda path: is_evaluation(path, file.evaluate, "combination", out),
    )
    planned = PlannedCombination(
        name=combination.name,
        dataset=combination.dataset,
        members=tuple(one.setting for one in own),
        baselines=combination.baselines,
        config=combination.config,
        of_all_seeds=combination.seeds == "together",
        combinations={seed: folder(seed, out) for seed in runs},
        evaluations={seed: folder(seed, evaluation) for seed in runs},
    )
    combining = dict(_plan_units(planned, runs, units))
    return PlannedUnits(planned, combining, tuple(_plan_evaluations(planned, combining, file, units)))


def _runs_of_combinations(combination: StudyCombination, own: list[PlannedMember]) -> dict[int, list[_Run]]:
    """The members of each combination, by seed; one of all seeds is under the first seed of its first member."""
    first = next(iter(own[0].needs))
    if combination.seeds == "together":
        several = any(len(one.needs) > 1 for one in own)
        return {first: [_run(one, seed, numbered=several) for one in own for seed in one.needs]}
    if len(own[0].needs) == 1:
        # In a file without seeds each run may have another one.
        return {first: [_run(one, seed, numbered=False) for one in own for seed in one.needs]}
    return {seed: [_run(one, seed, numbered=False) for one in own] for seed in own[0].needs}


def _run(member: PlannedMember, seed: int, *, numbered: bool) -> _Run:
    setting = member.setting
    name = setting.name.removeprefix(f"{setting.dataset}/")
    return _Run(f"{name}-seed-{seed}" if numbered else name, setting.runs[seed], member.needs[seed])


def _plan_units(
    planned: PlannedCombination, runs: Mapping[int, list[_Run]], units: UnitList
) -> Iterator[tuple[int, str]]:
    for seed, members in runs.items():
        names, paths = tuple(run.name for run in members), tuple(run.path for run in members)
        task = CombineTask(paths, names, planned.baselines, planned.combinations[seed], planned.config)
        yield seed, units.add(f"combine/{units.place(task.out)}", task, [run.need for run in members])


def _plan_evaluations(
    planned: PlannedCombination, combining: Mapping[int, str], file: StudyFile, units: UnitList
) -> Iterator[str]:
    for seed, need in combining.items():
        out = planned.evaluations[seed]
        task = EvaluateTask(planned.combinations[seed], "", None, (), out, file.evaluate)
        yield units.add(f"evaluate/{units.place(out)}", task, (need,))
