"""The whole way from one configuration file: download, prepare, extract, train, evaluate, recommend, compare.

Every stage finds out for itself whether its result is there already, so the same file can be run again after an
interruption or a change.
"""

import dataclasses
import re
import sys
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
from tcf.extract.result import Extraction
from tcf.launch.extract_on_devices import extract_on_devices
from tcf.launch.train_on_devices import train_on_devices
from tcf.train.stage import TrainResult

__all__ = ["PipelineConfig", "PipelineResult", "read_pipeline", "run_pipeline"]

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


@dataclass(frozen=True)
class PipelineResult:
    """What a pipeline has made, or found to be there.

    Attributes:
        dataset: the dataset's directory.
        extraction: what was extracted; None where no run reads text.
        runs: the runs, by name.
        evaluations: evaluations of baselines and runs, by name.
        recommendations: files of recommendations, by the run's name.
        examples: some recommendations of the first run, for people; empty if none are asked for.
    """

    dataset: Path
    extraction: Extraction | None
    runs: Mapping[str, TrainResult]
    evaluations: Mapping[str, Evaluation]
    recommendations: Mapping[str, Path]
    examples: str

    def as_json(self) -> dict[str, Any]:
        """The same as JSON values, the examples left out."""
        return {
            "dataset": str(self.dataset),
            "extraction": None if self.extraction is None else self.extraction.as_json(),
            "runs": [{"name": name, **run.as_json()} for name, run in self.runs.items()],
            "evaluations": [{"name": name, **found.as_json()} for name, found in self.evaluations.items()],
            "recommendations": {name: str(file) for name, file in self.recommendations.items()},
        }

    def summary(self) -> str:
        """The comparison of all evaluations, and the examples."""
        shown = [comparison(self.evaluations)] if self.evaluations else []
        return "\n\n".join([*shown, *([self.examples] if self.examples else [])])


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


def run_pipeline(config: PipelineConfig) -> PipelineResult:
    """Run all stages that have not been run yet.

    Raises:
        TcfError: whatever a stage raises.
    """
    dataset, runs, recommendations = config.out / "dataset", dict[str, TrainResult](), dict[str, Path]()
    raw = config.raw or fetch_dataset(str(config.download))
    _print_step(f"prepare: {raw} -> {dataset}")
    prepare(config.format, raw, dataset, config.prepare)
    extraction = None if config.model is None else _extract(config, config.model)
    evaluations: dict[str, Evaluation] = {name: _baseline(config, name) for name in config.baselines}
    for name, settings in config.train.items():
        run = _train(config, name, settings)
        runs |= {} if run is None else {name: run}
        evaluations[name] = _evaluate(config, name)
        if config.recommend:
            recommendations[name] = _recommend(config, name)
    return PipelineResult(dataset, extraction, runs, evaluations, recommendations, _examples(config))


def _extract(config: PipelineConfig, model: str) -> Extraction:
    data, out = config.out / "dataset", config.out / "cache"
    _print_step(f"extract: {model} -> {out}")
    done = extract_on_devices(data=data, model=local_model(model), name=model, out=out, config=config.extract)
    _print_step(done.summary())
    return done


def _baseline(config: PipelineConfig, name: Baseline) -> Evaluation:
    _print_step(f"evaluate: {name}")
    place = config.out / "evaluations" / name
    return evaluate_baseline(name, data=config.out / "dataset", out=place, config=config.evaluate)


def _train(config: PipelineConfig, name: str, settings: TrainConfig) -> TrainResult | None:
    run = config.out / "runs" / name
    caches = (config.out / "cache",) if settings.reads_text else ()
    _print_step(f"train: {name} -> {run}")
    return train_on_devices(data=config.out / "dataset", caches=caches, out=run, config=settings)


def _evaluate(config: PipelineConfig, name: str) -> Evaluation:
    _print_step(f"evaluate: {name}")
    return evaluate_run(config.out / "runs" / name, out=config.out / "evaluations" / name, config=config.evaluate)


def _recommend(config: PipelineConfig, name: str) -> Path:
    place = config.out / "recommendations" / f"{name}.parquet"
    recommend(config.out / "runs" / name, out=place, k=config.recommend, device=config.evaluate.device)
    return place


def _examples(config: PipelineConfig) -> str:
    """Some recommendations of the first run, for people; empty if none are asked for."""
    if not config.recommend or not config.train:
        return ""
    first = next(iter(config.train))
    some = examples(config.out / "runs" / first, users=3, k=3, device=config.evaluate.device)
    return f"Some recommendations of {first}:\n{some}"


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


def _print_step(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
