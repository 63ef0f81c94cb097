"""Reading the tables of a study file: [datasets.NAME], [encoders.NAME], [extract], [grid] and the others."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from tcf.assets.models import MODEL_NAMES
from tcf.common.errors import ConfigError
from tcf.config.extract import ExtractConfig
from tcf.config.prepare import PrepareConfig
from tcf.config.raw_formats import RawFormat
from tcf.config.toml_files import expand_home, user_path
from tcf.launch.file_terms import settings_from
from tcf.launch.study.tables.combine_tables import check_combinations, read_grid_combinations
from tcf.launch.study.tables.content import StudyDataset, StudyEncoder, StudyExtraction, StudyFile, StudySetting
from tcf.launch.study.tables.evaluate_table import check_refit, read_evaluate
from tcf.launch.study.tables.grid import Grid, Point, read_grid
from tcf.launch.study.tables.launch_tables import read_launch
from tcf.launch.study.tables.layers import layers_of
from tcf.launch.study.tables.section import FileSection, known_words, tables_of
from tcf.launch.study.tables.train_tables import TrainTables, read_train
from tcf.launch.study.wanted_places import place_name

__all__ = ["read_study_tables"]

_TABLES = ("out", "datasets", "encoders", "extract", "grid", "train", "combine", "evaluate", "launch")
_ALWAYS = ("encoder", "backbone", "items")  # in every name, even of a grid with one value of each
_OF_ENCODERS = ("encoder", "layer", "pooling", "tuning")
_NOT_OF_ENCODERS = {
    "layers": "set layers in [grid]",
    "pooling": "set pooling in [grid]",
    "token_states": "runs read vectors",
    "shards": "set workers in [launch.extract]",
    "parquet": "run `tcf cache export` on a cache of the study",
}


def read_study_tables(path: Path, values: Mapping[str, Any]) -> StudyFile:
    """Read the content of a study file.

    Args:
        path: the file.
        values: its content.

    Raises:
        ConfigError: a setting is unknown or of the wrong type, or a required one is missing.
    """
    top = FileSection(path, "", dict(values))
    for key in values:
        if key not in _TABLES:
            raise ConfigError(f"{path}: unknown entry {key}{known_words(key, _TABLES)}")
    out = user_path(top.take("out", str) or "out")
    datasets = _datasets(path, values.get("datasets", {}))
    shared = _extract_settings(FileSection(path, "extract", values.get("extract", {})))
    tables = tables_of(path, "encoders", values.get("encoders", {}), "[encoders.small]")
    named = {name: _encoder(section, name, shared) for name, section in tables.items()}
    grid = read_grid(FileSection(path, "grid", values.get("grid", {})), [d.name for d in datasets], [*named])
    train = read_train(FileSection(path, "train", values.get("train", {})), grid)
    settings = _settings(grid, train)
    encoders = _encoders_of(path, settings, named, shared)
    evaluation = read_evaluate(FileSection(path, "evaluate", values.get("evaluate", {})))
    for setting in settings:
        check_refit(path, setting.name, setting.config, evaluation.config)
    combinations = read_grid_combinations(path, values.get("combine", {}), settings, grid)
    check_combinations(path, combinations, settings, evaluation.config)
    return StudyFile(
        path=path,
        overrides=(),
        out=out,
        datasets=tuple(dataset for dataset in datasets if dataset.name in grid.axes["dataset"]),
        encoders=tuple(encoders.values()),
        extractions=_extractions(settings, encoders),
        settings=settings,
        combinations=combinations,
        baselines=evaluation.baselines,
        recommend=evaluation.recommend,
        evaluate=evaluation.config,
        by=evaluation.by,
        metrics=evaluation.metrics,
        launch=read_launch(path, values.get("launch", {})),
        is_pipeline=False,
    )


def _datasets(path: Path, values: Any) -> tuple[StudyDataset, ...]:
    sections = tables_of(path, "datasets", values, "[datasets.games]")
    if not sections:
        raise ConfigError(f"{path}: [datasets] expected a table for each dataset, such as [datasets.games], found none")
    return tuple(_dataset(section, name) for name, section in sections.items())


def _dataset(section: FileSection, name: str) -> StudyDataset:
    sources = {key: section.take(key, str) for key in ("download", "raw", "path")}
    found = [key for key, value in sources.items() if value is not None]
    if len(found) != 1:
        raise ConfigError(
            f"{section.where} expected one of download, raw (a folder of raw files) and path (a dataset that is "
            f"prepared already), found {' and '.join(found) or 'none'}"
        )
    raw, prepared = (None if sources[key] is None else user_path(str(sources[key])) for key in ("raw", "path"))
    if prepared is not None:
        section.refuse({key: "a prepared dataset has its own; remove it" for key in section.values if key != "path"})
        return StudyDataset(name, None, None, prepared, None, PrepareConfig())
    format = section.choose("format", get_args(RawFormat))
    return StudyDataset(name, sources["download"], raw, None, format, section.rest(PrepareConfig))


def _extract_settings(section: FileSection) -> dict[str, Any]:
    """The settings of all encoders, checked by themselves."""
    section.refuse(_NOT_OF_ENCODERS)
    section.rest(ExtractConfig)
    return section.others(ExtractConfig)


def _encoder(section: FileSection, name: str, shared: Mapping[str, Any]) -> StudyEncoder:
    section.refuse(_NOT_OF_ENCODERS)
    model, raw, tokenizer = (section.take(key, str) for key in ("model", "raw", "tokenizer"))
    if (model is None) == (raw is None):
        found = "neither" if model is None else "both"
        raise ConfigError(f"{section.where} expected either model or raw (raw weights, to be converted), found {found}")
    if tokenizer is not None and raw is None:
        raise ConfigError(f"{section.where} tokenizer: expected raw as well, found model, which has its own; remove it")
    weights, words = (None if folder is None else user_path(folder) for folder in (raw, tokenizer))
    return StudyEncoder(name, expand_home(model), weights, words, section.rest(ExtractConfig, shared))


def _settings(grid: Grid, train: TrainTables) -> tuple[StudySetting, ...]:
    """What is trained: a setting for each point of the grid."""
    points = grid.points(train.values)
    train.check_used(points)
    names = _names(grid, points)
    for point, name in zip(points, names, strict=True):
        _check_start(f"{train.path}: {name}", point)
    return tuple(
        StudySetting(
            name=name,
            axes=dict(point),
            dataset=point["dataset"],
            encoder=point.get("encoder", ""),
            config=dataclasses.replace(train.config(point, name), seed=grid.seeds[0]),
            seeds=grid.seeds,
        )
        for point, name in zip(points, names, strict=True)
    )


def _check_start(where: str, point: Point) -> None:
    """Refuse ids that start from texts without an encoder, or from several layers."""
    if point.get("encoder") == "":
        raise ConfigError(
            f'{where}: expected an encoder whose texts ids start from (id_init = "text"), found none; set encoders = '
            '["minilm"] in [grid]'
        )
    if point["items"] == "id" and len(layers_of(point.get("layer", -1))) > 1:
        raise ConfigError(
            f"{where}: expected one layer for ids to start from, found {point['layer']}; leave it out: exclude = "
            f'[{{ items = "id", layer = "{point["layer"]}" }}]'
        )


def _names(grid: Grid, points: Sequence[Point]) -> list[str]:
    """Names of the settings: `DATASET/ENCODER-BACKBONE-ITEMS`, and what else the grid has several values of."""
    names: dict[str, None] = {}
    for point in points:
        parts = [_name_of(axis, point[axis]) for axis in _order(point) if axis in _ALWAYS or grid.has_choice(axis)]
        name = f"{point['dataset']}/{'-'.join(parts)}"
        names[f"{name}-{len(names)}" if name in names else name] = None
    return [*names]


def _order(point: Point) -> list[str]:
    """The axes of a setting in its name: an encoder's layer and pooling follow it."""
    first = [axis for axis in (*_OF_ENCODERS, "backbone", "items") if axis in point]
    return [*first, *(axis for axis in point if axis not in (*first, "dataset"))]


