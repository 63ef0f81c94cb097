"""Objects and lists of JSON as text, whatever their depth, for the few rows that have them."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from tcf.common.errors import DataError
from tcf.common.parsing import parse_json
from tcf.data.tables.engine import Engine

__all__ = ["json_text", "write_out"]

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*+"|[\[\]{}]|[^\[\]{}",:\s]+')
_WHOLE = re.compile("0|-?[1-9][0-9]*")
_MOST = 2**127  # whole numbers below it are written without a point
_AT_ONCE = 1 << 16  # rows
_DEEPEST = 50_000  # each object copies the texts within it


@dataclass
class _Open:
    """An object or a list whose end has not been reached.

    Attributes:
        is_object: whether it is an object.
        texts: its elements or entries that have a text.
        key: of the entry whose value comes next; None before a key, and in a list.
        keys: those so far; the first value of a key counts.
    """

    is_object: bool
    texts: list[str] = field(default_factory=list)
    key: str | None = None
    keys: set[str] = field(default_factory=set)

    def add(self, text: str) -> None:
        if self.key is not None:
            key, self.key = self.key, None
            if key in self.keys:
                return
            self.keys.add(key)
            text = f"{key.strip()}: {text}" if text and key.strip() else text
        if text:
            self.texts.append(text)


def json_text(value: str) -> str:
    """Return a JSON value as text; it is complete, as the engine returns it.

    Raises:
        DataError: it is nested more than 50,000 times; the message does not name the file.

    Example:
        >>> json_text('{"Brand":"X","Size":{"in cm":[1.50,2.0]},"Notes":null,"New":true}')
        'Brand: X, Size: in cm: 1.5, 2, New: true'
    """
    whole = _Open(is_object=False)
    containers = [whole]
    for token in _TOKEN.findall(value):
        inner = containers[-1]
        if token in ("{", "["):
            if len(containers) > _DEEPEST:
                raise DataError(f"expected values nested at most {_DEEPEST} times, found one nested deeper; convert it")
            containers.append(_Open(is_object=token == "{"))
        elif token in ("}", "]"):
            containers.pop()
            containers[-1].add(", ".join(inner.texts))
        elif inner.is_object and inner.key is None:
            inner.key = _string(token)
        else:
            inner.add(_scalar(token))
    return ", ".join(whole.texts)


def write_out(engine: Engine, table: str, columns: Sequence[str], is_nested: Sequence[str]) -> None:
    """Replace objects and lists in a table by their texts; none of its rows has been deleted.

    Args:
        engine: where the table is.
        table: its name.
        columns: columns of strings.
        is_nested: for each of them, the column that says whether a string is an object or a list in JSON.

    Raises:
        DataError: see `json_text`.
    """
    some = " or ".join(is_nested)
    if not columns or not engine.number(f"select count(*) from {table} where {some}"):
        return
    for start in range(0, engine.number(f"select count(*) from {table}"), _AT_ONCE):
        rows = engine.rows(
            f"select rowid, {', '.join((*columns, *is_nested))} from {table} "
            f"where rowid >= {start} and rowid < {start + _AT_ONCE} and ({some})"
        )
        if not rows:
            continue
        numbers, *values = zip(*rows, strict=True)
        texts = {
            column: pa.array([json_text(value) if nested else value for value, nested in zip(*pair, strict=True)])
            for column, *pair in zip(columns, values[: len(columns)], values[len(columns) :], strict=True)
        }
        changed = engine.add("texts", pa.table({"number": pa.array(numbers), **texts}))
        new = ", ".join(f"{column} = changed.{column}" for column in columns)
        engine.run(f"update {table} set {new} from {changed} changed where {table}.rowid = changed.number")
        engine.run(f"drop table {changed}")


def _string(token: str) -> str:
    return str(parse_json(token)) if "\\" in token else token[1:-1]


def _scalar(token: str) -> str:
    """Return a string without white space at either end, a number or a truth value; other values have no text."""
    if token[0] == '"':
        return _string(token).strip()
    if token in ("true", "false") or _WHOLE.fullmatch(token):
        return token
    if token[0] not in "-0123456789" or token == "-Infinity":
        return ""
    number = float(token)
    return str(int(number)) if number.is_integer() and abs(number) < _MOST else str(number)
