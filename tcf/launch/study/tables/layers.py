"""Layers of an encoder as an axis of the grid: one, or several that a setting reads together, such as `2+4+6`."""

from collections.abc import Mapping
from typing import Any

from tcf.common.errors import ConfigError, value_words
from tcf.config.train import unread_settings
from tcf.launch.study.tables.section import FileSection

__all__ = ["Layer", "layers_of", "read_layers", "together", "unread_beside"]

Layer = int | str
"""A layer; or several that are read together, joined by `+`, which is what names and tables call them."""


def together(value: Any) -> Any:
    """Return a list of layers as one value of the axis, and any other value as it is.

    Example:
        >>> together([2, 4, -1]), together(6)
        ('2+4+-1', 6)
    """
    return "+".join(map(str, value)) if isinstance(value, list) else value


def layers_of(layer: Layer) -> tuple[int, ...]:
    """Return the layers of a value of the axis.

    Example:
        >>> layers_of("2+4+-1"), layers_of(6)
        ((2, 4, -1), (6,))
    """
    return tuple(map(int, layer.split("+"))) if isinstance(layer, str) else (layer,)


def read_layers(section: FileSection) -> tuple[Layer, ...]:
    """Read the axis: whole numbers, and lists of some that are read together.

    Raises:
        ConfigError: a value is something else, or is there twice.
    """
    values = section.take("layers", list)
    if values is None:
        return (-1,)
    found = tuple(_layer(section, value) for value in values)
    if not found:
        raise ConfigError(f"{section.where} layers: expected a value or more, found none; leave layers out")
    for place, value in enumerate(found):
        if value in found[:place]:
            raise ConfigError(f"{section.where} layers: expected different values, found {value} twice; fix it")
    return found


def _layer(section: FileSection, value: Any) -> Layer:
    parts = value if isinstance(value, list) else [value]
    if not all(isinstance(part, int) and not isinstance(part, bool) for part in parts):
        raise ConfigError(
            f"{section.where} layers: expected whole numbers, or lists of layers that are read together, such as "
            f"[6, [2, 4, 6]], found {value_words(value)}; correct it"
        )
    if isinstance(value, list) and (len(value) < 2 or len({*value}) < len(value)):
        raise ConfigError(
            f"{section.where} layers: expected two or more different layers in a list of those that are read together, "
            f"found {value_words(value)}; correct it"
        )
    found: Layer = together(value)
    return found


def unread_beside(values: Mapping[str, Any], layer: Layer | None) -> frozenset[str]:
    """Return the settings that nothing reads beside the others; that of mixing layers beside a single one as well.

    Args:
        values: settings of a training, by name.
        layer: what it reads; None if it reads no text.
    """
    several = layer is not None and len(layers_of(layer)) > 1
    alone = set() if several else {"mix"} & values.keys()
    return unread_settings({name: value for name, value in values.items() if name not in alone}) | alone
