"""A pipeline file in the form that `tcf.launch.pipeline` reads, made of what `tcf.launch.study.study_file` reads."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tcf.common.errors import ConfigError
from tcf.config.evaluate import Baseline, EvaluateConfig
from tcf.config.extract import ExtractConfig
from tcf.config.prepare import PrepareConfig
from tcf.config.raw_formats import RawFormat
from tcf.config.train import TrainConfig
from tcf.launch.study.study_file import read_study

__all__ = ["PipelineConfig", "PlannedTraining", "read_pipeline"]


@dataclass(frozen=True)
class PipelineConfig:
    """The content of a pipeline file.

    Attributes:
        path: the file.
        out: folder for all results.
        download: name of a dataset to download; None if `raw` is given.
        raw: folder with raw files; None if `download` is given.
        format: format of the raw files.
        prepare: settings of the preparation.
        model: named model, hub id or folder; None if no run reads text.
        extract: settings of the extraction.
        train: settings of each run, by run name.
        baselines: untrained rankings to compare with.
        recommend: number of items to recommend to each user; 0 for none.
        evaluate: settings of the evaluations.
        seeds: the seeds that each run is trained with; empty for that of its settings.
    """

    path: Path
    out: Path
    download: str | None
    raw: Path | None
    format: RawFormat
    prepare: PrepareConfig
    model: str | None
    extract: ExtractConfig
    train: Mapping[str, TrainConfig]
    baselines: tuple[Baseline, ...]
    recommend: int
    evaluate: EvaluateConfig
    seeds: tuple[int, ...] = ()

    def trainings(self, name: str) -> "list[PlannedTraining]":
        """The trainings of a run: one, or one for each seed."""
        settings = self.train[name]
        if not self.seeds:
            return [PlannedTraining(name, Path(name), settings)]
        return [
            PlannedTraining(name, Path(name) / f"seed-{seed}", dataclasses.replace(settings, seed=seed))
            for seed in self.seeds
        ]


@dataclass(frozen=True)
class PlannedTraining:
    """One of the trainings that a pipeline file asks for.

    Attributes:
        name: the run's name, as the file has it.
        place: where its results are, below `runs` and `evaluations`.
        settings: its settings.
    """

    name: str
    place: Path
    settings: TrainConfig


def read_pipeline(path: Path) -> PipelineConfig:
    """Read a pipeline file.

    Raises:
        ConfigError: the file is not TOML, a setting is unknown or of the wrong type, or a required one is missing; or
            it is a study file.
    """
    file = read_study(path)
    dataset = file.datasets[0]
    if not file.is_pipeline or dataset.format is None:
        raise ConfigError(f"{path}: expected a pipeline file, found a study file; run `tcf study {path}`")
    return PipelineConfig(
        path=path,
        out=file.out,
        download=dataset.download,
        raw=dataset.raw,
        format=dataset.format,
        prepare=dataset.prepare,
        model=next((encoder.model for encoder in file.encoders), None),
        extract=file.extractions[0].config if file.extractions else ExtractConfig(),
        train={setting.name: setting.config for setting in file.settings},
        baselines=file.baselines,
        recommend=file.recommend,
        evaluate=file.evaluate,
        seeds=next((setting.seeds for setting in file.settings), ()),
    )
