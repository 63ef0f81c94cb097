"""Expanding a study file into units: each download, dataset, extraction, training and evaluation once."""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tcf.common.manifest import digest
from tcf.config.train import TrainConfig
from tcf.launch.study.belonging import is_evaluation, is_run
from tcf.launch.study.identities import baseline_digest, cache_digest, evaluation_digest, run_digest
from tcf.launch.study.places import Places
from tcf.launch.study.plan_combinations import PlannedMember, plan_combination
from tcf.launch.study.planned_inputs import PlannedCache, PlannedDataset, plan_cache, plan_dataset
from tcf.launch.study.study import PlannedBaseline, PlannedCombination, PlannedSetting, Study
from tcf.launch.study.tables.content import StudyFile, StudySetting
from tcf.launch.study.tables.layers import layers_of
from tcf.launch.study.unit_list import UnitList
from tcf.launch.study.wanted_places import WantedPlaces
from tcf.launch.units.tasks import CompareTask, EvaluateTask, RecommendTask, TrainTask

__all__ = ["expand"]


def expand(file: StudyFile, *, write: bool = True) -> Study:
    """Expand a study file, or a pipeline file, into units.

    Results have the places that were noted for these settings in `out/state/places.json`; new ones are noted there.

    Args:
        file: its content.
        write: whether to write these notes; without, nothing is written.

    Raises:
        RunError: the notes are damaged, or cannot be written.
    """
    out = file.out.absolute()
    places = Places.open(out)
    expansion = _Expansion(file, places, WantedPlaces(file), UnitList(out))
    expansion.plan_inputs()
    baselines = expansion.plan_baselines()
    settings = tuple(expansion.plan_setting(setting) for setting in file.settings)
    combinations = expansion.plan_combinations()
    expansion.plan_comparison()
    if write:
        places.write()
    return Study(
        path=file.path.absolute(),
        out=out,
        settings=settings,
        baselines=baselines,
        evaluate=file.evaluate,
        recommend=file.recommend,
        recommendations=expansion.recommendations,
        units=expansion.units.units,
        launch=file.launch,
        metrics=file.metrics,
        by=file.by,
        is_pipeline=file.is_pipeline,
        combinations=combinations,
    )


