"""Predictions for the units of a study: time, memory and disk, before anything runs; nothing is downloaded or trained.

They hold for this machine, as busy as it is: jobs on other nodes may take another time. Measurements are remembered
below `TCF_HOME`, so that the next prediction is quick.
"""

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from tcf.common.errors import TcfError
from tcf.common.memory import resident_bytes
from tcf.config.extract import ExtractConfig
from tcf.config.launch import LaunchConfig
from tcf.data.split import held_out
from tcf.extract.plan.planner import plan_for_data
from tcf.launch.study.predictions.finished import FinishedTimes
from tcf.launch.study.predictions.inputs import StudyInputs
from tcf.launch.study.predictions.paces import TrainingPaces
from tcf.launch.study.predictions.prediction import Prediction, Unknown
from tcf.launch.study.study import Study
from tcf.launch.units.records import Records
from tcf.launch.units.tasks import CombineTask, ConvertTask, EvaluateTask, ExtractTask, RecommendTask, TrainTask
from tcf.launch.units.unit import Unit

__all__ = ["Prediction", "predict", "with_predictions"]

logger = logging.getLogger(__name__)

# Seconds of one resample of the bootstrap for each user: 10,000 of 50,546 users took 3.4 s, all metrics together.
_DRAW = 7e-9
_RANK_BYTES = 16  # of a target in an evaluation's file; 13 at 50,546 users
_FLOAT32, _SAVED = 4, 3  # a run holds its parameters and two moments of each
_COMBINATION_BYTES = 2**13  # its runs stay where they are


def predict(study: Study) -> Mapping[str, Prediction]:
    """Predict what each unit takes that is not done, by its name.

    Where another seed of the same setting is done, its time is the prediction. A training's is that of all its epochs,
    which early stopping usually makes fewer. For up to half a minute, trainings are timed that this machine does not
    remember. Datasets that are not there yet are prepared in a temporary folder if their raw files are few.

    Args:
        study: the study, expanded.
    """
    records = Records(study.state)
    done = {unit.name for unit in study.units if records.state(unit) == "done"}
    left = [unit for unit in study.units if unit.name not in done]
    every = {unit.task.out: unit.task for unit in study.units if isinstance(unit.task, TrainTask)}
    joined = {unit.task.out: unit.task for unit in study.units if isinstance(unit.task, CombineTask)}
    finished = FinishedTimes([unit for unit in study.units if unit.name in done], every, joined, records)
    return _Predictor.of(study, every, joined).of_units(left, finished)


def with_predictions(study: Study) -> Study:
    """Return the study with the predicted minutes of its units."""
    found = predict(study)
    units = (dataclasses.replace(u, minutes=found[u.name].minutes) if u.name in found else u for u in study.units)
    return dataclasses.replace(study, units=tuple(units))


