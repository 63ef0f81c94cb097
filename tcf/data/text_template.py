"""Item texts made from several columns: a template such as `{title}. {category}`, filled in for all rows at once.

A field is a column's name in braces; `{{` and `}}` are braces of the text itself. A field that a row lacks is left out
together with the text up to the next field; so is the text between the last field that the row has and the next one of
the template. The text before the first field and after the last one stays. A row that has none of the fields has an
empty text.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from tcf.common.errors import ConfigError

__all__ = ["Template", "joined_columns", "parse_template"]

# In this order: a doubled brace, a field, a brace without its fellow, text.
_TOKEN = re.compile(r"(?P<doubled>\{\{|\}\})|\{(?P<field>[^{}]*)\}|(?P<lone>[{}])|[^{}]+")
_NEVER_IN_NAMES = re.compile(r"[:!.\[\]]")


@dataclass(frozen=True)
class Template:
    """How an item's text is put together.

    Attributes:
        columns: the fields, at least one; columns of the item file, without their types.
        texts: what stands before the first field, between the fields and after the last one; one more than columns.
        option: the setting that this was made from, for messages.
    """

    columns: tuple[str, ...]
    texts: tuple[str, ...]
    option: str = "--template"

    def check(self, there: Sequence[str], path: Path) -> None:
        """Refuse a field that names no column.

        Args:
            there: the columns that can be named.
            path: the item file, for the message.

        Raises:
            ConfigError: a field names another column.
        """
        unknown = [name for name in self.columns if name not in there]
        if unknown:
            raise ConfigError(f"{self.option}: {path} has no column {unknown[0]}; it has {', '.join(there)}")

    def fill(self, columns: Mapping[str, "pa.LargeStringArray"]) -> "pa.LargeStringArray":
        """The texts of all rows, (n_rows,); a text is empty where all its fields are.

        Args:
            columns: the fields' values by column, (n_rows,) each, no nulls; what is empty counts as missing.
        """
        values = [columns[name] for name in self.columns]
        filled = [pc.greater(pc.binary_length(value), 0) for value in values]
        pieces, later = [values[-1]], filled[-1]
        # From the right, so that `later` says whether a field follows: only then the text between is needed.
        for at in range(len(values) - 2, -1, -1):
            between = pc.if_else(pc.and_(filled[at], later), _scalar(self.texts[at + 1]), _scalar(""))
            pieces[:0] = [values[at], between]
            later = pc.or_(filled[at], later)
        texts = pc.binary_join_element_wise(_scalar(self.texts[0]), *pieces, _scalar(self.texts[-1]), _scalar(""))
        return pc.if_else(later, texts, _scalar(""))


def parse_template(written: str) -> Template:
    """Read a template as a user writes it.

    Raises:
        ConfigError: a brace has no fellow, a field is more than a column's name, there is no field, or the text is not
            Unicode.

    Example:
        >>> parse_template("{title} by {brand}.")
        Template(columns=('title', 'brand'), texts=('', ' by ', '.'), option='--template')
    """
    _refuse_surrogates(written)
    columns: list[str] = []
    texts = [""]
    for token in _TOKEN.finditer(written):
        if token["lone"]:
            raise ConfigError(
                f"--template: expected braces in pairs, found {token[0]!r} alone at character {token.start() + 1} of "
                f"{written!r}; write {{{{ or }}}} for a brace of the text itself"
            )
        if token["field"] is not None:
            columns.append(_checked_name(token["field"]))
            texts.append("")
        else:
            texts[-1] += token[0][0] if token["doubled"] else token[0]
    if not columns:
        raise ConfigError(
            f"--template: expected a column's name in braces, found none in {written!r}; "
            'write for instance "{title}. {category}"'
        )
    return Template(tuple(columns), tuple(texts))


def joined_columns(columns: Sequence[str]) -> Template:
    """The template of `--text-columns`: the columns in their order, at least one, with a space in between."""
    return Template(tuple(columns), ("", *[" "] * (len(columns) - 1), ""), option="--text-columns")


def _checked_name(name: str) -> str:
    if name.strip() and not _NEVER_IN_NAMES.search(name):
        return name
    raise ConfigError(
        f"--template: expected a column's name alone in braces, without type, format, conversion, attribute or index, "
        f"found {{{name}}}; leave all but the name out"
    )


def _refuse_surrogates(written: str) -> None:
    """A command line that is not UTF-8 gives strings that no file can hold."""
    try:
        written.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ConfigError(
            f"--template: expected UTF-8, found another byte at character {error.start + 1} of {written!r}; "
            "write the template in UTF-8"
        ) from None


def _scalar(text: str) -> "pa.LargeStringScalar":
    return pa.scalar(text, pa.large_string())
