"""Fields of the stages' settings, with a help text and a minimum, and conversion from and to TOML and JSON."""

import dataclasses
import inspect
import math
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import tomli_w

from tcf.common.errors import ConfigError, did_you_mean, os_error_words, value_words
from tcf.common.parsing import LARGEST_TOML, parse_toml
from tcf.config.sealed_toml import warn_if_changed
from tcf.config.typed_values import typed

__all__ = [
    "MAIN_OPTIONS",
    "CheckedSettings",
    "from_mapping",
    "from_value",
    "option",
    "option_name",
    "read_toml",
    "to_mapping",
    "typed_options",
    "write_toml",
]

MAIN_OPTIONS = "Main options"
"""Heading of the most important options, which come first in a command's help."""
_LARGEST = 2**63 - 1  # the largest number that generators, tensors and files can hold
_T = TypeVar("_T")
_C = TypeVar("_C")


def option(
    default: _T, help: str, *, group: str = "Options", minimum: float | None = None, metavar: str | None = None
) -> _T:
    """Return a dataclass field that the command line offers as an option.

    Args:
        default: the field's default.
        help: one or two sentences.
        group: heading under which the command's help lists it.
        minimum: smallest valid number; None for no limit.
        metavar: placeholder of the value in the help, if the type says too little.
    """
    metadata = {"help": help, "group": group, "minimum": minimum, "metavar": metavar}
    return dataclasses.field(default=default, metadata=metadata)


def option_name(field: str) -> str:
    """Return the command-line option of a setting.

    Example:
        >>> option_name("batch_size")
        '--batch-size'
    """
    return "--" + field.replace("_", "-")


class CheckedSettings:
    """Refuses values of the wrong type, unknown choices and numbers out of range; the stages' dataclasses inherit it.

    A value that also works, such as a list for a tuple, is converted to the field's type.
    """

    def __init_subclass__(cls) -> None:
        """Add the help texts of the settings to the class's docstring, for `help` and the API reference."""
        entries = {name: value for name, value in vars(cls).items() if isinstance(value, dataclasses.Field)}
        lines = [f"    {name}: {entry.metadata['help']}" for name, entry in entries.items()]
        cls.__doc__ = "\n".join([inspect.cleandoc(cls.__doc__ or ""), "", "Attributes:", *lines])

    def __post_init__(self) -> None:
        for entry in _fields(self):
            name, given = option_name(entry.name), getattr(self, entry.name)
            value = typed(given, entry.type, name)
            if value is not given:
                object.__setattr__(self, entry.name, value)
            _check_range(value, entry.metadata.get("minimum"), name)

    def __repr__(self) -> str:
        """The settings that differ from their defaults, as Python code."""
        given = ((entry, getattr(self, entry.name)) for entry in _fields(self))
        shown = ", ".join(f"{entry.name}={value!r}" for entry, value in given if value != entry.default)
        return f"{type(self).__name__}({shown})"


def _fields(settings: object) -> "tuple[dataclasses.Field[Any], ...]":
    return dataclasses.fields(typing.cast(Any, settings))


def _check_range(value: Any, minimum: float | None, name: str) -> None:
    if minimum is not None and isinstance(value, int | float) and not value >= minimum:
        raise ConfigError(f"{name}: expected at least {minimum}, found {_number(value)}")
    if isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f"{name}: expected a finite number, found {value}")
    if isinstance(value, int) and value > _LARGEST:
        raise ConfigError(f"{name}: expected at most {_LARGEST}, found {_number(value)}")


def _number(value: float) -> str:
    return value_words(value) if isinstance(value, int) else str(value)


def read_toml(path: Path, *, sealed: bool = False) -> dict[str, Any]:
    """Read a TOML file.

    Args:
        path: the file.
        sealed: whether to log a warning if tcf wrote it and it has changed since.

    Raises:
        ConfigError: the file is missing, unreadable or not valid TOML.
    """
    try:
        with path.open("rb") as stream:  # which may be a pipe
            content = stream.read(LARGEST_TOML + 1)
        values = parse_toml(content)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({os_error_words(error)}); name an existing TOML file") from None
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{path}: expected text in UTF-8, found another encoding at byte {error.start}; fix the file"
        ) from None
    except ValueError as error:
        raise ConfigError(f"{path}: expected valid TOML, found an error ({error}); fix the file") from None
    if sealed:
        warn_if_changed(path, content)
    return values


def write_toml(values: Mapping[str, Any]) -> bytes:
    """Return the content of a TOML file with these values, without those that are None."""
    return tomli_w.dumps({key: value for key, value in values.items() if value is not None}).encode()


def to_mapping(config: Any) -> dict[str, Any]:
    """Return a stage's settings as JSON and TOML values, without those that are None."""
    values = dataclasses.asdict(config)
    return {k: list(v) if isinstance(v, tuple) else v for k, v in values.items() if v is not None}


def typed_options(config: Any) -> list[str]:
    """Return the settings that differ from their defaults as a user would type them on the command line.

    Example:
        >>> import tcf
        >>> typed_options(tcf.ExtractConfig(layers=(0, -1), compile=True, devices="cpu"))
        ['--layers=0,-1', '--compile', '--devices=cpu']
    """
    options: list[str] = []
    for entry in _fields(config):
        name, value = option_name(entry.name), getattr(config, entry.name)
        match value:
            case _ if value == entry.default or value is None:
                continue
            case bool():
                options.append(name if value else f"--no-{name[2:]}")
            case tuple() if all(isinstance(part, int | float) for part in value):
                options.append(f"{name}={','.join(map(str, value))}")
            case tuple():
                options += [f"{name}={part}" for part in value]
            case _:
                options.append(f"{name}={value}")
    return options


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
    hints = {entry.name: entry.type for entry in dataclasses.fields(kind)}
    if key not in hints:
        hint = did_you_mean(key, [*hints]) or f" (known: {', '.join(hints)})"
        raise ConfigError(f"{where}: unknown setting {key}{hint}")
    return typed(value, hints[key], f"{where}: {key}")
