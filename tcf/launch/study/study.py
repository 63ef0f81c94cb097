"""A study, expanded from its file: what is trained and evaluated on what, and the units that this takes."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tcf.config.combine import CombineConfig, CombinedBaseline
from tcf.config.evaluate import Baseline, EvaluateConfig
from tcf.config.launch import LaunchConfig
from tcf.config.train import TrainConfig
from tcf.launch.units.tasks import Stage
from tcf.launch.units.unit import Unit

__all__ = ["PlannedBaseline", "PlannedCombination", "PlannedSetting", "Study"]


@dataclass(frozen=True)
class PlannedSetting:
    """A setting of the grid: trained once with each seed.

    Attributes:
        name: unique within the study; the folder of its runs below `runs`, such as `ml-100k/minilm/sasrec-text-1f3a`.
        axes: its place on each axis of the grid, such as dataset, encoder, layer, pooling, backbone, items, tuning;
            only those that mean something for it (no encoder of a run on ids).
        config: settings of the training, with the seed of the first run.
        caches: the caches that its runs read.
        runs: directory of the run of each seed.
        evaluations: directory of the evaluation of each seed: `seed-0`, `seed-1`, ... of one folder; of a run of a
            pipeline file without seeds the folder itself.
    """

    name: str
    axes: Mapping[str, Any]
    config: TrainConfig
    caches: tuple[Path, ...]
    runs: Mapping[int, Path]
    evaluations: Mapping[int, Path]

    @property
    def dataset(self) -> str:
        """Name of its dataset."""
        return str(self.axes["dataset"])


@dataclass(frozen=True)
class PlannedBaseline:
    """A baseline on a dataset.

    Attributes:
        dataset: name of the dataset.
        baseline: the baseline.
        evaluation: directory of its evaluation.
    """

    dataset: str
    baseline: Baseline
    evaluation: Path


@dataclass(frozen=True)
class PlannedCombination:
    """What joins the runs of several settings of a dataset into one ranking.

    Attributes:
        name: unique within the study, also among its settings.
        dataset: name of the dataset.
        members: the settings, in order.
        baselines: untrained rankings that are members as well.
        config: settings.
        of_all_seeds: whether the runs of all seeds are members of one combination, which is then the only one.
        combinations: directory of the combination of each seed; of one of all seeds that of the first.
        evaluations: directory of the evaluation of each.
    """

    name: str
    dataset: str
    members: tuple[PlannedSetting, ...]
    baselines: tuple[CombinedBaseline, ...]
    config: CombineConfig
    of_all_seeds: bool
    combinations: Mapping[int, Path]
    evaluations: Mapping[int, Path]

    @property
    def axes(self) -> Mapping[str, Any]:
        """Its dataset, and what it combines; it has no place on the axes of the grid."""
        names = (*(member.name.removeprefix(f"{self.dataset}/") for member in self.members), *self.baselines)
        return {"dataset": self.dataset, "combines": ", ".join(names)}

    @property
    def caches(self) -> tuple[Path, ...]:
        """The caches that its members read, each once."""
        return tuple(dict.fromkeys(cache for member in self.members for cache in member.caches))

    def runs(self, seed: int) -> tuple[Path, ...]:
        """The runs that are members of the combination of a seed."""
        return tuple(run for one in self.members for run in self._runs_of(one, seed))

    def _runs_of(self, member: PlannedSetting, seed: int) -> Iterable[Path]:
        # In a file without seeds each run has its own, and there is one combination.
        every = self.of_all_seeds or len(self.combinations) == 1 == len(member.runs)
        return member.runs.values() if every else (member.runs[seed],)


@dataclass(frozen=True)
class Study:
    """A study.

    Attributes:
        path: its file.
        out: folder of all results; units' records and logs are in `out`/state.
        settings: everything that is trained.
        baselines: untrained rankings.
        evaluate: settings of the evaluations.
        recommend: number of items to recommend to each user; 0 for none.
        recommendations: file of recommendations of the first seed of each setting, by the setting's name.
        units: all that is to be done; needs before those that need them.
        launch: how units of each stage are run.
        metrics: what settings are compared by; none: all that are measured.
        by: groups of targets to compare as well.
        is_pipeline: whether its file is a pipeline file, whose results have other places.
        combinations: what joins the runs of settings.
        options: options of processes and jobs that were typed beside the file, for commands that go on.
    """

    path: Path
    out: Path
    settings: tuple[PlannedSetting, ...]
    baselines: tuple[PlannedBaseline, ...]
    evaluate: EvaluateConfig
    recommend: int
    recommendations: Mapping[str, Path]
    units: tuple[Unit, ...]
    launch: Mapping[Stage, LaunchConfig] = field(default_factory=dict)
    metrics: tuple[str, ...] = ()
    by: tuple[str, ...] = ()
    is_pipeline: bool = False
    combinations: tuple[PlannedCombination, ...] = ()
    options: tuple[str, ...] = ()

    @property
    def state(self) -> Path:
        """Folder of the records and logs of all units."""
        return self.out / "state"

    @property
    def datasets(self) -> tuple[str, ...]:
        """Names of the datasets."""
        names = (*(setting.dataset for setting in self.settings), *(baseline.dataset for baseline in self.baselines))
        return tuple(dict.fromkeys(names))
