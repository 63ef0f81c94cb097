"""The table [grid] of a study file: its axes, and its points, each a setting that is trained with every seed."""

import itertools
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tcf.common.errors import ConfigError, value_words
from tcf.config.extract import ExtractConfig
from tcf.config.fields import from_value
from tcf.config.train import TrainConfig
from tcf.launch.study.tables.layers import read_layers, together, unread_beside
from tcf.launch.study.tables.section import FileSection, known_words

__all__ = ["Grid", "Point", "matches", "read_grid", "read_match"]

Point = Mapping[str, Any]
"""A setting's value on each axis that means something for it, by the axis's name."""

_OF_TEXTS = ("encoder", "layer", "pooling", "tuning")
_POOLINGS = typing.get_args(typing.get_type_hints(ExtractConfig)["pooling"])
_BACKBONES = typing.get_args(typing.get_type_hints(TrainConfig)["backbone"])
_ITEMS = typing.get_args(typing.get_type_hints(TrainConfig)["items"])
_ELSEWHERE = {
    "seed": "set seeds",
    "backbone": "set backbones",
    "dataset": "set datasets",
    "encoder": "set encoders",
    "layer": "set layers",
    "devices": "set it in [train]",
    "save_minutes": "set it in [train]",
    "verify": "set it in [train]",
}


@dataclass(frozen=True)
class Grid:
    """The axes of a study, and what is left out.

    Attributes:
        where: file and table, for messages.
        axes: the values on each axis, by its name: dataset, encoder, layer, pooling, tuning, backbone, items, and any
            further settings of a training.
        seeds: the seeds that every setting is trained with.
        exclude: settings that are left out: those that have all values of one of these.
    """

    where: str
    axes: Mapping[str, tuple[Any, ...]]
    seeds: tuple[int, ...]
    exclude: tuple[Mapping[str, tuple[Any, ...]], ...]

    def points(self, settings: Callable[[Point], Mapping[str, Any]]) -> list[Point]:
        """Return the settings, each once: an axis that means nothing for some of them does not multiply these.

        Args:
            settings: gives the settings of a point's training, which decide what means something.

        Raises:
            ConfigError: nothing is left, or an entry of `exclude` leaves nothing out.
        """
        every = [dict(zip(self.axes, values, strict=True)) for values in itertools.product(*self.axes.values())]
        different = {tuple(point.items()): point for point in (_meaningful(point, settings) for point in every)}
        points = [*different.values()]
        for entry in self.exclude:
            if not any(matches(entry, point) for point in points):
                raise ConfigError(
                    f"{self.where} exclude: expected an entry that matches a setting, found {_entry_words(entry)}, "
                    "which matches none; correct or remove it"
                )
        kept = [point for point in points if not any(matches(entry, point) for entry in self.exclude)]
        if not kept:
            raise ConfigError(f"{self.where} exclude: expected a setting to be left, found that all are left out")
        return kept

    def has_choice(self, axis: str) -> bool:
        """Whether an axis has more than one value."""
        return len(self.axes[axis]) > 1


def matches(entry: Mapping[str, tuple[Any, ...]], point: Point) -> bool:
    """Return whether a setting has, on each axis of an entry, one of the entry's values."""
    return all(axis in point and point[axis] in values for axis, values in entry.items())


def read_grid(section: FileSection, datasets: Sequence[str], encoders: Sequence[str]) -> Grid:
    """Read the table.

    Args:
        section: the table.
        datasets: names of the datasets of the file.
        encoders: names of its encoders.

    Raises:
        ConfigError: an axis or a value is unknown, or a value is there twice.
    """
    items = _known(section, "items", _ITEMS, ("text",) if encoders or "encoders" in section.values else ("id",))
    axes: dict[str, tuple[Any, ...]] = {
        "dataset": _known(section, "datasets", datasets, tuple(datasets)),
        "backbone": _known(section, "backbones", _BACKBONES, ("sasrec",)),
        "items": items,
        "encoder": _encoders(section, encoders, needed=any(value != "id" for value in items)),
        "layer": read_layers(section),
        "pooling": _known(section, "pooling", _POOLINGS, ("auto",)),
        "tuning": _tuning(section),
    }
    seeds = section.whole_numbers("seeds") or (0,)
    entries = section.take("exclude", list) or []
    section.refuse({key: f"{reason} instead" for key, reason in _ELSEWHERE.items()})
    for key in section.others(TrainConfig, but=("backbone", "items", *_ELSEWHERE)):
        axes[key] = tuple(_setting(section, key, value) for value in section.different(key) or ())
    exclude = tuple(read_match(f"{section.where} exclude", entry, axes) for entry in entries)
    return Grid(section.where, axes, seeds, exclude)


