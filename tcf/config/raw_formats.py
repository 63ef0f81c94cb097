"""The formats that raw files come in: what a user calls them, and which settings each has a use for.

Their readers are in `tcf.data.raw.formats`, since reading needs pyarrow.
"""

from dataclasses import dataclass
from itertools import groupby
from typing import Literal

__all__ = ["RAW_FORMATS", "RawFormat", "RawFormatInfo", "formats_help", "formats_with", "only_for"]

RawFormat = Literal["tcf", "recbole", "mind", "hm", "movielens", "amazon", "table"]


@dataclass(frozen=True)
class RawFormatInfo:
    """A raw format, for people.

    Attributes:
        name: what a user types.
        files: which files it reads, in a few words.
        options: fields of `PrepareConfig` that this format has a use for and not all have.
    """

    name: RawFormat
    files: str
    options: tuple[str, ...] = ()


RAW_FORMATS: tuple[RawFormatInfo, ...] = (
    RawFormatInfo("tcf", "behaviors.tsv, items.tsv; NineRec"),
    RawFormatInfo("recbole", ".inter, .item"),
    RawFormatInfo("mind", "one published folder or the folder of several"),
    RawFormatInfo("hm", "as published", options=("collapse_repeats",)),
    RawFormatInfo("movielens", "as published", options=("min_rating",)),
    RawFormatInfo("amazon", "as published", options=("min_rating",)),
    RawFormatInfo(
        "table",
        "any files of events and items, whose columns options name",
        options=(
            "events",
            "items",
            "user_column",
            "item_column",
            "time_column",
            "item_id_column",
            "delimiter",
            "drop",
        ),
    ),
)


def formats_with(option: str) -> tuple[RawFormat, ...]:
    """The formats that alone have a use for a setting; empty for a setting that all read."""
    return tuple(entry.name for entry in RAW_FORMATS if option in entry.options)


def only_for(option: str) -> str:
    """The same, for the end of a help text.

    >>> only_for("drop"), only_for("min_rating")
    ('(table only)', '(movielens and amazon)')
    """
    names = formats_with(option)
    return f"({names[0]} only)" if len(names) == 1 else f"({' and '.join(names)})"


def formats_help() -> str:
    """All formats with their files, for the command's help."""
    alike = [
        (files, [entry.name for entry in group]) for files, group in groupby(RAW_FORMATS, lambda entry: entry.files)
    ]
    *first, last = [f"{', '.join(names)} ({files})" for files, names in alike]
    return f"{', '.join(first)} or {last}"
