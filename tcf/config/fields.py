"""Fields of the stages' settings, with a help text and a minimum, and conversion from and to TOML and JSON."""

import dataclasses
import math
import tomllib
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

import tomli_w

from tcf.common.errors import ConfigError, did_you_mean, os_error_words

__all__ = [
    "CheckedSettings",
    "from_mapping",
    "from_value",
    "option",
    "option_name",
    "read_toml",
    "to_mapping",
    "write_toml",
]

_LARGEST = 2**63 - 1  # what generators, tensors and files can hold
_PLURALS = {str: "strings", int: "whole numbers"}
_T = TypeVar("_T")
_C = TypeVar("_C")


def option(default: _T, help: str, *, minimum: float | None = None) -> _T:
    """Return a dataclass field with its help text and, for numbers, the smallest valid value."""
    return dataclasses.field(default=default, metadata={"help": help, "minimum": minimum})


def option_name(field: str) -> str:
    """Return the command-line option of a setting.

    Example:
        >>> option_name("batch_size")
        '--batch-size'
    """
    return "--" + field.replace("_", "-")


class CheckedSettings:
    """Refuses values out of range; to be inherited by the stages' dataclasses."""

    def __post_init__(self) -> None:
        for entry in dataclasses.fields(typing.cast(Any, self)):
            minimum, value = entry.metadata.get("minimum"), getattr(self, entry.name)
            if minimum is not None and value is not None and not value >= minimum:
                raise ConfigError(f"{option_name(entry.name)}: expected at least {minimum}, found {value}")
            if isinstance(value, float) and not math.isfinite(value):
                raise ConfigError(f"{option_name(entry.name)}: expected a finite number, found {value}")
            if isinstance(value, int) and value > _LARGEST:
                raise ConfigError(f"{option_name(entry.name)}: expected at most {_LARGEST}, found {value}")


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file.

    Raises:
        ConfigError: the file is missing, unreadable or not valid TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({os_error_words(error)}); name an existing TOML file") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: expected text in UTF-8, found another encoding at byte {error.start}") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: expected valid TOML, found an error ({error}); fix the file") from None


def write_toml(values: Mapping[str, Any]) -> bytes:
    """Return the content of a TOML file with these values; None is left out."""
    return tomli_w.dumps({key: value for key, value in values.items() if value is not None}).encode()


def to_mapping(config: Any) -> dict[str, Any]:
    """Return a stage's settings as JSON and TOML values; None is left out."""
    values = dataclasses.asdict(config)
    return {k: list(v) if isinstance(v, tuple) else v for k, v in values.items() if v is not None}


def from_mapping(kind: type[_C], values: Mapping[str, Any], where: str) -> _C:
    """Build a stage's settings from a mapping, refusing unknown keys and wrong types.

    Args:
        kind: one of the settings classes of `tcf.config`.
        values: settings by field name; fields left out take their defaults.
        where: file and table, for messages.

    Raises:
        ConfigError: a key is unknown, or a value has the wrong type or range.
    """
    checked = {key: from_value(kind, key, value, where) for key, value in values.items()}
    try:
        return kind(**checked)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None


def from_value(kind: type[Any], key: str, value: Any, where: str) -> Any:
    """Convert one setting to the type of its field; the range is not checked.

    Args:
        kind: one of the settings classes of `tcf.config`.
        key: name of the setting.
        value: a TOML value.
        where: file and table, for messages.

    Raises:
        ConfigError: the key is unknown, or the value has the wrong type.
    """
    names = [entry.name for entry in dataclasses.fields(kind)]
    if key not in names:
        hint = did_you_mean(key, names)
        raise ConfigError(f"{where}: unknown setting {key}{hint} (known: {', '.join(names)})")
    return _typed(value, typing.get_type_hints(kind)[key], f"{where}: {key}")


def _typed(value: Any, hint: Any, where: str) -> Any:
    """The value as the hinted type; TOML's integers serve as floats and its arrays as tuples."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        if value in arguments:
            return value
        raise ConfigError(f"{where}: expected one of {', '.join(arguments)}, found {value!r}")
    if origin is types.UnionType or origin is typing.Union:
        (inner,) = (a for a in arguments if a is not type(None))
        return _typed(value, inner, where)
    if origin is tuple:
        if isinstance(value, list | tuple) and all(type(v) is arguments[0] for v in value):
            return tuple(value)
        raise ConfigError(f"{where}: expected a list of {_PLURALS[arguments[0]]}, found {value!r}")
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, hint) and not (isinstance(value, bool) and hint is not bool):
        return value
    raise ConfigError(f"{where}: expected {hint.__name__}, found {value!r}")