@dataclass
class _Expansion:
    """A study that is being expanded.

    Attributes:
        file: the study's file.
        places: where results are.
        wanted: what these places are called.
        units: the units so far.
        datasets: the datasets, by name.
        caches: the caches, by dataset, encoder and pooling.
        members: the settings, by name, as members of combinations.
        recommendations: files of recommendations, by the name of the setting or combination.
        evaluations: names of the units that evaluate.
    """

    file: StudyFile
    places: Places
    wanted: WantedPlaces
    units: UnitList
    datasets: dict[str, PlannedDataset] = field(default_factory=dict)
    caches: dict[tuple[str, str, str], PlannedCache] = field(default_factory=dict)
    members: dict[str, PlannedMember] = field(default_factory=dict)
    recommendations: dict[str, Path] = field(default_factory=dict)
    evaluations: list[str] = field(default_factory=list)

    def plan_inputs(self) -> None:
        """Add the units that make datasets and caches."""
        for dataset in self.file.datasets:
            self.datasets[dataset.name] = plan_dataset(dataset, self.places, self.wanted, self.units)
        of_layers = self.file.is_pipeline
        digests = [cache_digest(one.encoder, one.config, of_layers=of_layers) for one in self.file.extractions]
        for one, own in zip(self.file.extractions, digests, strict=True):
            data, shared = self.datasets[one.dataset], digests.count(own) > 1
            cache = plan_cache(one, data, self.file, self.places, self.wanted, self.units, shared=shared)
            self.caches[one.dataset, one.encoder.name, one.config.pooling] = cache

    def plan_baselines(self) -> tuple[PlannedBaseline, ...]:
        """Add the units that evaluate baselines."""
        return tuple(
            self._plan_baseline(PlannedBaseline(dataset.name, baseline, Path()))
            for dataset in self.file.datasets
            for baseline in self.file.baselines
        )

    def _plan_baseline(self, planned: PlannedBaseline) -> PlannedBaseline:
        config, data = self.file.evaluate, self.datasets[planned.dataset]
        out = self.places.of(
            self.wanted.baseline(planned.dataset, planned.baseline),
            baseline_digest(data.digest, planned.baseline, config),
            lambda path: is_evaluation(path, config, "dataset", data.path),
        )
        task = EvaluateTask(None, planned.baseline, data.path, (), out, config)
        self.evaluations.append(self.units.add(f"evaluate/{self.units.place(out)}", task, data.needs))
        return dataclasses.replace(planned, evaluation=out)

    def plan_setting(self, setting: StudySetting) -> PlannedSetting:
        """Add the units that train and evaluate a setting with each seed, and recommend."""
        data, cache = self.datasets[setting.dataset], self._cache_of(setting)
        layer = setting.axes["layer"] if cache is not None else None
        caches = () if cache is None or layer is None else tuple(map(cache.of_layer, layers_of(layer)))
        own = self._with_devices(setting.config)  # several draw their own dropout
        identity = run_digest(data.digest, "" if cache is None else cache.digest, layer, own, of_seed=not setting.seeds)
        runs, evaluations = self._places_of(setting, identity, (data.path, *caches))
        needs = (*data.needs, *(() if cache is None else cache.needs))
        trainings = {
            seed: self._plan_run(
                TrainTask(data.path, caches, runs[seed], self._with_devices(config)), evaluations[seed], needs
            )
            for seed, config in setting.trainings().items()
        }
        first = next(iter(runs))
        self._plan_recommendations(setting.name, runs[first], trainings[first])
        config = dataclasses.replace(setting.config, seed=first)
        planned = PlannedSetting(setting.name, setting.axes, config, caches, runs, evaluations)
        self.members[setting.name] = PlannedMember(planned, identity, trainings)
        return planned

    def plan_combinations(self) -> tuple[PlannedCombination, ...]:
        """Add the units that join runs, evaluate what they make, and recommend."""
        found = []
        for combination in self.file.combinations:
            own = plan_combination(combination, self.members, self.file, self.places, self.wanted, self.units)
            self.evaluations += own.evaluating
            first, place = next(iter(own.planned.combinations.items()))
            self._plan_recommendations(combination.name, place, own.combining[first])
            found.append(own.planned)
        return tuple(found)

    def _plan_run(self, train: TrainTask, evaluation: Path, needs: tuple[str, ...]) -> str:
        """Add the units that train and evaluate a run; returns the name of the former."""
        name = self.units.add(f"train/{self.units.place(train.out)}", train, needs)
        evaluate = EvaluateTask(train.out, "", None, (), evaluation, self.file.evaluate)
        self.evaluations.append(self.units.add(f"evaluate/{self.units.place(evaluation)}", evaluate, (name,)))
        return name

    def _cache_of(self, setting: StudySetting) -> PlannedCache | None:
        """What the setting reads; None if it needs no cache."""
        keys = (key for key in self.caches if key[:2] == (setting.dataset, setting.encoder))
        wanted = setting.axes.get("pooling")  # a pipeline has one only
        return next((self.caches[key] for key in keys if wanted in (None, key[2])), None)

    def _places_of(
        self, setting: StudySetting, identity: str, inputs: tuple[Path, ...]
    ) -> tuple[Mapping[int, Path], Mapping[int, Path]]:
        """Where the run and the evaluation of each seed are."""
        config, seeds = self.file.evaluate, bool(setting.seeds)
        run = self.places.of(
            self.wanted.runs(setting), identity, lambda path: is_run(path, setting.config, inputs, seeds=seeds)
        )
        evaluation = self.places.of(
            self.wanted.evaluation(setting),
            evaluation_digest(identity, config),
            lambda path: is_evaluation(path, config, "run", run),
        )
        if not seeds:
            return {setting.config.seed: run}, {setting.config.seed: evaluation}
        runs = {seed: run / f"seed-{seed}" for seed in setting.seeds}
        return runs, {seed: evaluation / f"seed-{seed}" for seed in setting.seeds}

    def _with_devices(self, config: TrainConfig) -> TrainConfig:
        """The settings with the devices of a worker that has several: auto would be the first of them alone."""
        gpus = self.file.launch["train"].gpus_per_worker or 0
        if gpus < 2 or config.devices != "auto":
            return config
        return dataclasses.replace(config, devices=",".join(f"cuda:{number}" for number in range(gpus)))

    def _plan_recommendations(self, name: str, run: Path, need: str) -> None:
        """Add the unit that recommends with the run or the combination of the first seed, if the file wants it."""
        if not self.file.recommend:
            return
        out, config = self.units.out / self.wanted.recommendations(name), self.file.evaluate
        task = RecommendTask(
            run,
            out,
            self.file.recommend,
            # Of all items, or as each run has it, unless evaluations rank a part.
            catalogue=None if config.catalogue == "all" else config.catalogue,
            untrained_users=config.untrained_users,
            device=config.device,
            search=config.search,
        )
        self.units.add(f"recommend/{name}", task, (need,))
        self.recommendations[name] = out

    def plan_comparison(self) -> None:
        """Add the unit that compares all that has been evaluated, and writes the tables."""
        if not self.evaluations:
            return
        file, needs = self.file, dict.fromkeys(self.evaluations)
        digests = [unit.digest for unit in self.units.units if unit.name in needs]
        identity = digest([digests, list(file.by), list(file.metrics)])
        # Jobs on other machines may start in another folder than that which a relative `out` counts from; and options
        # that were typed beside the file may have replaced the number of GPUs, which decides the places of runs.
        own = [f"out={json.dumps(str(self.units.out), ensure_ascii=False)}"]
        if (gpus := file.launch["train"].gpus_per_worker) is not None:
            own.append(f"launch.train.gpus_per_worker={gpus}")
        overrides = (*file.overrides, *own)
        task = CompareTask(file.path.absolute(), overrides, self.units.out, identity)
        self.units.add("compare", task, needs, after_failures=True)