def read_match(where: str, entry: Any, axes: Mapping[str, tuple[Any, ...]]) -> Mapping[str, tuple[Any, ...]]:
    """Return what a setting must have to be matched: some of the values of some axes.

    Args:
        where: file and table, for messages.
        entry: a value, or a list of several, by the name of an axis.
        axes: all axes.

    Raises:
        ConfigError: it is no table, is empty, or has an unknown axis.
    """
    if not isinstance(entry, dict) or not entry:
        raise ConfigError(f'{where}: expected tables such as {{ items = "id" }}, found {value_words(entry)}')
    for axis in entry:
        if axis not in axes:
            raise ConfigError(f"{where}: unknown axis {axis}{known_words(axis, [*axes])}")
    given = {axis: value if isinstance(value, list) else [value] for axis, value in entry.items()}
    if "layer" in given:
        given["layer"] = [together(value) for value in given["layer"]]
    # Axes say "none" of an optional setting that is left out.
    return {
        axis: tuple(None if value == "none" and None in axes[axis] else value for value in values)
        for axis, values in given.items()
    }


def _meaningful(point: Point, settings: Callable[[Point], Mapping[str, Any]]) -> Point:
    """Leave out what means nothing: encoders of a run on ids that do not start from text, and what nothing reads."""
    reads_vectors = point["items"] != "id" or settings(point).get("id_init") == "text"
    read = point if reads_vectors else {axis: value for axis, value in point.items() if axis not in _OF_TEXTS}
    unread = unread_beside(settings(read), read.get("layer"))
    return {axis: value for axis, value in read.items() if axis not in unread}


def _known(section: FileSection, key: str, known: Sequence[str], default: tuple[str, ...]) -> tuple[str, ...]:
    """Return an axis whose values are known."""
    values = section.different(key)
    for value in values or ():
        if value not in known:
            hint = known_words(str(value), known)
            raise ConfigError(f"{section.where} {key}: unknown value {value_words(value)}{hint}")
    return default if values is None else values


def _encoders(section: FileSection, known: Sequence[str], *, needed: bool) -> tuple[str, ...]:
    values = section.different("encoders") or tuple(known)
    if needed and not values:
        raise ConfigError(
            f"{section.where} encoders: expected one or more, since some items are texts, found none; set encoders = "
            '["minilm"], or items = ["id"]'
        )
    for value in values:
        if not isinstance(value, str) or not value:
            raise ConfigError(f"{section.where} encoders: expected names, found {value_words(value)}; correct it")
    return values or ("",)


def _tuning(section: FileSection) -> tuple[str, ...]:
    values = section.different("tuning") or ("frozen",)
    for value in values:
        if value != "frozen":
            raise ConfigError(
                f'{section.where} tuning: expected ["frozen"], since encoders cannot be tuned yet, found '
                f"{value_words(value)}; remove it"
            )
    return values


def _setting(section: FileSection, key: str, value: Any) -> Any:
    """Return a value of a setting of trainings; None for "none", which leaves an optional setting out."""
    if value == "none" and TrainConfig.__dataclass_fields__[key].default is None:
        return None
    return from_value(TrainConfig, key, value, section.where)


def _entry_words(entry: Mapping[str, tuple[Any, ...]]) -> str:
    shown = {axis: values[0] if len(values) == 1 else list(values) for axis, values in entry.items()}
    return "{ " + ", ".join(f"{axis} = {value_words(value)}" for axis, value in shown.items()) + " }"
