"""Arguments of public functions: paths as strings, paths or opened results, one or several, and settings."""

import os
from collections.abc import Iterable, Mapping, Sequence, Set
from pathlib import Path
from typing import TypeAlias, TypeVar

from tcf.common.errors import ConfigError
from tcf.config.typed_values import typed
from tcf.data.cache.caches import VectorCache
from tcf.data.dataset import Dataset

__all__ = ["CachePaths", "DataPath", "PathLike", "VectorsPath", "as_path", "as_paths", "at_least", "checked_config"]

PathLike: TypeAlias = str | os.PathLike[str]
DataPath: TypeAlias = PathLike | Dataset
CachePaths: TypeAlias = PathLike | VectorCache | Sequence[PathLike | VectorCache]
VectorsPath: TypeAlias = PathLike | VectorCache
_C = TypeVar("_C")


def as_path(value: object, name: str) -> Path:
    """Return the path that an argument names, with `~` expanded.

    Args:
        value: a string, a path, an opened result, or an extraction into one cache.
        name: the argument's name, for messages.

    Raises:
        ConfigError: the argument names no path, or several.
    """
    if isinstance(value, str | os.PathLike):
        if value == "":
            raise ConfigError(f"{name}: expected a path, found an empty string")
        if "\0" in os.fspath(value):
            raise ConfigError(f"{name}: expected a path, found one with a NUL character: {os.fspath(value)!r}")
        return _expanded(Path(value), name)
    caches = getattr(value, "caches", (getattr(value, "path", None),))
    if len(caches) != 1:
        known = ", ".join(map(str, caches))
        raise ConfigError(f"{name}: expected one cache, found {len(caches)} ({known}); name one of them")
    if not isinstance(caches[0], Path):
        raise ConfigError(f"{name}: expected a path as a string or pathlib.Path, found {type(value).__name__}")
    return caches[0]


def as_paths(values: object, name: str) -> tuple[Path, ...]:
    """Return the paths that an argument names; anything but a sequence is one path.

    Args:
        values: a value for `as_path`, an extraction into any number of caches, or a sequence of these.
        name: the argument's name, for messages.

    Raises:
        ConfigError: a value names no path.
    """
    is_one = isinstance(values, str | os.PathLike | Mapping | Set)  # of which the last two are none
    if is_one or hasattr(values, "path") or not isinstance(values, Iterable):
        return tuple(getattr(values, "caches", ())) or (as_path(values, name),)
    return tuple(path for number, value in enumerate(values) for path in as_paths(value, f"{name}[{number}]"))


def at_least(minimum: int, value: object, name: str) -> int:
    """Return a whole number, after checking it.

    Raises:
        ConfigError: it is something else, or less than `minimum`.
    """
    number: int = typed(value, int, name)
    if number < minimum:
        raise ConfigError(f"{name}: expected at least {minimum}, found {number}")
    return number


def checked_config(config: object, kind: type[_C]) -> _C:
    """Return the settings, after checking their class.

    Raises:
        ConfigError: they are of another class.
    """
    if isinstance(config, kind):
        return config
    raise ConfigError(f"config: expected tcf.{kind.__name__}(...), found {type(config).__name__}")


def _expanded(path: Path, name: str) -> Path:
    try:
        return path.expanduser()
    except RuntimeError:
        raise ConfigError(f"{name}: expected a path whose ~ is the home of a known user, found {path}") from None