def _name_of(axis: str, value: Any) -> str:
    """A value in a name, after its axis unless it says itself what it is."""
    shown = "none" if value is None else place_name(str(value))
    return shown if axis in (*_ALWAYS, "pooling", "tuning") else f"{axis}{shown}"


def _encoders_of(
    path: Path, settings: Sequence[StudySetting], named: Mapping[str, StudyEncoder], shared: Mapping[str, Any]
) -> dict[str, StudyEncoder]:
    """The encoders that settings read: tables of the file, or plain names of models."""
    used = dict.fromkeys(setting.encoder for setting in settings if setting.encoder)
    return {name: named.get(name) or _plain(path, name, [*named], shared) for name in used}


def _plain(path: Path, name: str, tables: Sequence[str], shared: Mapping[str, Any]) -> StudyEncoder:
    model = str(expand_home(name))
    if name not in MODEL_NAMES and "/" not in model and not user_path(name).exists():
        known = (*tables, *MODEL_NAMES)
        raise ConfigError(f"{path}: [grid] encoders: unknown encoder {name}{known_words(name, known)}")
    return StudyEncoder(name, model, None, None, settings_from(ExtractConfig, shared, path, "extract"))


def _extractions(settings: Sequence[StudySetting], encoders: Mapping[str, StudyEncoder]) -> tuple[StudyExtraction, ...]:
    """One extraction for each dataset, encoder and pooling, at all layers that their settings read."""
    layers: dict[tuple[str, str, Any], list[int]] = {}
    for setting in settings:
        if setting.encoder:
            needed = layers.setdefault((setting.dataset, setting.encoder, setting.axes["pooling"]), [])
            needed += [layer for layer in layers_of(setting.axes["layer"]) if layer not in needed]
    return tuple(
        StudyExtraction(
            dataset,
            encoders[encoder],
            dataclasses.replace(encoders[encoder].config, layers=tuple(found), pooling=pooling),
        )
        for (dataset, encoder, pooling), found in layers.items()
    )
