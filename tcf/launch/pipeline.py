"""The whole way from one configuration file: download, prepare, extract, train, evaluate, recommend, compare.

Every stage finds out for itself whether its result is there already, so the same file can be run again after an
interruption or a change.
"""

import dataclasses
import logging
import re
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, get_args

from tcf.assets.resolve import fetch_dataset
from tcf.common.errors import ConfigError, did_you_mean
from tcf.config.evaluate import Baseline, EvaluateConfig
from tcf.config.extract import ExtractConfig
from tcf.config.fields import from_mapping, read_toml
from tcf.config.prepare import PrepareConfig
from tcf.config.raw_formats import RawFormat
from tcf.config.train import TrainConfig
from tcf.data.prepare import prepare
from tcf.encoders.folder.local_model import local_model
from tcf.evaluate.evaluation import Evaluation, comparison
from tcf.evaluate.recommend import examples, recommend
from tcf.evaluate.stage import evaluate_baseline, evaluate_run
from tcf.launch.extract_on_devices import extract_on_devices
from tcf.launch.train_on_devices import train_on_devices

__all__ = ["PipelineConfig", "read_pipeline", "run_pipeline"]

logger = logging.getLogger(__name__)

_C = TypeVar("_C")
_TABLES = ("out", "data", "extract", "train", "evaluate")
_WORDS: dict[type, str] = {str: "some text", int: "a whole number", list: "a list"}
_NAME = re.compile(r"[^\W_][\w .+-]{0,99}(?<! )")


@dataclass(frozen=True)
class PipelineConfig:
    """What a pipeline file says.

    Attributes:
        out: folder that everything goes into.
        download: named dataset to fetch; None if `raw` is given.
        raw: folder with raw files; None if `download` is given.
        format: format of the raw files.
        prepare: settings of the preparation.
        model: named model, hub id or folder; None where no run reads text.
        extract: settings of the extraction.
        train: settings of each run, by its name.
        baselines: rankings without training to compare with.
        recommend: items to recommend to each user; 0 for none.
        evaluate: settings of the evaluations.
    """

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


def read_pipeline(path: Path) -> PipelineConfig:
    """Read a pipeline file.

    Raises:
        ConfigError: it is not TOML, a setting is unknown or of the wrong type, or one that is needed is missing.
    """
    values = read_toml(path)
    unknown = sorted(set(values) - set(_TABLES))
    if unknown:
        raise ConfigError(f"{path}: unknown entry {unknown[0]} (known: {', '.join(_TABLES)})")
    data = _PipelineSection(path, "data", values.get("data", {}))
    text = _PipelineSection(path, "extract", values.get("extract", {}))
    judged = _PipelineSection(path, "evaluate", values.get("evaluate", {}))
    download, raw = data.take("download", str), data.take("raw", str)
    format, preparation = data.choose("format", get_args(RawFormat)), data.rest(PrepareConfig)
    if (download is None) == (raw is None):
        raise ConfigError(
            f"{path}: [data] expected either download or raw, found {'neither' if raw is None else 'both'}"
        )
    config = PipelineConfig(
        out=Path(_PipelineSection(path, "", values).take("out", str) or "out"),
        download=download,
        raw=None if raw is None else Path(raw),
        format=format,
        model=text.take("model", str),
        train=_runs(path, values.get("train", {})),
        baselines=judged.choices("baselines", get_args(Baseline)),
        recommend=judged.count("recommend"),
        prepare=preparation,
        extract=text.rest(ExtractConfig),
        evaluate=judged.rest(EvaluateConfig),
    )
    if any(run.reads_text for run in config.train.values()):
        _check_text(path, config)
    return config


def _check_text(path: Path, config: PipelineConfig) -> None:
    """Refuse an extraction that does not make the one cache of vectors that runs read."""
    if config.model is None:
        raise ConfigError(f"{path}: [extract] expected a model, since a run reads text, found none")
    if config.extract.shards is not None:
        raise ConfigError(
            f"{path}: [extract] expected no shards, since a run reads the whole cache, found {config.extract.shards!r}"
        )
    if len(config.extract.layers) > 1 or config.extract.token_states is not None:
        raise ConfigError(
            f"{path}: [extract] expected one of layers and no token_states, since a run reads text from one cache, "
            f"found layers {list(config.extract.layers)}, token_states {config.extract.token_states}"
        )


