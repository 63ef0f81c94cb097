"""What decides the group of a target, as users write it, such as `cold`, `warm:20,50` or `FILE:COLUMN`."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TypeAlias

from tcf.common.errors import ConfigError, value_words
from tcf.config.toml_files import user_path

__all__ = ["GROUPINGS", "Cold", "Column", "Grouping", "History", "Popularity", "Warm", "groupings_of"]

GROUPINGS = "cold, warm:20,50,200, popularity:10, history:5,10,20 or FILE:COLUMN"
"""The forms, for messages and help."""


@dataclass(frozen=True)
class Cold:
    """Targets without a training interaction, and the others."""


@dataclass(frozen=True)
class Warm:
    """Targets with at least so many training interactions: each group lies within the one before.

    The study's warm subsets of 20, 50 and 200 leave the other items out of the data, and train again without them; here
    only the targets are chosen.

    Attributes:
        least: the numbers, rising.
    """

    least: tuple[int, ...] = (20, 50, 200)


@dataclass(frozen=True)
class Popularity:
    """Groups of about equal numbers of targets, by the training interactions of their items.

    Groups of equal numbers of items would have most targets in the last one, and hardly any in the first.

    Attributes:
        number: of groups at most.
    """

    number: int = 10


@dataclass(frozen=True)
class History:
    """Users by the number of their items before the target.

    Attributes:
        edges: the smallest number in each group but the first, rising.
    """

    edges: tuple[int, ...] = (5, 10, 20)


@dataclass(frozen=True)
class Column:
    """The values of a column of a table with a column `item_id` or `user_id`.

    Attributes:
        file: the table: Parquet, CSV or JSON lines.
        name: the column.
    """

    file: Path
    name: str


Grouping: TypeAlias = Cold | Warm | Popularity | History | Column


def groupings_of(by: str | Iterable[str], name: str = "by") -> dict[str, Grouping]:
    """Read groupings as users write them, by what was written.

    >>> groupings_of(["cold", "warm:5,50"])
    {'cold': Cold(), 'warm:5,50': Warm(least=(5, 50))}

    Args:
        by: one of them, or several.
        name: the argument's name, for messages.

    Raises:
        ConfigError: one is none.
    """
    texts = [by] if isinstance(by, str) else list(by) if isinstance(by, Iterable) else [by]
    found: dict[str, Grouping] = {}
    for text in texts:
        if not isinstance(text, str):
            raise ConfigError(f"{name}: expected {GROUPINGS}, found {value_words(text)}")
        found[text] = _grouping(text, name)
    return found


def _grouping(text: str, name: str) -> Grouping:
    kind, colon, rest = text.partition(":")
    match kind, bool(colon):
        case "cold", False:
            return Cold()
        case "cold", True:
            raise _wrong(text, name)
        case "warm", _:
            return Warm(_numbers(rest, text, name)) if colon else Warm()
        case "popularity", _:
            return Popularity(_number(rest, text, name)) if colon else Popularity()
        case "history", _:
            return History(_numbers(rest, text, name)) if colon else History()
    file, _, column = text.rpartition(":")
    if not file or not column:
        raise _wrong(text, name)
    return Column(user_path(file), column)


def _number(text: str, whole: str, name: str) -> int:
    first, *others = _numbers(text, whole, name)
    if others:
        raise _wrong(whole, name)
    return first


def _numbers(text: str, whole: str, name: str) -> tuple[int, ...]:
    """Whole numbers with commas between them, each larger than the one before."""
    parts = text.split(",")
    if not all(part.isdecimal() and part.isascii() and len(part) < 10 for part in parts):
        raise _wrong(whole, name)
    numbers = tuple(map(int, parts))
    if numbers[0] < 1 or any(second <= first for first, second in pairwise(numbers)):
        raise ConfigError(f"{name}: expected rising numbers of at least 1, found {whole}; correct them")
    return numbers


def _wrong(text: str, name: str) -> ConfigError:
    return ConfigError(f"{name}: expected {GROUPINGS}, found {value_words(text)}; correct it")
