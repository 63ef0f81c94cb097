"""Errors of a stage in terms of the file that it was started from, which has keys where a command has options."""

import dataclasses
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from tcf.common.errors import TcfError
from tcf.config.fields import from_mapping

__all__ = ["errors_in_file_terms", "in_file_terms", "keys_of", "settings_from"]

_C = TypeVar("_C")

_OPTION = re.compile(r"(?<![\w-])--([a-z][a-z0-9-]*)")
_ELSEWHERE = re.compile(r"\b(?:name|choose|pick) another\b")


def keys_of(kind: type[Any]) -> tuple[str, ...]:
    """The names of a stage's settings.

    Args:
        kind: one of the settings classes of `tcf.config`.
    """
    return tuple(entry.name for entry in dataclasses.fields(kind))


def settings_from(kind: type[_C], values: Mapping[str, Any], file: Path, table: str) -> _C:
    """Build a stage's settings from a table of a file.

    Args:
        kind: one of the settings classes of `tcf.config`.
        values: the table's entries.
        file: the file that the user has written.
        table: the table's name.

    Raises:
        ConfigError: a key is unknown, or a value has the wrong type or range.
    """
    with errors_in_file_terms(file, keys=keys_of(kind)):
        return from_mapping(kind, values, f"{file}: [{table}]")


@contextmanager
def errors_in_file_terms(file: Path, table: str = "", keys: tuple[str, ...] = ()) -> Iterator[None]:
    """Rephrase the errors that leave the block; see `in_file_terms`."""
    try:
        yield
    except TcfError as error:
        raise type(error)(in_file_terms(str(error), file, table, keys)) from None


def in_file_terms(message: str, file: Path, table: str = "", keys: tuple[str, ...] = ()) -> str:
    """Rephrase a message that tells a user of the command line what to do.

    Commands in backticks stay as they are, and so do options that the file has no key for.

    Args:
        message: an error's message.
        file: the file that the user has written.
        table: the table with the stage's settings.
        keys: the settings that the table may have.

    Example:
        >>> in_file_terms("r: holds another run; remove it, or name another --out", Path("p.toml"))
        'r: holds another run; remove it, or name another `out` in p.toml'
        >>> in_file_terms("the loss is not finite; lower --rate", Path("p.toml"), "train.a", ("rate",))
        'p.toml: [train.a] the loss is not finite; lower rate'
    """
    renamed: set[str] = set()

    def key_of(option: re.Match[str]) -> str:
        key = option[1].replace("-", "_")
        if key != "out" and key not in keys:
            return option[0]
        renamed.add(key)
        return f"`out` in {file}" if key == "out" else key

    pieces = message.split("`")
    pieces[::2] = [_OPTION.sub(key_of, piece) for piece in pieces[::2]]
    rephrased = "`".join(pieces)
    if "out" not in renamed and _ELSEWHERE.search(message):
        rephrased += f" (`out` in {file})"
    return f"{file}: [{table}] {rephrased}" if table and renamed - {"out"} else rephrased
