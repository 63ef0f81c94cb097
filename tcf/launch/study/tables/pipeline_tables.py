"""Reading the tables of a pipeline file: [data], [extract] with a model, [train.NAME] for each run, [evaluate]."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

from tcf.common.errors import ConfigError, did_you_mean, value_words
from tcf.config.evaluate import Baseline
from tcf.config.extract import ExtractConfig
from tcf.config.prepare import PrepareConfig
from tcf.config.raw_formats import RawFormat
from tcf.config.toml_files import PIPELINE_FILE, check_kind, expand_home, user_path
from tcf.config.train import TrainConfig
from tcf.launch.file_terms import settings_from
from tcf.launch.study.tables.combine_tables import check_combinations, read_run_combinations
from tcf.launch.study.tables.content import StudyDataset, StudyEncoder, StudyExtraction, StudyFile, StudySetting
from tcf.launch.study.tables.evaluate_table import check_refit, read_evaluate
from tcf.launch.study.tables.launch_tables import read_launch
from tcf.launch.study.tables.section import FileSection

__all__ = ["read_pipeline_tables"]

_TABLES = ("out", "seeds", "data", "extract", "train", "combine", "evaluate", "launch")
_NAME = re.compile(r"[^\W_][\w .+-]{0,99}(?<! )")


def read_pipeline_tables(path: Path, values: Mapping[str, Any]) -> StudyFile:
    """Read the content of a pipeline file.

    Args:
        path: the file.
        values: its content.

    Raises:
        ConfigError: it is a file of another kind, a setting is unknown or of the wrong type, or a required one is
            missing.
    """
    check_kind(values, PIPELINE_FILE, path)
    unknown = sorted(set(values) - set(_TABLES))
    if unknown:
        hint = did_you_mean(unknown[0], _TABLES) or f" (known: {', '.join(_TABLES)})"
        raise ConfigError(f"{path}: unknown entry {unknown[0]}{hint}")
    data = FileSection(path, "data", values.get("data", {}))
    text = FileSection(path, "extract", values.get("extract", {}))
    evaluate = FileSection(path, "evaluate", values.get("evaluate", {}))
    dataset = _dataset(data)
    top = FileSection(path, "", dict(values))
    out, seeds = user_path(top.take("out", str) or "out"), top.whole_numbers("seeds")
    model = expand_home(text.take("model", str))
    runs = _runs(path, values.get("train", {}))
    evaluation = read_evaluate(evaluate)
    extract = text.rest(ExtractConfig)
    if any(run.needs_cache for run in runs.values()):
        _check_text(path, model, extract)
    for name, run in runs.items():
        check_refit(path, f"[train.{name}]", run, evaluation.config)
        _check_seed(path, name, run, seeds)
    encoder = None if model is None else StudyEncoder(model, model, None, None, extract)
    settings = tuple(_setting(name, run, seeds, dataset, encoder) for name, run in runs.items())
    combinations = read_run_combinations(path, values.get("combine", {}), settings)
    check_combinations(path, combinations, settings, evaluation.config)
    return StudyFile(
        path=path,
        overrides=(),
        out=out,
        datasets=(dataset,),
        encoders=() if encoder is None else (encoder,),
        extractions=() if encoder is None else (StudyExtraction(dataset.name, encoder, extract),),
        settings=settings,
        combinations=combinations,
        baselines=evaluation.baselines,
        recommend=evaluation.recommend,
        evaluate=evaluation.config,
        by=evaluation.by,
        metrics=evaluation.metrics,
        launch=read_launch(path, values.get("launch", {})),
        is_pipeline=True,
    )


def _dataset(section: FileSection) -> StudyDataset:
    download, raw = section.take("download", str), section.take("raw", str)
    format, preparation = section.choose("format", get_args(RawFormat)), section.rest(PrepareConfig)
    if (download is None) == (raw is None):
        found = "neither" if raw is None else "both"
        raise ConfigError(f"{section.where} expected either download or raw, found {found}")
    folder = None if raw is None else user_path(raw)
    name = download or (folder.name if folder is not None else "") or "dataset"
    return StudyDataset(name, download, folder, None, format, preparation)


def _setting(
    name: str, run: TrainConfig, seeds: tuple[int, ...], dataset: StudyDataset, encoder: StudyEncoder | None
) -> StudySetting:
    """A run; its axes are those that a grid would have for it."""
    read = encoder if run.needs_cache else None
    of_texts = {} if read is None else {"encoder": read.name, "layer": read.config.pooled_layers[0]}
    axes = {"dataset": dataset.name, **of_texts, "backbone": run.backbone, "items": run.items}
    return StudySetting(name, axes, dataset.name, "" if read is None else read.name, run, seeds)


def _check_seed(path: Path, name: str, run: TrainConfig, seeds: tuple[int, ...]) -> None:
    """Refuse a seed of a run beside those of the file."""
    if seeds and run.seed != TrainConfig.seed:
        raise ConfigError(
            f"{path}: [train.{name}] seed: expected none, since every run is trained with the seeds "
            f"{', '.join(map(str, seeds))}, found {run.seed}; remove it, or seeds"
        )


def _check_text(path: Path, model: str | None, config: ExtractConfig) -> None:
    """Refuse an extraction that does not make the single vector cache that runs read."""
    if model is None:
        raise ConfigError(f'{path}: [extract] expected a model, since a run reads text, found none; add model = "NAME"')
    if config.shards is not None:
        raise ConfigError(
            f"{path}: [extract] expected no shards, since a run reads the whole cache, found "
            f"{value_words(config.shards)}; remove it"
        )
    if len(config.layers) > 1 or config.token_states is not None:
        raise ConfigError(
            f"{path}: [extract] expected one layer and no token_states, since a run reads text from one cache, found "
            f"layers {', '.join(map(str, config.layers))} and token_states "
            f"{value_words(config.token_states)}; keep one layer only"
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
