"""The search file: inputs and output, how to search, which settings are fixed and which are searched."""

import dataclasses
import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tcf.common.errors import ConfigError, did_you_mean, value_words
from tcf.config.fields import CheckedSettings, from_mapping, from_value, option, read_toml
from tcf.config.toml_files import SEARCH_FILE, check_kind, user_path
from tcf.config.train import TrainConfig, unread_settings
from tcf.launch.file_terms import errors_in_file_terms, keys_of, settings_from
from tcf.launch.search.space import Choices, Range, combinations, neighbours, read_space

__all__ = ["SearchConfig", "SearchFile", "read_search"]

_TABLES = ("search", "train", "space")
_MAX_TRIED = 2000  # combinations checked in search of one that can be trained
_MAX_GRID = 100_000
_DEFAULTS = {entry.name: entry.default for entry in dataclasses.fields(TrainConfig)}


@dataclass(frozen=True, repr=False)
class SearchConfig(CheckedSettings):
    """Settings of the search itself."""

    trials: int = option(50, "Total number of trials, those of earlier runs included.", minimum=1)
    workers: int = option(1, "Processes that train at the same time; each gets its share of the threads.", minimum=1)
    devices: tuple[str, ...] = option(
        (), "A device for each worker, reused in turn if there are more workers; that of [train] if empty."
    )
    seed: int = option(0, "Seed of the sampler.", minimum=0)
    sampler: Literal["tpe", "random", "grid"] = option(
        "tpe",
        "How settings are chosen: tpe learns from ended trials, random does not, grid takes each combination once.",
    )
    random_trials: int = option(10, "Random trials before tpe starts to learn.", minimum=1)
    pruning: Literal["median", "none"] = option(
        "median", "median: stop a trial whose best epoch so far is below the median of the others at the same epoch."
    )
    pruning_trials: int = option(5, "Trials that must have been trained to completion before any is pruned.", minimum=1)
    pruning_epochs: int = option(5, "First epochs of a trial, in which it is not pruned.", minimum=0)


@dataclass(frozen=True)
class _Paths:
    """The entries above the tables."""

    out: str = ""
    data: str = ""
    cache: tuple[str, ...] = ()


