"""What a study file says: datasets, encoders, and what is trained on them; a pipeline file says the same."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tcf.config.combine import CombineConfig, CombinedBaseline
from tcf.config.evaluate import Baseline, EvaluateConfig
from tcf.config.extract import ExtractConfig
from tcf.config.launch import LaunchConfig
from tcf.config.prepare import PrepareConfig
from tcf.config.raw_formats import RawFormat
from tcf.config.train import TrainConfig
from tcf.launch.units.tasks import Stage

__all__ = [
    "SeedsOf",
    "StudyCombination",
    "StudyDataset",
    "StudyEncoder",
    "StudyExtraction",
    "StudyFile",
    "StudySetting",
]


SeedsOf = Literal["each", "together"]
"""Whether the runs of each seed make a combination of their own, or those of all seeds are members of one."""


@dataclass(frozen=True)
class StudyDataset:
    """A dataset that a study trains on; one of `download`, `raw` and `path` says where it comes from.

    Attributes:
        name: its name in the study.
        download: name of a dataset to download.
        raw: folder with raw files.
        path: a dataset directory that has been prepared already.
        format: format of the raw files; None for `path`.
        prepare: settings of the preparation.
    """

    name: str
    download: str | None
    raw: Path | None
    path: Path | None
    format: RawFormat | None
    prepare: PrepareConfig


@dataclass(frozen=True)
class StudyEncoder:
    """A language model whose vectors a study trains on; one of `model` and `raw` says which.

    Attributes:
        name: its name in the study.
        model: named model, hub id or folder.
        raw: raw weights, which are converted first.
        tokenizer: folder with the tokenizer of raw weights; None if it is beside them.
        config: settings of the extraction.
    """

    name: str
    model: str | None
    raw: Path | None
    tokenizer: Path | None
    config: ExtractConfig


@dataclass(frozen=True)
class StudySetting:
    """What is trained once with each seed.

    Attributes:
        name: unique within the study.
        axes: its place on each axis that means something for it, by the axis's name.
        dataset: name of the dataset.
        encoder: name of the encoder; empty if it reads no text, nor has ids that start from texts.
        config: settings of the training; with `seeds`, their seed is replaced.
        seeds: the seeds; empty for the seed of the settings alone, whose run has no folder of its own.
    """

    name: str
    axes: Mapping[str, Any]
    dataset: str
    encoder: str
    config: TrainConfig
    seeds: tuple[int, ...]

    def trainings(self) -> Mapping[int, TrainConfig]:
        """The settings of each of its trainings, by seed."""
        seeds = self.seeds or (self.config.seed,)
        return {seed: dataclasses.replace(self.config, seed=seed) for seed in seeds}


@dataclass(frozen=True)
class StudyCombination:
    """What joins the runs of several settings into one ranking.

    Attributes:
        name: unique within the study, also among its settings.
        dataset: name of the dataset.
        members: names of the settings, in order.
        baselines: untrained rankings that are members as well.
        seeds: whether there is one combination for each seed, or one of all of them.
        config: settings.
    """

    name: str
    dataset: str
    members: tuple[str, ...]
    baselines: tuple[CombinedBaseline, ...]
    seeds: SeedsOf
    config: CombineConfig


@dataclass(frozen=True)
class StudyExtraction:
    """The extraction of a dataset's vectors by one encoder with one pooling, at all layers that are needed.

    Attributes:
        dataset: name of the dataset.
        encoder: the encoder.
        config: settings, with layers and pooling.
    """

    dataset: str
    encoder: StudyEncoder
    config: ExtractConfig


@dataclass(frozen=True)
class StudyFile:
    """The content of a study file, or of a pipeline file.

    Attributes:
        path: the file.
        overrides: entries that replace those of the file, as `KEY=VALUE`.
        out: folder for all results.
        datasets: the datasets.
        encoders: the encoders.
        extractions: what is extracted.
        settings: what is trained.
        combinations: what is joined of it.
        baselines: untrained rankings to compare with.
        recommend: number of items to recommend to each user; 0 for none.
        evaluate: settings of the evaluations.
        by: groups that the comparison is also made for.
        metrics: what is compared; empty for all that was measured.
        launch: how units of each stage are run.
        is_pipeline: whether it is a pipeline file, whose results have other places.
    """

    path: Path
    overrides: tuple[str, ...]
    out: Path
    datasets: tuple[StudyDataset, ...]
    encoders: tuple[StudyEncoder, ...]
    extractions: tuple[StudyExtraction, ...]
    settings: tuple[StudySetting, ...]
    combinations: tuple[StudyCombination, ...]
    baselines: tuple[Baseline, ...]
    recommend: int
    evaluate: EvaluateConfig
    by: tuple[str, ...]
    metrics: tuple[str, ...]
    launch: Mapping[Stage, LaunchConfig]
    is_pipeline: bool

    def dataset(self, name: str) -> StudyDataset:
        """The dataset of this name."""
        return next(dataset for dataset in self.datasets if dataset.name == name)
