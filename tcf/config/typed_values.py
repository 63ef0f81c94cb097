"""Conversion of values from Python, TOML or JSON to the types of their settings."""

import math
import os
import types
import typing
from numbers import Integral, Real
from typing import Any, Literal

from tcf.common.errors import ConfigError, did_you_mean, value_words

__all__ = ["number_and_words", "typed"]

_KINDS: dict[Any, str] = {bool: "true or false", int: "a whole number", float: "a number", str: "a string"}
_PLURALS: dict[Any, str] = {str: "strings", int: "whole numbers", float: "numbers"}


def typed(value: Any, hint: Any, where: str) -> Any:
    """Convert a value to a setting's type, or refuse it.

    Whole numbers also work as floats, lists as tuples, a string as a list of one, paths as strings, and NumPy's numbers
    as Python's; a bool is not a number.

    Args:
        value: the value found.
        hint: the annotation of the setting: bool, int, float, str, a Literal of strings, a tuple of ints, floats or
            strings, a number or a Literal of strings, or one of these or None.
        where: name of the setting in messages.

    Raises:
        ConfigError: the value has another type, or is not one of the Literal's.

    Example:
        >>> typed(1, float | None, "dropout"), typed([0, -1], tuple[int, ...], "layers")
        (1.0, (0, -1))
        >>> typed("part-*.csv", tuple[str, ...], "events")
        ('part-*.csv',)
        >>> typed("full", int | Literal["full"] | None, "whiten")
        'full'
        >>> typed("meen", Literal["mean", "first"], "pooling")
        Traceback (most recent call last):
        tcf.common.errors.ConfigError: pooling: expected one of mean, first, found 'meen'; did you mean mean?
    """
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is types.UnionType or origin is typing.Union:
        kinds = tuple(argument for argument in arguments if argument is not type(None))
        if value is None and len(kinds) < len(arguments):
            return None
        return typed(value, kinds[0], where) if len(kinds) == 1 else _number_or_word(value, kinds, where)
    if origin is Literal:
        return _one_of(value, arguments, where)
    if origin is tuple:
        return _tuple_of(value, arguments[0], where)
    return _scalar(value, hint, where)


def number_and_words(hint: Any) -> tuple[Any, tuple[str, ...]]:
    """Return what kind of number a setting takes, and the words that it takes instead of one.

    Args:
        hint: the annotation of the setting, or the alternatives in it.

    Returns:
        int or float, or None if it takes no number; and the words, without those of a setting that takes no number.

    Example:
        >>> number_and_words(int | Literal["full"] | None), number_and_words(str | None)
        ((<class 'int'>, ('full',)), (None, ()))
    """
    parts = hint if isinstance(hint, tuple) else (typing.get_args(hint) or (hint,))
    numbers = [part for part in parts if part in (int, float)]
    if not numbers or typing.get_origin(hint) is tuple:
        return None, ()
    words = (part for part in parts if typing.get_origin(part) is Literal)
    return numbers[0], tuple(word for part in words for word in typing.get_args(part))


def _one_of(value: Any, known: tuple[str, ...], where: str) -> str:
    if isinstance(value, str) and value in known:
        return known[known.index(value)]
    hint = did_you_mean(value, known) if isinstance(value, str) else ""
    raise ConfigError(f"{where}: expected one of {', '.join(known)}, found {_shown(value)}{hint}")


def _number_or_word(value: Any, kinds: tuple[Any, ...], where: str) -> Any:
    """Convert to a number, or to one of the words that are also allowed."""
    kind, words = number_and_words(kinds)
    if isinstance(value, str) and value in words:
        return words[words.index(value)]
    try:
        return _scalar(value, kind, where)
    except ConfigError:
        hint = did_you_mean(value, words) if isinstance(value, str) else ""
        expected = f"{_KINDS[kind]} or {' or '.join(words)}"
        raise ConfigError(f"{where}: expected {expected}, found {_shown(value)}{hint}") from None


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
