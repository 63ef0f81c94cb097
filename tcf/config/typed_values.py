"""Conversion of values from Python, TOML or JSON to the types of their settings."""

import math
import os
import types
import typing
from numbers import Integral, Real
from typing import Any, Literal

from tcf.common.errors import ConfigError, did_you_mean, value_words

__all__ = ["typed"]

_KINDS: dict[Any, str] = {bool: "true or false", int: "a whole number", float: "a number", str: "a string"}
_PLURALS: dict[Any, str] = {str: "strings", int: "whole numbers", float: "numbers"}


def typed(value: Any, hint: Any, where: str) -> Any:
    """Convert a value to a setting's type, or refuse it.

    Whole numbers also work as floats, lists as tuples, a string as a list of one, paths as strings, and NumPy's numbers
    as Python's; a bool is not a number.

    Args:
        value: the value found.
        hint: the annotation of the setting: bool, int, float, str, a Literal of strings, a tuple of ints, floats or
            strings, or one of these or None.
        where: name of the setting in messages.

    Raises:
        ConfigError: the value has another type, or is not one of the Literal's.

    Example:
        >>> typed(1, float | None, "dropout"), typed([0, -1], tuple[int, ...], "layers")
        (1.0, (0, -1))
        >>> typed("part-*.csv", tuple[str, ...], "events")
        ('part-*.csv',)
        >>> typed("meen", Literal["mean", "first"], "pooling")
        Traceback (most recent call last):
        tcf.common.errors.ConfigError: pooling: expected one of mean, first, found 'meen'; did you mean mean?
    """
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is types.UnionType or origin is typing.Union:
        [inner] = (argument for argument in arguments if argument is not type(None))
        return None if value is None else typed(value, inner, where)
    if origin is Literal:
        return _one_of(value, arguments, where)
    if origin is tuple:
        return _tuple_of(value, arguments[0], where)
    return _scalar(value, hint, where)


def _one_of(value: Any, known: tuple[str, ...], where: str) -> str:
    if isinstance(value, str) and value in known:
        return known[known.index(value)]
    hint = did_you_mean(value, known) if isinstance(value, str) else ""
    raise ConfigError(f"{where}: expected one of {', '.join(known)}, found {_shown(value)}{hint}")


def _tuple_of(value: Any, kind: Any, where: str) -> tuple[Any, ...]:
    if kind is str and isinstance(value, str | os.PathLike):
        return (_scalar(value, kind, where),)
    expected = f"{where}: expected a list of {_PLURALS[kind]}"
    entries = value.tolist() if hasattr(value, "tolist") else value  # an array of NumPy
    if not isinstance(entries, list | tuple):
        raise ConfigError(f"{expected}, found {_shown(value)}")
    try:
        return tuple(_scalar(entry, kind, where) for entry in entries)
    except ConfigError:
        raise ConfigError(f"{expected}, found one with something else in it") from None


def _scalar(value: Any, kind: Any, where: str) -> Any:
    if isinstance(value, bool):
        if kind is bool:
            return value
    elif kind is int and isinstance(value, Integral):
        return int(value)
    elif kind is float and isinstance(value, Real):
        try:
            return float(value)
        except OverflowError:
            return math.inf
    elif kind is str and isinstance(value, str | os.PathLike):
        return str(os.fspath(value))
    raise ConfigError(f"{where}: expected {_KINDS[kind]}, found {_shown(value)}")


def _shown(value: Any) -> str:
    """Describe a value of the wrong type, for a message."""
    match value:
        case None | bool() | int() | float() | str():
            return value_words(value)
        case list() | tuple() if all(isinstance(entry, bool | int | float | str) for entry in value):
            return value_words(value)
        case list() | tuple():
            return "a list"
        case dict():
            return "a table"
        case _:
            return "something else"