def run_pipeline(config: PipelineConfig) -> str:
    """Run all stages that have not been run yet; returns the comparison, and some recommendations, to be printed.

    Raises:
        TcfError: whatever a stage raises.
    """
    out = config.out
    raw = config.raw or fetch_dataset(str(config.download))
    logger.info(f"prepare: {raw} -> {out / 'dataset'}")
    prepare(config.format, raw, out / "dataset", config.prepare)
    if config.model is not None:
        logger.info(f"extract: {config.model} -> {out / 'cache'}")
        model = local_model(config.model)
        done = extract_on_devices(
            data=out / "dataset", model=model, name=config.model, out=out / "cache", config=config.extract
        )
        logger.info(done.summary())
    evaluations: dict[str, Evaluation] = {name: _baseline(config, name) for name in config.baselines}
    for name, settings in config.train.items():
        evaluations[name] = _run(config, name, settings)
    shown = [comparison(evaluations)] if evaluations else []
    if config.recommend and config.train:
        first = next(iter(config.train))
        some = examples(out / "runs" / first, users=3, k=3, device=config.evaluate.device)
        shown.append(f"\nSome recommendations of {first}:\n{some}")
    return "\n".join(shown)


def _baseline(config: PipelineConfig, name: Baseline) -> Evaluation:
    logger.info(f"evaluate: {name}")
    place = config.out / "evaluations" / name
    return evaluate_baseline(name, data=config.out / "dataset", out=place, config=config.evaluate)


def _run(config: PipelineConfig, name: str, settings: TrainConfig) -> Evaluation:
    run = config.out / "runs" / name
    caches = (config.out / "cache",) if settings.reads_text else ()
    logger.info(f"train: {name} -> {run}")
    train_on_devices(data=config.out / "dataset", caches=caches, out=run, config=settings)
    logger.info(f"evaluate: {name}")
    evaluation = evaluate_run(run, out=config.out / "evaluations" / name, config=config.evaluate)
    if config.recommend:
        place = config.out / "recommendations" / f"{name}.parquet"
        recommend(run, out=place, k=config.recommend, device=config.evaluate.device)
    return evaluation


def _runs(path: Path, tables: Any) -> dict[str, TrainConfig]:
    if not isinstance(tables, dict) or not all(isinstance(table, dict) for table in tables.values()):
        raise ConfigError(f"{path}: [train] expected one table a run, such as [train.text], found {tables!r}")
    names = get_args(Baseline)
    for name in tables:
        if name in names or not _NAME.fullmatch(name):
            raise ConfigError(
                f"{path}: [train.{name}] expected a name for a folder, of letters, digits, spaces, . _ + -, a letter "
                f"or digit first, and not a baseline's; found {name!r}"
            )
    return {name: from_mapping(TrainConfig, table, f"{path}: [train.{name}]") for name, table in tables.items()}


@dataclass
class _PipelineSection:
    """A table of the file: entries are taken out of it, and what is left are a stage's settings.

    Attributes:
        path: the file.
        name: the table's name; empty for what stands above all tables.
        values: its entries.
        taken: the entries that are no settings of a stage.
    """

    path: Path
    name: str
    values: dict[str, Any]
    taken: list[str] = dataclasses.field(default_factory=list)

    def __post_init__(self) -> None:
        if not isinstance(self.values, dict):
            raise ConfigError(f"{self.where} expected a table, found {self.values!r}")

    @property
    def where(self) -> str:
        return f"{self.path}: [{self.name}]" if self.name else f"{self.path}:"

    def take(self, key: str, kind: type[_C]) -> _C | None:
        self.taken.append(key)
        value = self.values.get(key)
        if value is None or (isinstance(value, kind) and not isinstance(value, bool) and value != ""):
            return value
        raise ConfigError(f"{self.where} {key}: expected {_WORDS.get(kind, kind.__name__)}, found {value!r}")

    def count(self, key: str) -> int:
        value = self.take(key, int) or 0
        if value < 0:
            raise ConfigError(f"{self.where} {key}: expected 0 or more, found {value}")
        return value

    def choose(self, key: str, known: tuple[Any, ...]) -> Any:
        value = self.take(key, str)
        if value in known:
            return value
        found = "nothing" if value is None else repr(value)
        raise ConfigError(f"{self.where} {key}: expected one of {', '.join(known)}, found {found}")

    def choices(self, key: str, known: tuple[Any, ...]) -> tuple[Any, ...]:
        values = self.take(key, list) or []
        for value in values:
            if value not in known:
                raise ConfigError(f"{self.where} {key}: expected some of {', '.join(known)}, found {value!r}")
        return tuple(values)

    def rest(self, kind: type[_C]) -> _C:
        known = [*self.taken, *(entry.name for entry in dataclasses.fields(typing.cast(Any, kind)))]
        rest = {key: value for key, value in self.values.items() if key not in self.taken}
        for key in rest:
            if key not in known:
                hint = did_you_mean(key, known)
                raise ConfigError(f"{self.where} unknown setting {key}{hint} (known: {', '.join(known)})")
        return from_mapping(kind, rest, self.where)
