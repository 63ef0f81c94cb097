"""What of a study has been evaluated: the evaluations of its settings and baselines, opened."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tcf.common.files import is_published
from tcf.evaluate.evaluation import Evaluation, open_evaluation
from tcf.evaluate.evaluation_table import Compared
from tcf.evaluate.seeds import SeedEvaluations
from tcf.launch.study.study import PlannedBaseline, PlannedCombination, PlannedSetting, Study
from tcf.launch.units.records import Records

__all__ = ["Finished", "Ranking", "ranking_name", "read_finished"]

Ranking = PlannedSetting | PlannedCombination
"""What has an evaluation for each seed: a setting of the grid, or a combination of some."""


@dataclass(frozen=True)
class Finished:
    """What of a study has been evaluated.

    Attributes:
        settings: each setting of which there is an evaluation, with those of its seeds, then each such combination.
        baselines: each evaluated baseline, with its evaluation.
        missing: number of evaluations that are planned and not there.
    """

    settings: tuple[tuple[Ranking, Mapping[int, Evaluation]], ...]
    baselines: tuple[tuple[PlannedBaseline, Evaluation], ...]
    missing: int

    def compared(self, dataset: str) -> dict[str, Compared]:
        """The evaluations on a dataset by the name to show, those of several seeds together."""
        found: dict[str, Compared] = {
            planned.baseline: evaluation for planned, evaluation in self.baselines if planned.dataset == dataset
        }
        for setting, of_seeds in self.settings:
            if setting.dataset == dataset:
                several = len(of_seeds) > 1
                found[ranking_name(setting)] = SeedEvaluations(of_seeds) if several else next(iter(of_seeds.values()))
        return found

    def partial(self, dataset: str) -> list[str]:
        """Names of the settings and combinations on a dataset of which some seeds have not been evaluated."""
        return [
            ranking_name(setting)
            for setting, of_seeds in self.settings
            if setting.dataset == dataset and len(of_seeds) < len(setting.evaluations)
        ]


def ranking_name(setting: Ranking) -> str:
    """What a setting or a combination is called among those of its dataset."""
    return setting.name.removeprefix(f"{setting.dataset}/")


def read_finished(study: Study) -> Finished:
    """Open the evaluations whose units are done; one that an earlier plan left at such a place is none of these.

    Raises:
        RunError: an evaluation is damaged.
    """
    done = {*_done(study)}
    settings: list[tuple[Ranking, Mapping[int, Evaluation]]] = []
    planned_rankings: tuple[Ranking, ...] = (*study.settings, *study.combinations)
    for setting in planned_rankings:
        of_seeds = {seed: open_evaluation(path) for seed, path in setting.evaluations.items() if path in done}
        if of_seeds:
            settings.append((setting, of_seeds))
    baselines = [
        (planned, open_evaluation(planned.evaluation)) for planned in study.baselines if planned.evaluation in done
    ]
    there = len(baselines) + sum(len(of_seeds) for _, of_seeds in settings)
    planned_ones = len(study.baselines) + sum(len(one.evaluations) for one in planned_rankings)
    return Finished(tuple(settings), tuple(baselines), planned_ones - there)


def _done(study: Study) -> Iterator[Path]:
    records = Records(study.state)
    for unit in study.units:
        if unit.stage == "evaluate" and records.state(unit) == "done":
            yield from (out for out in unit.task.outputs if is_published(out))
