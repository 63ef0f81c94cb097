"""What predictions are made from: datasets that are there already, and the widths of vectors, there or not."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from tcf.common.errors import TcfError
from tcf.common.files import is_published
from tcf.config.train import TrainConfig
from tcf.data.cache.caches import VectorCache
from tcf.data.dataset import Dataset, open_dataset
from tcf.extract.plan.planner import planned_widths
from tcf.launch.study.predictions.prediction import Unknown
from tcf.launch.units.tasks import ExtractTask
from tcf.launch.units.unit import Unit
from tcf.train.batch.training_data import TrainingData

__all__ = ["StudyInputs"]


@dataclass
class StudyInputs:
    """The inputs of a study's units, each opened once.

    Attributes:
        units: the study's units.
    """

    units: tuple[Unit, ...]
    _datasets: dict[Path, Dataset] = field(default_factory=dict)
    _trainings: dict[tuple[Path, int, bool], TrainingData] = field(default_factory=dict)
    _widths: dict[Path, int] = field(default_factory=dict)

    def dataset(self, path: Path) -> Dataset:
        """Open a dataset.

        Raises:
            Unknown: it is not prepared yet.
            DataError: it is damaged.
        """
        if not is_published(path):
            raise Unknown(f"known once {path.name} is prepared")
        if path not in self._datasets:
            self._datasets[path] = open_dataset(path)
        return self._datasets[path]

    def training(self, path: Path, config: TrainConfig) -> TrainingData:
        """The training part of a dataset, for a model with these settings.

        Raises:
            Unknown: the dataset is not prepared yet.
            DataError: no user has a target.
        """
        key = path, config.history, config.learns_users
        if key not in self._trainings:
            dataset, fewest = self.dataset(path), 1 if config.learns_users else 2
            self._trainings[key] = TrainingData.build(dataset.split, dataset.n_items, config.history, fewest)
        return self._trainings[key]

    def width(self, caches: Iterable[Path], config: TrainConfig) -> int:
        """The width of the vectors that a training reads, of all its caches; 0 for items as ids.

        Raises:
            Unknown: a cache is not there yet, nor the model that will fill it.
        """
        if not config.reads_text:
            return 0
        return sum(config.whiten or config.pca or self._width(cache) for cache in caches)

    def _width(self, cache: Path) -> int:
        if cache not in self._widths:
            self._widths[cache] = VectorCache.open(cache).width if is_published(cache) else self._planned_width(cache)
        return self._widths[cache]

    def _planned_width(self, cache: Path) -> int:
        """The width of a cache that is not there yet: its encoder's."""
        for task in self._extractions:
            layers = task.config.pooled_layers
            places = [task.out] if len(layers) == 1 else [task.out / f"layer{layer}" for layer in layers]
            if cache in places:
                try:
                    return planned_widths(task.model, task.config)[places.index(cache)]
                except TcfError:
                    raise Unknown(f"known once {task.model} is there") from None
        raise Unknown(f"known once {cache} is there")

    @cached_property
    def _extractions(self) -> list[ExtractTask]:
        return [unit.task for unit in self.units if isinstance(unit.task, ExtractTask)]
