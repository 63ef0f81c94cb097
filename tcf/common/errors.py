"""The errors that tcf raises for problems a user can fix.

A message says where, what was expected, what was found and what to do next. The command line prints it on one line and
exits with status 2; any other exception is a bug in tcf and keeps its traceback.
"""

import difflib
import errno
import json
import os
import re
from collections.abc import Sequence
from typing import Any

__all__ = [
    "CacheError",
    "ConfigError",
    "DataError",
    "DivergedError",
    "ModelError",
    "RunError",
    "TcfError",
    "did_you_mean",
    "os_error_words",
    "place_error_words",
    "shape_words",
    "value_words",
]

_ERROR_NUMBER = re.compile(r"(?:\[errno|\(os error) (\d+)", re.IGNORECASE)
"""In sentences of Arrow and of libraries in Rust, which hold a path or the step that failed as well."""


class TcfError(Exception):
    """A problem that the user can fix: input, configuration, files or the environment."""


class ConfigError(TcfError):
    """A configuration or command line contains something unknown, impossible or contradictory."""


class DataError(TcfError):
    """Raw files or a prepared dataset are missing, damaged or in an unexpected format."""


class CacheError(TcfError):
    """A vector cache is missing, damaged, incomplete, or was made by another encoder."""


class ModelError(TcfError):
    """A language model cannot be obtained, read or run."""


class RunError(TcfError):
    """A training run or an evaluation is missing, damaged, or cannot continue."""


class DivergedError(RunError):
    """Training produced non-finite numbers; other settings may work."""


def did_you_mean(name: str, known: Sequence[str]) -> str:
    """Return the hint that follows an unknown name in a message: the known name closest in spelling, or nothing.

    Example:
        >>> did_you_mean("max_token", ["min_tokens", "max_tokens"])
        '; did you mean max_tokens?'
        >>> did_you_mean("seed", ["min_tokens", "max_tokens"])
        ''
    """
    cutoff = 0.75 if len(name) > 3 else 0.6  # one letter is a third of a short name
    near = difflib.get_close_matches(name, known, n=1, cutoff=cutoff)
    return f"; did you mean {near[0]}?" if near else ""


def value_words(value: Any) -> str:
    """Format a value read from a file or an option for a message: as JSON and TOML write it, 60 characters at most.

    Example:
        >>> value_words([True, None, {"a": 0.5}])
        '[true, null, {"a": 0.5}]'
        >>> value_words(None)
        'nothing'
    """
    if value is None:
        return "nothing"
    try:
        text = repr(value) if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    except ValueError:  # Python converts no whole number of more than 4,300 digits
        return "a number too long to be shown"
    return text if len(text) <= 60 else f"{text[:57]}..."


def shape_words(shape: Sequence[int]) -> str:
    """Format the shape of an array or tensor for a message.

    Example:
        >>> shape_words((3, 4)), shape_words((5,)), shape_words(())
        ('3 x 4', '5', 'scalar')
    """
    return " x ".join(map(str, shape)) or "scalar"


def place_error_words(error: OSError) -> str | None:
    """Describe an error of the operating system about a path that it names, in one line; None for any other error.

    Such an error comes from the path, and can be fixed there, wherever in the program it was noticed.
    """
    if isinstance(error.filename, str | bytes):
        place = os.fsdecode(error.filename)
        return (
            f"{place}: cannot be used ({os_error_words(error)}); check the path and its permissions, or choose another"
        )
    try:
        os.getcwd()  # noqa: PTH109 - only whether there is one
    except OSError:
        return "working directory: expected a folder, found that it was removed; change to another one"
    return None


def os_error_words(error: OSError) -> str:
    """Describe an error of the operating system in plain words, without error number, path or line breaks.

    Example:
        >>> os_error_words(FileNotFoundError(2, "No such file or directory", "a.txt"))
        'no such file or directory'
    """
    words = error.strerror or str(error)
    if error.errno is None and isinstance(error, FileNotFoundError):  # safetensors and fsspec give the path alone
        words = os.strerror(errno.ENOENT)
    elif number := _ERROR_NUMBER.search(words):
        words = os.strerror(int(number[1]))
    words = " ".join(words.split()) or "no reason given"
    return words if words[1:2].isupper() else words[0].lower() + words[1:]
