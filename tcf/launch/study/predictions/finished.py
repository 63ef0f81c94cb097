"""Times of finished units, as predictions of those that do the same with another seed."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tcf.common.manifest import digest
from tcf.config.fields import to_mapping
from tcf.launch.units.records import Records
from tcf.launch.units.tasks import CombineTask, EvaluateTask, ExtractTask, Task, TrainTask
from tcf.launch.units.unit import Unit

__all__ = ["FinishedTimes"]


class FinishedTimes:
    """Times of the finished units of a study.

    Args:
        done: the finished units.
        trainings: the training of each run, by its directory.
        combinations: the making of each combination, by its directory.
        records: records of all units.
    """

    def __init__(
        self,
        done: list[Unit],
        trainings: Mapping[Path, TrainTask],
        combinations: Mapping[Path, CombineTask],
        records: Records,
    ) -> None:
        self._trainings, self._combinations = trainings, combinations
        self._seconds: dict[str, float] = {}
        for unit in done:
            record, kind = records.read(unit.name), self._kind(unit.task)
            if record is not None and kind is not None:
                # One that found its result took no time.
                self._seconds[kind] = max(self._seconds.get(kind, 0.0), record.seconds)

    def minutes(self, unit: Unit) -> float | None:
        """The longest time of a finished unit that differs in its seed or its part alone; None if there is none."""
        kind = self._kind(unit.task)
        seconds = None if kind is None else self._seconds.get(kind)
        return None if seconds is None else seconds / 60

    def _kind(self, task: Task) -> str | None:
        """What a task shares with those that take as long; None if there are no others."""
        shared: dict[str, Any] | None = None
        match task:
            case TrainTask():
                shared = {"train": _training(task)}
            case ExtractTask(config=config) if config.shard_slice is not None:
                settings = to_mapping(dataclasses.replace(config, shards=None))
                shared = {
                    "extract": [str(task.data), task.model, str(task.out), settings],
                    "parts": config.shard_slice[1],
                }
            case EvaluateTask(run_folder=Path() as run) if run in self._trainings:
                shared = {"evaluate": to_mapping(task.config), "run": _training(self._trainings[run])}
            case EvaluateTask(run_folder=Path() as made) if made in self._combinations:
                shared = {"evaluate": to_mapping(task.config), "run": self._combining(self._combinations[made])}
            case CombineTask() if all(run in self._trainings for run in task.runs):
                shared = {"combine": self._combining(task)}
            case _:
                pass
        return None if shared is None else digest(shared)

    def _combining(self, task: CombineTask) -> list[Any]:
        runs = [_training(self._trainings[run]) for run in task.runs if run in self._trainings]
        return [runs, [*task.baselines], to_mapping(task.config)]


def _training(task: TrainTask) -> list[Any]:
    settings = to_mapping(dataclasses.replace(task.config, seed=0))
    return [str(task.data), [str(path) for path in task.caches], settings]
