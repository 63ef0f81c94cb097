"""The pipeline file: what each stage is to do, in one TOML file."""

import dataclasses
import re
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, get_args

from tcf.common.errors import ConfigError, did_you_mean, value_words
from tcf.config.evaluate import Baseline, EvaluateConfig
from tcf.config.extract import ExtractConfig
from tcf.config.fields import read_toml
from tcf.config.prepare import PrepareConfig
from tcf.config.raw_formats import RawFormat
from tcf.config.toml_files import PIPELINE_FILE, check_kind, expand_home, user_path
from tcf.config.train import TrainConfig
from tcf.launch.file_terms import settings_from

__all__ = ["PipelineConfig", "PlannedTraining", "read_pipeline"]

_C = TypeVar("_C")
_TABLES = ("out", "seeds", "data", "extract", "train", "evaluate")
_KINDS: dict[type, str] = {str: "a string", int: "a whole number", list: "a list"}
_NAME = re.compile(r"[^\W_][\w .+-]{0,99}(?<! )")


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
        ConfigError: the file is not TOML, a setting is unknown or of the wrong type, or a required one is missing.
    """
    values = read_toml(path)
    check_kind(values, PIPELINE_FILE, path)
    unknown = sorted(set(values) - set(_TABLES))
    if unknown:
        hint = did_you_mean(unknown[0], _TABLES) or f" (known: {', '.join(_TABLES)})"
        raise ConfigError(f"{path}: unknown entry {unknown[0]}{hint}")
    data = _PipelineSection(path, "data", values.get("data", {}))
    text = _PipelineSection(path, "extract", values.get("extract", {}))
    evaluation = _PipelineSection(path, "evaluate", values.get("evaluate", {}))
    download, raw = data.take("download", str), data.take("raw", str)
    format, preparation = data.choose("format", get_args(RawFormat)), data.rest(PrepareConfig)
    if (download is None) == (raw is None):
        raise ConfigError(
            f"{path}: [data] expected either download or raw, found {'neither' if raw is None else 'both'}"
        )
    top = _PipelineSection(path, "", values)
    config = PipelineConfig(
        path=path,
        out=user_path(top.take("out", str) or "out"),
        seeds=top.whole_numbers("seeds"),
        download=download,
        raw=None if raw is None else user_path(raw),
        format=format,
        model=expand_home(text.take("model", str)),
        train=_runs(path, values.get("train", {})),
        baselines=evaluation.choices("baselines", get_args(Baseline)),
        recommend=evaluation.count("recommend"),
        prepare=preparation,
        extract=text.rest(ExtractConfig),
        evaluate=evaluation.rest(EvaluateConfig),
    )
    if any(run.reads_text for run in config.train.values()):
        _check_text(path, config)
    for name, run in config.train.items():
        _check_run(path, config, name, run)
    return config


def _check_run(path: Path, config: PipelineConfig, name: str, run: TrainConfig) -> None:
    """Refuse settings of a run that contradict those of other tables."""
    if run.refit and config.evaluate.split == "validation":
        raise ConfigError(
            f'{path}: [train.{name}] refit: expected [evaluate] split = "test", since the run is trained on the '
            "validation targets, found validation; remove one of them"
        )
    if config.seeds and run.seed != TrainConfig.seed:
        raise ConfigError(
            f"{path}: [train.{name}] seed: expected none, since every run is trained with the seeds "
            f"{', '.join(map(str, config.seeds))}, found {run.seed}; remove it, or seeds"
        )


def _check_text(path: Path, config: PipelineConfig) -> None:
    """Refuse an extraction that does not make the single vector cache that runs read."""
    if config.model is None:
        raise ConfigError(f'{path}: [extract] expected a model, since a run reads text, found none; add model = "NAME"')
    if config.extract.shards is not None:
        raise ConfigError(
            f"{path}: [extract] expected no shards, since a run reads the whole cache, found "
            f"{value_words(config.extract.shards)}; remove it"
        )
    if len(config.extract.layers) > 1 or config.extract.token_states is not None:
        raise ConfigError(
            f"{path}: [extract] expected one layer and no token_states, since a run reads text from one cache, found "
            f"layers {', '.join(map(str, config.extract.layers))} and token_states "
            f"{value_words(config.extract.token_states)}; keep one layer only"
        )


def _runs(path: Path, tables: Any) -> dict[str, TrainConfig]:
    if not isinstance(tables, dict) or not all(isinstance(table, dict) for table in tables.values()):
        raise ConfigError(
            f"{path}: [train] expected one table for each run, such as [train.text], found {value_words(tables)}"
        )
    names = get_args(Baseline)
    for name in tables:
        if name in names or not _NAME.fullmatch(name):
            raise ConfigError(
                f"{path}: [train.{name}] expected a run name of letters, digits, spaces, . _ + -, that begins with a "
                f"letter or digit and is not a baseline's, found {name!r}; rename the table"
            )
    return {name: settings_from(TrainConfig, table, path, f"train.{name}") for name, table in tables.items()}


@dataclass
class _PipelineSection:
    """A table of the file: some entries are read one by one, the others are a stage's settings.

    Attributes:
        path: the file.
        name: the table's name; empty for the entries above all tables.
        values: its entries.
        taken: names of the entries that are not settings of a stage.
    """

    path: Path
    name: str
    values: dict[str, Any]
    taken: list[str] = dataclasses.field(default_factory=list)

    def __post_init__(self) -> None:
        if not isinstance(self.values, dict):
            raise ConfigError(f"{self.where} expected a table, found {value_words(self.values)}")

    @property
    def where(self) -> str:
        return f"{self.path}: [{self.name}]" if self.name else f"{self.path}:"

    def take(self, key: str, kind: type[_C]) -> _C | None:
        self.taken.append(key)
        value = self.values.get(key)
        if value is None or (isinstance(value, kind) and not isinstance(value, bool) and value != ""):
            return value
        raise ConfigError(f"{self.where} {key}: expected {_KINDS.get(kind, kind.__name__)}, found {value_words(value)}")

    def count(self, key: str) -> int:
        value = self.take(key, int) or 0
        if value < 0:
            raise ConfigError(f"{self.where} {key}: expected 0 or more, found {value}")
        return value

    def whole_numbers(self, key: str) -> tuple[int, ...]:
        """Different whole numbers, none of them negative."""
        values = self.take(key, list)
        if values is None:
            return ()
        for place, value in enumerate(values):
            if not isinstance(value, int) or isinstance(value, bool) or value < 0 or value in values[:place]:
                raise ConfigError(
                    f"{self.where} {key}: expected different whole numbers of 0 or more, found {value_words(value)}"
                )
        if not values:
            raise ConfigError(f"{self.where} {key}: expected a number or more, found none; leave {key} out")
        return tuple(values)

    def choose(self, key: str, known: tuple[Any, ...]) -> Any:
        value = self.take(key, str)
        if value in known:
            return value
        hint = did_you_mean(value or "", known)
        raise ConfigError(f"{self.where} {key}: expected one of {', '.join(known)}, found {value_words(value)}{hint}")

    def choices(self, key: str, known: tuple[Any, ...]) -> tuple[Any, ...]:
        values = self.take(key, list) or []
        for value in values:
            if value not in known:
                found = f"{value_words(value)}{did_you_mean(value, known) if isinstance(value, str) else ''}"
                raise ConfigError(f"{self.where} {key}: expected any of {', '.join(known)}, found {found}")
        return tuple(values)

    def rest(self, kind: type[_C]) -> _C:
        known = [*self.taken, *(entry.name for entry in dataclasses.fields(typing.cast(Any, kind)))]
        rest = {key: value for key, value in self.values.items() if key not in self.taken}
        for key in rest:
            if key not in known:
                hint = did_you_mean(key, known) or f" (known: {', '.join(known)})"
                raise ConfigError(f"{self.where} unknown setting {key}{hint}")
        return settings_from(kind, rest, self.path, self.name)
