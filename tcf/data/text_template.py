"""Item texts made from several columns by a template such as `{title}. {category}`, filled for all rows at once.

A field is a column name in braces; `{{` and `}}` are literal braces. If a field of a row is empty, it is left out
together with the text up to the next field; the text after the row's last non-empty field is left out too, up to the
next field of the template. The text before the first field and after the last one stays. A row without any of the
fields has an empty text.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tcf.common.errors import ConfigError
from tcf.data.tables.engine import literal
from tcf.data.tables.table import joined, lacks_column

__all__ = ["Template", "joined_columns", "parse_template"]

# In this order: a doubled brace, a field, an unpaired brace, text.
_TOKEN = re.compile(r"(?P<doubled>\{\{|\}\})|\{(?P<field>[^{}]*)\}|(?P<lone>[{}])|[^{}]+")
_NEVER_IN_NAMES = re.compile(r"[:!.\[\]]")


@dataclass(frozen=True)
class Template:
    """A template for the text of an item.

    Attributes:
        columns: the fields, at least one; columns of the items file, without their types.
        texts: the literal texts before the first field, between fields and after the last one; one more than columns.
        option: the option that the template comes from, for messages.
    """

    columns: tuple[str, ...]
    texts: tuple[str, ...]
    option: str = "--template"

    def check(self, there: Sequence[str], path: Path, scope: str = "") -> None:
        """Refuse a field that is not a column.

        Args:
            there: the available columns.
            path: the items file, for the message.
            scope: which of its rows have these columns, if only some of them have been looked at.

        Raises:
            ConfigError: a field is not one of the columns.
        """
        unknown = [name for name in self.columns if name not in there]
        if unknown:
            raise ConfigError(f"{self.option}: {lacks_column(path, unknown[0], there, scope)}")

    def text(self, columns: Mapping[str, str]) -> str:
        """Return an expression in SQL for the text of a row, which is empty if all its fields are.

        Args:
            columns: an expression in SQL for each field by column, never null; empty values count as missing. Literal
                text between two fields is used only if the first of them and one of the later ones are not empty.
        """
        values = [columns[name] for name in self.columns]
        first, *between, last = self.texts
        if not first and not last and len(set(between)) == 1:  # there may be hundreds of columns
            return f"array_to_string(list_filter([{', '.join(values)}], lambda x: x <> ''), {literal(between[0])})"
        pieces = [literal(first)]
        for at, value in enumerate(values):
            pieces.append(value)
            if at + 1 < len(values):
                later = joined(values[at + 1 :])
                pieces.append(f"case when {value} <> '' and {later} <> '' then {literal(between[at])} else '' end")
        return f"(case when {joined(values)} = '' then '' else {joined([*pieces, literal(last)])} end)"


def parse_template(written: str) -> Template:
    """Parse a template as written by the user.

    Raises:
        ConfigError: a brace is unpaired, a field is more than a column name, there is no field, or the text is not
            valid Unicode.

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
                f"{written!r}; write {{{{ or }}}} for a literal brace"
            )
        if token["field"] is not None:
            columns.append(_checked_name(token["field"]))
            texts.append("")
        else:
            texts[-1] += token[0][0] if token["doubled"] else token[0]
    if not columns:
        raise ConfigError(
            f"--template: expected a column name in braces, found none in {written!r}; "
            'write for example "{title}. {category}"'
        )
    return Template(tuple(columns), tuple(texts))


def joined_columns(columns: Sequence[str]) -> Template:
    """Return the template for `--text-columns`: the columns, at least one, in order, separated by a space."""
    return Template(tuple(columns), ("", *[" "] * (len(columns) - 1), ""), option="--text-columns")


def _checked_name(name: str) -> str:
    if name.strip() and not _NEVER_IN_NAMES.search(name):
        return name
    raise ConfigError(
        f"--template: expected only a column name in braces, without type, format, conversion, attribute or index, "
        f"found {{{name}}}; write only the name"
    )


def _refuse_surrogates(written: str) -> None:
    """Refuse strings that are not valid Unicode, which a command line that is not UTF-8 produces."""
    try:
        written.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ConfigError(
            f"--template: expected UTF-8, found an invalid byte at character {error.start + 1} of {written!r}; "
            "write the template in UTF-8"
        ) from None