@dataclass(frozen=True)
class SearchFile:
    """The content of a search file.

    Attributes:
        path: the file.
        out: folder of the search.
        data: a dataset directory.
        caches: vector caches for items as text, whose vectors are concatenated; or the one that ids start from.
        config: settings of the search itself.
        fixed: settings that all trials share.
        space: ranges of the searched settings, by name.
    """

    path: Path
    out: Path
    data: Path
    caches: tuple[Path, ...]
    config: SearchConfig
    fixed: Mapping[str, Any]
    space: Mapping[str, Range]

    def settings(self, params: Mapping[str, Any]) -> TrainConfig:
        """A trial's settings: those that something reads beside the others, such as whitening beside texts.

        Args:
            params: the trial's parameters, by name.

        Raises:
            ConfigError: they contradict one another.
        """
        values = self._values(params)
        unread = self._unread(values)
        read = {key: value for key, value in values.items() if key not in unread}
        with errors_in_file_terms(self.path, keys=keys_of(TrainConfig)):
            return from_mapping(TrainConfig, read, f"{self.path}: a trial")

    def read(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """A trial's parameters without those that nothing reads beside the others: trials that share these are equal.

        Args:
            params: the trial's parameters, by name.
        """
        unread = self._unread(self._values(params))
        return {key: value for key, value in params.items() if key not in unread}

    def settings_read(self, params: Mapping[str, Any]) -> frozenset[str]:
        """Names of a trial's settings, fixed ones too, that something reads beside the others."""
        values = self._values(params)
        return frozenset(values.keys() - self._unread(values))

    def _values(self, params: Mapping[str, Any]) -> dict[str, Any]:
        return {**self.fixed, **{key: value for key, value in params.items() if value is not None}}

    def _unread(self, values: Mapping[str, Any]) -> frozenset[str]:
        alone = {"mix"} & values.keys() if len(self.caches) < 2 else set()
        return unread_settings({key: value for key, value in values.items() if key not in alone}) | alone

    @property
    def monitor(self) -> str:
        """The validation metric that the search maximises, and by which each trial chooses its best epoch."""
        return str(self.fixed.get("monitor", TrainConfig.monitor))

    def caches_for(self, config: TrainConfig) -> tuple[Path, ...]:
        """The caches that a trial reads."""
        return self.caches if config.needs_cache else ()

    @property
    def n_trials(self) -> int:
        """Total number of trials; for a grid, at most the number of combinations."""
        if self.config.sampler != "grid":
            return self.config.trials
        return min(self.config.trials, sum(1 for _ in combinations(self.space)))


def read_search(path: Path) -> SearchFile:
    """Read a search file.

    Raises:
        ConfigError: the file is not TOML, a setting is unknown or of the wrong type, a required one is missing, or no
            combination of settings can be trained.
    """
    values = read_toml(path)
    check_kind(values, SEARCH_FILE, path)
    tables = {name: _table(values, name, path) for name in _TABLES}
    paths = _paths({key: value for key, value in values.items() if key not in _TABLES}, path)
    fixed = tables["train"]
    _refuse_refit(tables, path)
    search = SearchFile(
        path=path,
        out=user_path(paths.out),
        data=user_path(paths.data),
        caches=tuple(map(user_path, paths.cache)),
        config=settings_from(SearchConfig, tables["search"], path, "search"),
        fixed={key: from_value(TrainConfig, key, value, f"{path}: [train]") for key, value in fixed.items()},
        space=read_space(tables["space"], fixed, f"{path}: [space]"),
    )
    _check_grid(search)
    _check_devices(search)
    _check_caches(search)
    _check_settings(search)
    return search


def _table(values: Mapping[str, Any], name: str, path: Path) -> dict[str, Any]:
    table = values.get(name, {})
    if not isinstance(table, dict):
        raise ConfigError(f"{path}: [{name}] expected a table, found {value_words(table)}")
    return table


def _paths(values: dict[str, Any], path: Path) -> _Paths:
    cache = values.get("cache", [])
    unknown = sorted(set(values) - {"out", "data", "cache"})
    if unknown:
        known = ", ".join(("out", "data", "cache", *(f"[{name}]" for name in _TABLES)))
        hint = did_you_mean(unknown[0], ["out", "data", "cache", *_TABLES]) or f" (known: {known})"
        raise ConfigError(f"{path}: unknown entry {unknown[0]}{hint}")
    paths = from_mapping(_Paths, {**values, "cache": [cache] if isinstance(cache, str) else cache}, f"{path}")
    for name in ("out", "data"):
        if not getattr(paths, name):
            raise ConfigError(f'{path}: expected {name} = "FOLDER" above the tables, found none; add it')
    return paths


def _refuse_refit(tables: Mapping[str, Mapping[str, Any]], path: Path) -> None:
    """Refuse trials that would be trained on the targets that they are compared by."""
    for name in ("train", "space"):
        if "refit" in tables[name]:
            raise ConfigError(
                f"{path}: [{name}] refit: expected no such setting, since trials are compared by validation, on whose "
                "targets a refit is trained; remove it, and add --refit to `tcf train --config best.toml`"
            )


def _check_grid(search: SearchFile) -> None:
    if search.config.sampler != "grid":
        return
    for key, span in search.space.items():
        if not isinstance(span, Choices):
            raise ConfigError(
                f"{search.path}: [space] {key}: expected a list of values for a grid, found a range; list some values"
            )
    size = sum(1 for _ in itertools.islice(combinations(search.space), _MAX_GRID + 1))
    if size > _MAX_GRID:
        raise ConfigError(
            f"{search.path}: [space] expected at most {_MAX_GRID} combinations for a grid, found more; list fewer "
            'values, or set sampler = "tpe"'
        )


def _check_devices(search: SearchFile) -> None:
    for device in (*search.config.devices, str(search.fixed.get("devices", ""))):
        if "," in device:
            raise ConfigError(
                f"{search.path}: expected one device for each trial, found {value_words(device)}; list several "
                "as [search] devices, and set as many workers"
            )


def _check_caches(search: SearchFile) -> None:
    kinds, starts = _values(search, "items"), _values(search, "id_init")
    if (kinds != ("id",) or "text" in starts) and not search.caches:
        read = "for items as text" if kinds != ("id",) else "for ids to start from"
        raise ConfigError(f'{search.path}: expected cache = "FOLDER" {read}, found none; add it above the tables')
    if "text" in starts and len(search.caches) > 1:
        found = ", ".join(map(str, search.caches))
        raise ConfigError(f"{search.path}: expected one cache for ids to start from, found {found}; keep one")
    if kinds == ("id",) and "text" not in starts and search.caches:
        raise ConfigError(
            f"{search.path}: expected no cache, because ids need none, found {search.caches[0]}; remove it"
        )


def _values(search: SearchFile, name: str) -> tuple[Any, ...]:
    """All values of a setting that is no number, in the space or fixed."""
    span = search.space.get(name)
    default = TrainConfig.__dataclass_fields__[name].default
    return span.values if isinstance(span, Choices) else (search.fixed.get(name, default),)


def _check_settings(search: SearchFile) -> None:
    """Refuse a search in which no combination of choices and limits of ranges can be trained, or a setting is idle."""
    _check_read(search)
    refusal: ConfigError | None = None
    for params in itertools.islice(combinations(search.space, ends=True), _MAX_TRIED):
        try:
            search.settings(params)
        except ConfigError as error:
            refusal = refusal or error
        else:
            return
    if refusal is not None:
        raise refusal


def _check_read(search: SearchFile) -> None:
    """Refuse a setting that no trial reads, unless it says no more than the default."""
    idle = {*search.space, *(key for key, value in search.fixed.items() if value != _DEFAULTS[key])}
    for params in neighbours(search.space):
        idle -= search.settings_read(params)
        if not idle:
            return
    key = min(idle)
    table = "space" if key in search.space else "train"
    raise ConfigError(
        f"{search.path}: [{table}] {key}: expected a setting that a trial reads, found one that none reads beside the "
        "others; remove it, or the setting that leaves it without effect"
    )
