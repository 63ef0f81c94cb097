"""The kinds of TOML files that users write, and the paths in them."""

import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tcf.common.errors import ConfigError

__all__ = [
    "PIPELINE_FILE",
    "SEARCH_FILE",
    "STUDY_FILE",
    "TRAINING_FILE",
    "FileKind",
    "check_kind",
    "expand_home",
    "is_study",
    "user_path",
]


@dataclass(frozen=True)
class FileKind:
    """A kind of TOML file.

    Attributes:
        words: its name in messages.
        command: the command that reads it; the file's name replaces FILE.
    """

    words: str
    command: str


PIPELINE_FILE = FileKind("a pipeline file", "tcf pipeline FILE")
STUDY_FILE = FileKind("a study file", "tcf study FILE")
SEARCH_FILE = FileKind("a search file", "tcf search FILE")
TRAINING_FILE = FileKind("a training configuration", "tcf train --config FILE")


def check_kind(values: Mapping[str, Any], expected: FileKind, path: Path) -> None:
    """Refuse a file that is clearly of another kind; leave a file of no known kind to its reader.

    Args:
        values: the content of the file.
        expected: the kind that the reader accepts.
        path: the file, for the message.

    Raises:
        ConfigError: the file is of another kind.
    """
    found = _kind(values)
    if found is not None and found is not expected:
        command = found.command.replace("FILE", shlex.quote(str(path)))
        raise ConfigError(f"{path}: expected {expected.words}, found {found.words}; run `{command}`")


def is_study(values: Mapping[str, Any]) -> bool:
    """Return whether this is the content of a study file, rather than of a pipeline file, which is one without grid."""
    return _kind(values) is STUDY_FILE


def _kind(values: Mapping[str, Any]) -> FileKind | None:
    tables = {key for key, value in values.items() if isinstance(value, dict)}
    train = values["train"].values() if "train" in tables else ()
    if tables & {"search", "space"}:
        return SEARCH_FILE
    if tables & {"grid", "datasets", "encoders"}:
        return STUDY_FILE
    if tables & {"data", "extract", "evaluate"} or any(isinstance(value, dict) for value in train):
        return PIPELINE_FILE
    # A run's config.toml has settings, and [inputs] as its only table.
    others = set(values) - {"inputs"}
    if tables <= {"inputs"} and (tables or others) and not others & {"out", "data", "cache"}:
        return TRAINING_FILE
    return None


def user_path(path: str | Path) -> Path:
    """Return a path in which `~` or `~name` at the start is replaced by the home folder.

    Raises:
        ConfigError: it contains a NUL character, which no path can have.
    """
    if "\0" in str(path):
        raise ConfigError(f"{str(path)!r}: expected a path, found one with a NUL character; remove the character")
    return Path(os.path.expanduser(path))  # noqa: PTH111 (Path.expanduser raises if there is no such user)


def expand_home(name: str | None) -> str | None:
    """Return the same for a string that may also be another name, such as that of a model."""
    return None if name is None else os.path.expanduser(name)  # noqa: PTH111 (Path would drop a trailing slash)
