"""Entries given beside a study file, as `KEY=VALUE`, which replace those of the file."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from tcf.common.errors import ConfigError, value_words
from tcf.common.parsing import parse_toml

__all__ = ["with_overrides"]


def with_overrides(values: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """Return a file's entries with some of them replaced.

    Args:
        values: the content of the file.
        overrides: each `KEY=VALUE`, such as `grid.seeds=[0]`; a value that is not TOML is a string. Names in a key are
            joined by points, and one that has a point itself is in quotes.

    Raises:
        ConfigError: one has another form, or goes into an entry that is no table.

    Example:
        >>> with_overrides({"out": "a", "train": {"width": 64}}, ["train.epochs=5", "out=b"])
        {'out': 'b', 'train': {'width': 64, 'epochs': 5}}
    """
    result = dict(values)
    for entry in overrides:
        result = _merged(result, _parsed(entry), entry)
    return result


def _parsed(entry: str) -> dict[str, Any]:
    key, equals, value = entry.partition("=")
    if not equals or not key.strip():
        raise ConfigError(f"--set {entry}: expected KEY=VALUE, such as grid.seeds=[0]; add what is missing")
    # Letters beyond ASCII stay as they are: TOML has no surrogate pairs.
    for written in (value, json.dumps(value, ensure_ascii=False)):
        try:
            return parse_toml(f"{key} = {written}".encode())
        except (ValueError, UnicodeError):
            continue
    raise ConfigError(
        f"--set {entry}: expected a key such as grid.seeds, found {value_words(key)}; put names with other characters "
        'than letters, digits, - and _ in quotes: encoders."opt-1.3b".max_tokens=20'
    )


def _merged(into: Mapping[str, Any], added: Mapping[str, Any], entry: str) -> dict[str, Any]:
    result = dict(into)
    for key, value in added.items():
        there = result.get(key)
        if isinstance(value, dict) and there is not None:
            if not isinstance(there, dict):
                raise ConfigError(f"--set {entry}: expected {key} to be a table, found {value_words(there)}")
            result[key] = _merged(there, value, entry)
        else:
            result[key] = value
    return result
