"""What predictions are made from: datasets that are there already, and the widths of vectors, there or not."""

import logging
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from tcf.assets.resolve import find_dataset
from tcf.common.errors import TcfError
from tcf.common.files import is_published
from tcf.common.output.folders import walk
from tcf.config.train import TrainConfig
from tcf.data.cache.caches import VectorCache
from tcf.data.dataset import Dataset, open_dataset
from tcf.data.prepare import prepare
from tcf.extract.plan.planner import planned_widths
from tcf.launch.study.predictions.prediction import Unknown
from tcf.launch.units.tasks import ExtractTask, PrepareTask
from tcf.launch.units.unit import Unit
from tcf.train.batch.training_data import TrainingData

__all__ = ["StudyInputs"]

logger = logging.getLogger(__name__)

_FEW = 64 * 2**20  # bytes of raw files that are prepared in a few seconds


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
    _refused: dict[Path, str] = field(default_factory=dict)

    def dataset(self, path: Path) -> Dataset:
        """Open a dataset; one that is not prepared yet is prepared in a temporary folder, if its raw files are few.

        Raises:
            Unknown: it is not prepared yet, and its raw files are large, or not there.
            DataError: it is damaged.
        """
        if path not in self._datasets:
            self._datasets[path] = open_dataset(path) if is_published(path) else self._prepared_for_now(path)
        return self._datasets[path]

    def _prepared_for_now(self, path: Path) -> Dataset:
        task = next((task for task in self._preparations if task.out == path), None)
        raw = None if task is None else _raw_folder(task)
        if task is None or raw is None or _size(raw) > _FEW:
            raise Unknown(f"known once {path.name} is prepared")
        if path not in self._refused:
            logger.info(f"predict: preparing {path.name} in a temporary folder, to be removed")
            try:
                return prepare(task.format, raw, Path(self._folder.name) / str(len(self._datasets)), task.config)
            except TcfError as error:
                self._refused[path] = " ".join(str(error).split())
        raise Unknown(self._refused[path])

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
        """The width of the vectors that a training reads, of all its caches together; 0 for items as ids.

        Raises:
            Unknown: a cache is not there yet, nor the model that will fill it.
        """
        if not config.reads_text:
            return 0
        projected = config.whiten if isinstance(config.whiten, int) else config.pca  # full: nearly all dimensions
        widths = [projected or self._width(cache) for cache in caches]
        return max(widths) if config.mix == "weights" else sum(widths)

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
    def _folder(self) -> "tempfile.TemporaryDirectory[str]":
        """Where datasets are prepared for now; removed with this object."""
        return tempfile.TemporaryDirectory(prefix="tcf-")

    @cached_property
    def _preparations(self) -> list[PrepareTask]:
        return [unit.task for unit in self.units if isinstance(unit.task, PrepareTask)]

    @cached_property
    def _extractions(self) -> list[ExtractTask]:
        return [unit.task for unit in self.units if isinstance(unit.task, ExtractTask)]


def _raw_folder(task: PrepareTask) -> Path | None:
    """Where raw files are, if they are on this machine."""
    found = Path(task.raw) if task.raw else find_dataset(task.download)
    return found if found is not None and found.is_dir() else None


def _size(folder: Path) -> int:
    files = (place / name for place, _, names in walk(folder) for name in names)
    return sum(file.stat().st_size for file in files if file.is_file())
