"""The TOML files that a user hands to tcf: which kind each is, and paths in them."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tcf.common.errors import ConfigError

__all__ = ["PIPELINE_FILE", "SEARCH_FILE", "TRAINING_FILE", "FileKind", "check_kind", "expand_home", "user_path"]


@dataclass(frozen=True)
class FileKind:
    """A kind of TOML file.

    Attributes:
        words: what a message calls it.
        command: what to run with it; the file's name takes the place of FILE.
    """

    words: str
    command: str


PIPELINE_FILE = FileKind("a pipeline file", "tcf pipeline FILE")
SEARCH_FILE = FileKind("a search file", "tcf search FILE")
TRAINING_FILE = FileKind("a training configuration", "tcf train --config FILE")


def check_kind(values: Mapping[str, Any], expected: FileKind, path: Path) -> None:
    """Refuse a file that is evidently of another kind; what is of none is left to the reader's own messages.

    Args:
        values: the file's contents.
        expected: what the reader reads.
        path: the file, for the message.

    Raises:
        ConfigError: it is of another kind.
    """
    found = _kind(values)
    if found is not None and found is not expected:
        raise ConfigError(
            f"{path}: expected {expected.words}, found {found.words}; run `{found.command.replace('FILE', str(path))}`"
        )


def _kind(values: Mapping[str, Any]) -> FileKind | None:
    tables = {key for key, value in values.items() if isinstance(value, dict)}
    train = values["train"].values() if "train" in tables else ()
    if tables & {"search", "space"}:
        return SEARCH_FILE
    if tables & {"data", "extract", "evaluate"} or any(isinstance(value, dict) for value in train):
        return PIPELINE_FILE
    # A run's config.toml has no table but this, and settings above it.
    others = set(values) - {"inputs"}
    if tables <= {"inputs"} and (tables or others) and not others & {"out", "data", "cache"}:
        return TRAINING_FILE
    return None


def user_path(path: str | Path) -> Path:
    """A path as the user means it: `~` and `~name` at its start are home folders."""
    return Path(os.path.expanduser(path))  # noqa: PTH111 (Path.expanduser raises where there is no such user)


def expand_home(name: str | None) -> str | None:
    """The same for what may be a path or another name, such as a model's."""
    return None if name is None else os.path.expanduser(name)  # noqa: PTH111 (it would drop a slash at the end)
