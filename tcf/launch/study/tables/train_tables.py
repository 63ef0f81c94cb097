"""The tables [train] and [[train.overrides]] of a study file: the settings of every training of the grid."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tcf.common.errors import ConfigError
from tcf.config.fields import from_mapping, from_value
from tcf.config.train import TrainConfig
from tcf.launch.file_terms import errors_in_file_terms, keys_of
from tcf.launch.study.tables.grid import Grid, Point, matches, read_match
from tcf.launch.study.tables.layers import unread_beside
from tcf.launch.study.tables.section import FileSection

__all__ = ["TrainTables", "read_train"]

_OF_GRID = {
    "seed": "set seeds in [grid]",
    "backbone": "set backbones in [grid]",
    "items": "set items in [grid]",
}
_NO_SETTINGS = ("dataset", "encoder", "layer", "pooling", "tuning")


@dataclass(frozen=True)
class TrainTables:
    """The settings of all trainings.

    Attributes:
        path: the file.
        shared: settings of all trainings.
        overrides: settings of those that match, later ones before earlier ones.
    """

    path: Path
    shared: Mapping[str, Any]
    overrides: tuple["_Override", ...]

    def config(self, point: Point, name: str) -> TrainConfig:
        """Return the settings of a point of the grid, without those that nothing reads beside the others.

        Args:
            point: the point.
            name: its name, for messages.

        Raises:
            ConfigError: they contradict one another.
        """
        values = self.values(point)
        unread = unread_beside(values, point.get("layer"))
        read = {key: value for key, value in values.items() if key not in unread and value is not None}
        with errors_in_file_terms(self.path, keys=keys_of(TrainConfig)):
            return from_mapping(TrainConfig, read, f"{self.path}: {name}")

    def check_used(self, points: Sequence[Point]) -> None:
        """Refuse what has no effect on any setting.

        Raises:
            ConfigError: an override matches nothing, or nothing reads a setting.
        """
        for number, override in enumerate(self.overrides, start=1):
            if not any(matches(override.when, point) for point in points):
                raise ConfigError(
                    f"{self.path}: [train.overrides {number}] when: expected one that matches a setting of the grid, "
                    "found one that matches none; correct or remove it"
                )
        given = {*self.shared, *(key for override in self.overrides for key in override.settings)}
        read = {key for point in points for key in self._read(point)}
        if unread := sorted(given - read):
            raise ConfigError(
                f"{self.path}: [train] {unread[0]}: expected a setting that a training of the grid reads, found one "
                "that none reads; remove it"
            )

    def _read(self, point: Point) -> set[str]:
        values = self.values(point)
        return values.keys() - unread_beside(values, point.get("layer"))

    def values(self, point: Point) -> dict[str, Any]:
        """Return all settings of a point of the grid, those that nothing reads as well."""
        own = {axis: value for axis, value in point.items() if axis not in _NO_SETTINGS}
        matching = (override.settings for override in self.overrides if matches(override.when, point))
        values = {**self.shared, **own}
        for settings in matching:
            values |= settings
        return values


@dataclass(frozen=True)
class _Override:
    """Settings for some of the trainings.

    Attributes:
        when: what these have on some axes.
        settings: their settings.
    """

    when: Mapping[str, tuple[Any, ...]]
    settings: Mapping[str, Any]


def read_train(section: FileSection, grid: Grid) -> TrainTables:
    """Read the tables.

    Args:
        section: the table [train].
        grid: the axes, which these tables must leave alone.

    Raises:
        ConfigError: a setting is unknown or of the wrong type, or is an axis.
    """
    entries = section.take("overrides", list) or []
    shared = _settings(section, grid)
    overrides = []
    for number, entry in enumerate(entries, start=1):
        own = FileSection(section.path, f"train.overrides {number}", entry)
        when = read_match(f"{own.where} when", own.take("when", dict), grid.axes)
        overrides.append(_Override(when, _settings(own, grid)))
    return TrainTables(section.path, shared, tuple(overrides))


def _settings(section: FileSection, grid: Grid) -> dict[str, Any]:
    axes = {axis: "it is an axis of [grid]; remove one of them" for axis in grid.axes if axis not in _OF_GRID}
    section.refuse({**_OF_GRID, **axes})
    given = section.others(TrainConfig, but=_OF_GRID)
    return {key: from_value(TrainConfig, key, value, section.where) for key, value in given.items()}
