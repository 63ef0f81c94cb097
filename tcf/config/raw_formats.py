"""Names of the raw formats, and the settings that only some of them use.

Their readers are in `tcf.data.raw.formats`, because reading needs pyarrow.
"""

from dataclasses import dataclass
from itertools import groupby
from typing import Literal

__all__ = ["RAW_FORMATS", "Quotes", "RawFormat", "RawFormatInfo", "formats_help", "formats_with", "only_for"]

RawFormat = Literal["tcf", "recbole", "mind", "hm", "movielens", "amazon", "table"]

Quotes = Literal["csv", "none"]
"""Whether a field that begins with `"` extends to the closing one, or quotes are characters like others."""


@dataclass(frozen=True)
class RawFormatInfo:
    """Name and description of a raw format.

    Attributes:
        name: name on the command line.
        files: which files it reads, in a few words.
        options: fields of `PrepareConfig` that this format uses and others do not.
    """

    name: RawFormat
    files: str
    options: tuple[str, ...] = ()


RAW_FORMATS: tuple[RawFormatInfo, ...] = (
    RawFormatInfo("tcf", "behaviors.tsv, items.tsv; NineRec"),
    RawFormatInfo("recbole", ".inter or .train.inter ..., .item", options=("min_label", "min_rating")),
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
            "time_format",
            "item_id_column",
            "header",
            "items_header",
            "delimiter",
            "items_delimiter",
            "encoding",
            "items_encoding",
            "quotes",
            "items_quotes",
            "drop",
            "split_column",
            "validation_events",
            "test_events",
        ),
    ),
)


def formats_with(option: str) -> tuple[RawFormat, ...]:
    """Return the formats that use a setting; empty if all formats use it."""
    return tuple(entry.name for entry in RAW_FORMATS if option in entry.options)


def only_for(option: str) -> str:
    """Return the formats that use a setting, for the end of its help text.

    >>> only_for("drop"), only_for("min_rating")
    ('(table only)', '(recbole, movielens and amazon)')
    """
    *names, last = formats_with(option)
    return f"({', '.join(names)} and {last})" if names else f"({last} only)"


def formats_help() -> str:
    """Return all formats with their files, for the help text."""
    alike = [
        (files, [entry.name for entry in group]) for files, group in groupby(RAW_FORMATS, lambda entry: entry.files)
    ]
    *first, last = [f"{', '.join(names)} ({files})" for files, names in alike]
    return f"{', '.join(first)} or {last}"
