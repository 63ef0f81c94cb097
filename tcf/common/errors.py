"""The errors that tcf raises for reasons a user can mend.

A message says where, what was expected, what was found and what to do next. The command line prints it on one line and
exits with status 2; any other exception is a defect of tcf and keeps its traceback.
"""

import difflib
import errno
import os
from collections.abc import Sequence

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
]


class TcfError(Exception):
    """Something that a user can mend: input, configuration, files or the environment."""


class ConfigError(TcfError):
    """A configuration or command line asks for something unknown, impossible or contradictory."""


class DataError(TcfError):
    """Raw files or a prepared dataset are missing, damaged or not of the expected form."""


class CacheError(TcfError):
    """A vector cache is missing, damaged, of another encoder, or lacks vectors."""


class ModelError(TcfError):
    """A language model cannot be had, read or run."""


class RunError(TcfError):
    """A training run or an evaluation is missing, damaged, or cannot go on."""


class DivergedError(RunError):
    """A training came to numbers that are not finite; other settings may go better."""


def did_you_mean(name: str, known: Sequence[str]) -> str:
    """What a message says after an unknown name: the known one that is spelled nearly so, or nothing.

    Example:
        >>> did_you_mean("max_token", ["min_tokens", "max_tokens"])
        '; did you mean max_tokens?'
        >>> did_you_mean("seed", ["min_tokens", "max_tokens"])
        ''
    """
    near = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {near[0]}?" if near else ""


def os_error_words(error: OSError) -> str:
    """Return what the operating system refused, in plain words: without error number, path or line breaks.

    Example:
        >>> os_error_words(FileNotFoundError(2, "No such file or directory", "a.txt"))
        'no such file or directory'
    """
    words, number = error.strerror or str(error), error.errno
    if number is None and isinstance(error, FileNotFoundError):  # safetensors and fsspec give the path alone
        words = os.strerror(errno.ENOENT)
    elif number and "[errno" in words.lower():  # Arrow gives a sentence with number and path
        words = os.strerror(number)
    words = " ".join(words.split()) or "no reason given"
    return words if words[1:2].isupper() else words[0].lower() + words[1:]
