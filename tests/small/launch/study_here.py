"""A small study, made by hand, and a launcher that runs units in this process."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

from small.train.runs import make_dataset, walks
from tcf.config.evaluate import EvaluateConfig
from tcf.config.launch import LaunchConfig
from tcf.config.train import TrainConfig
from tcf.launch.study.expand import expand
from tcf.launch.study.results.pipeline_result import PipelineResult, run_pipeline
from tcf.launch.study.study import PlannedBaseline, PlannedSetting, Study
from tcf.launch.study.study_file import read_study
from tcf.launch.units.records import Records
from tcf.launch.units.run_unit import UnitEnd, run_unit
from tcf.launch.units.tasks import CompareTask, EvaluateTask, Stage, TrainTask
from tcf.launch.units.unit import STAGES, Unit

__all__ = ["EVALUATE", "InThisProcess", "Opener", "make_study", "run_pipeline_here"]

EVALUATE = EvaluateConfig(device="cpu", resamples=200)


def make_study(folder: Path, *, seeds: Sequence[int] = (0, 1), widths: Sequence[int] = (4, 8)) -> Study:
    """A study of ids on one dataset, called `toy`: popularity, and a setting for each width."""
    data, out = folder / "data", folder / "out"
    if not data.exists():
        make_dataset(folder, walks(), [f"text {i}" for i in range(30)])
    settings = [_setting(out, width, seeds) for width in widths]
    baseline = PlannedBaseline("toy", "popularity", out / "evaluations/toy/popularity")
    units = [Unit("evaluate/toy/popularity", EvaluateTask(None, "popularity", data, (), baseline.evaluation, EVALUATE))]
    for setting in settings:
        units += _units_of(setting, data)
    needs = tuple(unit.name for unit in units if unit.stage == "evaluate")
    compare = CompareTask(folder / "study.toml", (), out, "0" * 64)
    units.append(Unit("compare", compare, needs, after_failures=True))
    (folder / "study.toml").write_text("# made by hand\n")
    launch: dict[Stage, LaunchConfig] = {stage: LaunchConfig(tries=1) for stage in STAGES}
    return Study(
        path=folder / "study.toml",
        out=out,
        settings=tuple(settings),
        baselines=(baseline,),
        evaluate=EVALUATE,
        recommend=0,
        recommendations={},
        units=tuple(units),
        launch=launch,
        metrics=("hr@10", "ndcg@10"),
    )


def _setting(out: Path, width: int, seeds: Sequence[int]) -> PlannedSetting:
    name = f"toy/ids-{width}"
    return PlannedSetting(
        name=name,
        axes={"dataset": "toy", "backbone": "sasrec", "items": "id", "tuning": "frozen", "width": width},
        config=TrainConfig(items="id", width=width, epochs=1, batch_size=16, devices="cpu", learning_rate=0.01),
        caches=(),
        runs={seed: out / "runs" / name / f"seed-{seed}" for seed in seeds},
        evaluations={seed: out / "evaluations" / name / f"seed-{seed}" for seed in seeds},
    )


def _units_of(setting: PlannedSetting, data: Path) -> list[Unit]:
    units = []
    for seed, run in setting.runs.items():
        config = dataclasses.replace(setting.config, seed=seed)
        train = Unit(f"train/{setting.name}/seed-{seed}", TrainTask(data, (), run, config))
        evaluation = EvaluateTask(run, "", None, (), setting.evaluations[seed], EVALUATE)
        units += [train, Unit(f"evaluate/{setting.name}/seed-{seed}", evaluation, (train.name,))]
    return units


class InThisProcess:
    """A launcher without processes: a unit has run when it has been taken.

    Args:
        records: where records are.
    """

    def __init__(self, records: Records) -> None:
        self.records, self.taken = records, list[str]()
        self._ends: list[UnitEnd] = []

    def take(self, units: Sequence[Unit]) -> Sequence[Unit]:
        """Run the first unit."""
        self.taken.append(units[0].name)
        self._ends.append(run_unit(units[0], self.records))
        return units[:1]

    def ended(self, timeout: float) -> list[UnitEnd]:
        """How it has ended."""
        ends, self._ends = self._ends, []
        return ends

    def running(self) -> Sequence[str]:
        """Nothing: it has ended."""
        return []

    def close(self) -> None:
        """Nothing is left."""


class Opener:
    """Opens such launchers, and keeps the last one."""

    def __init__(self) -> None:
        self.taken: list[str] = []

    def __call__(self, launch: Mapping[Stage, LaunchConfig], records: Records) -> InThisProcess:
        """Open one."""
        launcher = InThisProcess(records)
        self.taken = launcher.taken
        return launcher


def run_pipeline_here(file: Path, opener: Opener | None = None) -> PipelineResult:
    """Run a pipeline file as `tcf.run_pipeline` does, but in this process, which starts faster."""
    done = run_pipeline(expand(read_study(file)), opener=opener or Opener())
    done.check()
    return done