@dataclasses.dataclass
class _Predictor:
    """Predicts the units of a study.

    Attributes:
        study: the study.
        trainings: the training of each run, by its directory.
        combinations: the making of each combination, by its directory.
        inputs: the inputs of all units.
        paces: how fast trainings go.
        program: bytes that the program itself takes in RAM.
    """

    study: Study
    trainings: Mapping[Path, TrainTask]
    combinations: Mapping[Path, CombineTask]
    inputs: StudyInputs
    paces: TrainingPaces
    program: int
    _plans: dict[tuple[str, Path, str], Prediction] = dataclasses.field(default_factory=dict)

    @classmethod
    def of(
        cls, study: Study, trainings: Mapping[Path, TrainTask], combinations: Mapping[Path, CombineTask]
    ) -> "_Predictor":
        """A predictor of a study, which has found nothing yet."""
        inputs = StudyInputs(study.units)
        paces = TrainingPaces(inputs, tuple(trainings.values()))
        return cls(study, trainings, combinations, inputs, paces, resident_bytes())

    def of_units(self, units: list[Unit], finished: FinishedTimes) -> dict[str, Prediction]:
        """Predict these units."""
        found: dict[str, Prediction] = {}
        for unit in units:
            minutes = finished.minutes(unit)
            if minutes is None:
                found[unit.name] = self._safely(unit, timed=True)
            else:
                known = self._safely(unit, timed=False)
                found[unit.name] = dataclasses.replace(known, minutes=minutes, note="as long as a finished one like it")
        return found

    def _safely(self, unit: Unit, *, timed: bool) -> Prediction:
        """Predict a unit; what is not known, or would fail, is said in the note."""
        try:
            return self._predict(unit, timed=timed)
        except Unknown as reason:
            return Prediction(note=str(reason))
        except TcfError as error:
            return Prediction(note=" ".join(str(error).split()))

    def _predict(self, unit: Unit, *, timed: bool) -> Prediction:
        match unit.task:
            case ExtractTask() as task if self._joins_parts(unit, task):
                return Prediction(0.0, note="checks that all parts are there")
            case ExtractTask() as task:
                return self._extraction(task)
            case TrainTask() as task:
                return self._training(task, timed=timed)
            case CombineTask(runs=runs) if members := self._trainings_of(*runs):
                return self._combination(members, timed=timed)
            case EvaluateTask(run_folder=Path() as run) as task if members := self._trainings_of(run):
                return self._evaluation(task, members, timed=timed)
            case RecommendTask() as task if members := self._trainings_of(task.run_folder):
                return self._ranking(members, timed=timed)
            case ConvertTask(source=source) if source.exists():
                return Prediction(disk=_size(source), note="time is not predicted")
            case _:
                return Prediction(note="not predicted")

    def _trainings_of(self, *places: Path) -> list[TrainTask]:
        """The trainings of runs and of the members of combinations; none if one of them is unknown."""
        joined = (self.combinations[place].runs if place in self.combinations else (place,) for place in places)
        runs = [run for members in joined for run in members]
        known = [self.trainings[run] for run in runs if run in self.trainings]
        return known if len(known) == len(runs) else []

    def _combination(self, members: Sequence[TrainTask], *, timed: bool) -> Prediction:
        """What it takes to join runs: each ranks all items for the validation users."""
        users = len(held_out(self.inputs.dataset(members[0].data).split, "validation"))
        return dataclasses.replace(self._ranking(members, timed=timed, users=users), disk=_COMBINATION_BYTES)

    def _joins_parts(self, unit: Unit, task: ExtractTask) -> bool:
        """Whether others have computed the vectors by then."""
        parts = (other.task for other in self.study.units if other.name in unit.needs)
        return any(isinstance(part, ExtractTask) and part.out == task.out for part in parts)

    def _extraction(self, task: ExtractTask) -> Prediction:
        data = self.inputs.dataset(task.data).path
        config = _own_devices(task.config, self.study.launch.get("extract"))
        key = task.model, task.data, repr(dataclasses.replace(config, shards=_of_parts(config)))
        if key not in self._plans:
            plan = plan_for_data(task.model, data, task.out, config)
            memory, disk = max(plan.peak_memory_bytes.values()), plan.output_bytes + plan.spill_bytes
            self._plans[key] = Prediction(plan.seconds / 60, memory, disk)
        return self._plans[key]

    def _training(self, task: TrainTask, *, timed: bool) -> Prediction:
        sizes = self.paces.sizes(task)
        program = self.program if sizes.device == "cpu" else 0
        known = Prediction(
            memory=sum(sizes.memory.values()) + program, disk=_SAVED * _FLOAT32 * sizes.parameters, note="all epochs"
        )
        if not timed:
            return known
        try:
            pace = self.paces.pace(task)
        except Unknown as reason:
            return dataclasses.replace(known, note=str(reason))
        epoch = pace.epoch(sizes.steps, sizes.validation_users, sizes.ranked_items)
        trainings = 2 if task.config.refit else 1
        return dataclasses.replace(known, minutes=trainings * task.config.epochs * epoch / 60)

    def _evaluation(self, task: EvaluateTask, members: Sequence[TrainTask], *, timed: bool) -> Prediction:
        users = len(held_out(self.inputs.dataset(members[0].data).split, task.config.split))
        known = self._ranking(members, timed=timed, users=users)
        if known.minutes is None:
            return dataclasses.replace(known, disk=_RANK_BYTES * users)
        drawn = _DRAW * task.config.resamples * users
        return dataclasses.replace(known, minutes=known.minutes + drawn / 60, disk=_RANK_BYTES * users)

    def _ranking(self, members: Sequence[TrainTask], *, timed: bool, users: int | None = None) -> Prediction:
        """What it takes to rank all items by these runs together for users, all of the dataset by default."""
        if not timed:
            return Prediction()
        dataset = self.inputs.dataset(members[0].data)
        asked = dataset.n_users if users is None else users
        return Prediction(sum(self.paces.pace(one).ranking(asked, dataset.n_items) for one in members) / 60)


def _own_devices(config: ExtractConfig, launch: LaunchConfig | None) -> ExtractConfig:
    """The settings with the GPUs of one worker, which are not all of this machine's."""
    there = torch.cuda.device_count()
    gpus = min(there, 1 if launch is None or launch.gpus_per_worker is None else launch.gpus_per_worker)
    if config.devices != "auto" or not gpus or gpus == there:
        return config
    return dataclasses.replace(config, devices=",".join(f"cuda:{number}" for number in range(gpus)))


def _of_parts(config: ExtractConfig) -> str | None:
    """The first part, which takes as long as each of the others; None for all of the work."""
    return None if config.shard_slice is None else f"0/{config.shard_slice[1]}"


def _size(source: Path) -> int:
    files = [source] if source.is_file() else [path for path in source.iterdir() if path.is_file()]
    return sum(file.stat().st_size for file in files)
