"""Reading JSON and TOML: the only functions that parse either, so that no file can do more than be refused.

A file may be damaged, or made to do harm: endless, nested a million times, or with numbers that take hours to convert.
Limits are checked before the work that they bound, and everything that is wrong is a `ValueError` on one line.
"""

import json
import os
import re
import stat
import tomllib
from pathlib import Path
from typing import Any

__all__ = ["LARGEST_JSON", "LARGEST_TOML", "parse_json", "parse_toml", "read_json", "read_small_file"]

LARGEST_JSON = 64 << 20
"""Bytes in a JSON file at most: 64 MiB, ten times the index of the largest checkpoints."""
LARGEST_TOML = 1 << 18
"""Bytes in a TOML file at most."""
_DEEPEST = 100  # values within one another; configurations and manifests have fewer than 20
_DIGITS = 40  # of a whole number; transformers writes 10^30 for "no limit"
# tomllib takes quadratic time for the parts of a key.
_LONG_KEY = re.compile(r"""(?<![\w-])(?:(?:[\w-]++|"[^"\n]*+"|'[^'\n]*+')[ \t]*+\.[ \t]*+){64}""")


def read_small_file(path: Path, most: int) -> bytes:
    """Read a regular file that has at most this many bytes.

    Raises:
        OSError: it cannot be read, or is a device, a pipe or a directory.
        ValueError: it is larger.
    """
    # A pipe would be waited for, and a device may have no end.
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as stream:
        if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
            raise OSError("not a regular file")
        return _at_most(stream.read(most + 1), most)


def read_json(path: Path, most: int = LARGEST_JSON) -> Any:
    """Read a JSON file.

    Args:
        path: a regular file.
        most: its size in bytes at most.

    Raises:
        OSError: it cannot be read, or is not a regular file.
        ValueError: it is larger, not in UTF-8, or not JSON as `parse_json` accepts it.
    """
    return parse_json(read_small_file(path, most).decode("utf-8"))


def parse_json(text: str | bytes, *, numbers_as_text: bool = False) -> Any:
    """Return the value of a JSON text.

    Args:
        text: the text.
        numbers_as_text: leave numbers as they are written, whatever their length.

    Raises:
        ValueError: it is no JSON, nested more than 100 times, or has a whole number of more than 40 digits.
    """
    whole: Any = str if numbers_as_text else _whole
    try:
        value = json.loads(text, parse_int=whole, parse_float=str if numbers_as_text else None)
    except RecursionError:
        raise _too_deep() from None
    _check_depth(value)
    return value


def parse_toml(content: bytes) -> dict[str, Any]:
    """Return the values of a TOML file.

    Raises:
        ValueError: it has more than 256 KiB, is not in UTF-8, is no TOML, nested too deeply, or has a whole number of
            more than 40 digits.
    """
    text = _at_most(content, LARGEST_TOML).decode("utf-8").replace("\r\n", "\n")
    if _LONG_KEY.search(text):
        raise ValueError("a key of more than 64 parts")
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        raise
    except RecursionError:
        raise _too_deep() from None
    except ValueError:  # of Python itself, whose advice is for programmers
        raise _too_long() from None
    _check_depth(values)
    return values


def _at_most(content: bytes, most: int) -> bytes:
    if len(content) > most:
        raise ValueError(f"more than {most >> 10} KiB" if most >> 10 else f"more than {most} bytes")
    return content


def _whole(text: str) -> int:
    if len(text) > _DIGITS:
        raise _too_long()
    return int(text)


def _check_depth(value: Any) -> None:
    """Refuse a value that is nested so deeply, or a number so long, that printing it could fail."""
    level = [value]
    for _ in range(_DEEPEST):
        level = [inner for outer in level for inner in _inner(outer)]
        if not level:
            return
    raise _too_deep()


def _inner(value: Any) -> Any:
    kind = type(value)
    if kind is dict:
        return value.values()
    if kind is int and abs(value) >= 10**_DIGITS:  # TOML's, perhaps written in hexadecimal
        raise _too_long()
    return value if kind is list else ()


def _too_deep() -> ValueError:
    return ValueError(f"values nested more than {_DEEPEST} times")


def _too_long() -> ValueError:
    return ValueError(f"a whole number of more than {_DIGITS} digits")
