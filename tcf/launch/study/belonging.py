"""Whether a folder holds a certain result: asked where a study has no note of it, as of results of earlier versions.

Every result says in its manifest or its settings what it was made of.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from tcf.common.errors import ConfigError
from tcf.common.files import MANIFEST
from tcf.common.parsing import read_json
from tcf.config.combine import CombineConfig
from tcf.config.evaluate import EvaluateConfig
from tcf.config.extract import ExtractConfig
from tcf.config.fields import from_mapping, read_toml
from tcf.config.prepare import PrepareConfig
from tcf.config.raw_formats import RawFormat
from tcf.config.train import TrainConfig
from tcf.launch.study.identities import (
    changed_settings,
    combination_settings,
    evaluation_settings,
    training_settings,
)
from tcf.launch.study.tables.content import StudyCombination
from tcf.launch.study.wanted_places import place_name

__all__ = ["is_cache", "is_combination", "is_dataset", "is_evaluation", "is_run"]

_C = TypeVar("_C")


def is_dataset(path: Path, format: RawFormat | None, config: PrepareConfig) -> bool:
    """Whether a folder holds a dataset prepared with these settings; its raw files are compared when it is used."""
    recorded = dict(_entries(path).get("config", {}))
    if recorded.pop("format", None) != format:
        return False
    if config.split is None:  # as the raw files say
        recorded.pop("split", None)
    found = _settings(PrepareConfig, recorded)
    return found is not None and changed_settings(found) == changed_settings(config)


def is_cache(path: Path, models: tuple[str, ...], config: ExtractConfig, *, any_layer: bool) -> bool:
    """Whether a folder holds a cache of a model, or caches of several layers, made with these settings.

    Args:
        path: the folder.
        models: names of the model; the cache must state one of them, or a path that ends like one.
        config: settings.
        any_layer: whether there may be caches of other layers.
    """
    recorded = [_entries(place).get("config", {}) for place in (path, *_folders(path))]
    caches = [found for found in recorded if "model" in found]
    of_layers = all(any_layer or _is_of_layers(found, config) for found in caches)
    return bool(caches) and of_layers and all(_is_cache_of(found, models, config) for found in caches)


def _is_of_layers(found: Mapping[str, Any], config: ExtractConfig) -> bool:
    """Whether a cache is of one of the layers that are wanted."""
    is_tokens = found.get("pooling") is None
    return found.get("layer") in ((config.token_states,) if is_tokens else config.pooled_layers)


def _is_cache_of(found: Mapping[str, Any], models: tuple[str, ...], config: ExtractConfig) -> bool:
    if (
        place_name(str(found["model"])) not in {place_name(model) for model in models}
        or found.get("max_tokens") != config.max_tokens
    ):
        return False
    if found.get("pooling") is None:  # token states
        return found.get("storage") == config.token_storage
    stated = {"prefix": config.prefix, "pooling": None if config.pooling == "auto" else config.pooling}
    decided = {"storage": config.storage, "project_out": config.project_out}
    wanted = {**decided, **{key: value for key, value in stated.items() if value is not None}}
    return all(found.get(key) == value for key, value in wanted.items())


def is_run(path: Path, config: TrainConfig, inputs: tuple[Path, ...], *, seeds: bool) -> bool:
    """Whether a folder holds a run with these settings and inputs, finished or not, or such runs of several seeds.

    Args:
        path: the folder.
        config: settings.
        inputs: the dataset and the caches.
        seeds: whether it is to hold a folder for each seed.
    """
    runs = [place for place in _folders(path) if place.name.startswith("seed-")] if seeds else [path]
    return bool(runs) and all(_is_run_of(run, config, inputs, any_seed=seeds) for run in runs)


def _is_run_of(run: Path, config: TrainConfig, inputs: tuple[Path, ...], *, any_seed: bool) -> bool:
    try:
        recorded = read_toml(run / "config.toml")
    except ConfigError:
        return False
    paths = recorded.pop("inputs", {})
    found = _settings(TrainConfig, recorded)
    if found is None or not isinstance(paths, dict) or (found.seed != config.seed and not any_seed):
        return False
    read = {os.path.realpath(run / str(place)) for place in paths.values()}
    same_inputs = read == {os.path.realpath(place) for place in inputs}
    return same_inputs and training_settings(found) == training_settings(config)


def is_combination(path: Path, combination: StudyCombination, names: Sequence[str], runs: Sequence[Path]) -> bool:
    """Whether a folder holds a combination of these runs, called so, with these baselines and settings.

    Args:
        path: the folder.
        combination: what is joined.
        names: what each run is called in it.
        runs: the runs.
    """
    try:
        recorded = read_toml(path / "config.toml")
    except ConfigError:
        return False
    recorded.pop("names", None)
    places, baselines = recorded.pop("runs", None), recorded.pop("baselines", [])
    found = _settings(CombineConfig, recorded)
    if found is None or not isinstance(places, dict) or [*places] != [*names]:
        return False
    read = [os.path.realpath(path / str(place)) for place in places.values()]
    same_members = read == [os.path.realpath(run) for run in runs] and baselines == [*combination.baselines]
    return same_members and combination_settings(found) == combination_settings(combination.config)


def is_evaluation(path: Path, config: EvaluateConfig, role: str, of: Path) -> bool:
    """Whether a folder holds an evaluation with these settings, or evaluations of several seeds.

    Args:
        path: the folder.
        config: settings.
        role: of a `run`, of a `combination`, or of a baseline on a `dataset`.
        of: the run or combination, or the folder of those of all seeds; or the dataset.
    """
    if not (path / MANIFEST).exists():
        seeds = [place for place in _folders(path) if place.name.startswith("seed-")]
        return bool(seeds) and all(is_evaluation(place, config, role, of / place.name) for place in seeds)
    entries, source = _entries(path), _entries(of)
    known = EvaluateConfig.__dataclass_fields__
    recorded = {key: value for key, value in entries.get("config", {}).items() if key in known}
    found = _settings(EvaluateConfig, recorded)
    fingerprint = source.get("fingerprint")
    if found is None or fingerprint is None or entries.get("inputs", {}).get(role) != fingerprint:
        return False
    searched = role != "dataset"
    return evaluation_settings(found, searched=searched) == evaluation_settings(config, searched=searched)


def _entries(path: Path) -> dict[str, Any]:
    """The manifest of a folder; empty if there is none that can be read."""
    try:
        found = read_json(path / MANIFEST)
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _settings(kind: type[_C], values: Mapping[str, Any]) -> _C | None:
    """Recorded settings; None if they are none of this version."""
    try:
        return from_mapping(kind, values, "recorded settings")
    except ConfigError:
        return None


def _folders(path: Path) -> Iterator[Path]:
    return (entry for entry in sorted(path.iterdir()) if entry.is_dir()) if path.is_dir() else iter(())
