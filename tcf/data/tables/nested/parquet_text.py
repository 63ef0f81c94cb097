"""Values of Parquet as text, as expressions in SQL; those of structs, maps and lists are made of those within them."""

import re
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa

from tcf.common.errors import DataError
from tcf.data.tables.engine import literal
from tcf.data.tables.table import trimmed

__all__ = ["ColumnText", "holds_long_decimals"]

_MOST = 2**127  # whole numbers below it are written without a point, as those of JSON
_DEEPEST = 5  # lambdas within one another: the engine takes three times as long for each
_IS_LIST = (
    pa.types.is_list,
    pa.types.is_large_list,
    pa.types.is_fixed_size_list,
    pa.types.is_list_view,
    pa.types.is_large_list_view,
)
_STRUCT = ("STRUCT", "TUPLE")  # a tuple: a struct with an empty name; Arrow has a struct for a variant as well
_WITHOUT_TEXT = re.compile(r"STRUCT|TUPLE|MAP|UNION|VARIANT|\]$")


class ColumnText:
    """A column whose values become text.

    Args:
        path: the file, for messages.
        column: the name of the column there.
        type_of: returns the type that the engine gives to an expression in SQL, of values of the file.
    """

    def __init__(self, path: Path, column: str, type_of: Callable[[str], str]) -> None:
        self._path, self._column, self._type_of = path, column, type_of

    def of(self, value: str, kind: pa.DataType) -> str:
        """Return an expression in SQL for a value as text, null or empty if it has none.

        Args:
            value: an expression for the value.
            kind: its type in Arrow.

        Raises:
            DataError: values of its type have no text.
        """
        return self._of(value, value, kind, 0)

    def _of(self, value: str, first: str, kind: pa.DataType, depth: int) -> str:
        """Return the text of a value within others, given an expression without lambdas that has its type."""
        if depth > _DEEPEST:
            raise DataError(
                f"{self._path}: expected lists and maps nested at most {_DEEPEST} times in column {self._column}, "
                "found them deeper; convert it to text"
            )
        x = f"x{depth}"
        if pa.types.is_struct(kind) and self._type_of(first).startswith(_STRUCT):
            fields = [
                f"[{literal(kind.field(at).name)}, {self._of(*_field(value, first, at), kind.field(at).type, depth)}]"
                for at in range(kind.num_fields)
            ]
            return _joined_entries(f"[{', '.join(fields)}]")
        if pa.types.is_map(kind):
            entry = f"map_entries({first})[1]"
            texts = [self._of(*_field(x, entry, at), each, depth + 1) for at, each in enumerate(_kinds_of_map(kind))]
            return _joined_entries(f"list_transform(map_entries({value}), lambda {x}: [{', '.join(texts)}])")
        if any(is_list(kind) for is_list in _IS_LIST):
            text = self._of(x, f"({first})[1]", kind.value_type, depth + 1)
            return _joined(f"list_transform({value}, lambda {x}: {text})")
        return self._scalar(value, self._type_of(first))

    def _scalar(self, value: str, kind: str) -> str:
        """Return the text of a number, a date or a string; whole numbers have no decimal point, and NaN has no text."""
        if _WITHOUT_TEXT.search(kind):
            raise DataError(
                f"{self._path}: expected strings, numbers, dates, or structs, maps and lists of these in column "
                f"{self._column}, found {kind}; convert it"
            )
        match kind:
            case "FLOAT" | "DOUBLE":
                whole = f"{value} = floor({value}) and abs({value}) < {float(_MOST)}"
                return (
                    f"case when isnan({value}) then null when {whole} then try_cast({value} as hugeint)::varchar "
                    f"else {value}::double::varchar end"
                )
            case "TIMESTAMP" | "TIMESTAMP_MS" | "TIMESTAMP_S":
                return f"strftime({value}::timestamp, '%Y-%m-%d %H:%M:%S.%f')"
            case "TIMESTAMP_NS":
                return f"strftime({value}, '%Y-%m-%d %H:%M:%S.%n')"
            case "TIMESTAMP WITH TIME ZONE":
                return f"strftime({value} at time zone 'UTC', '%Y-%m-%d %H:%M:%S.%fZ')"
            case "TIMESTAMPTZ_NS":
                return f"strftime({value} at time zone 'UTC', '%Y-%m-%d %H:%M:%S.%n') || 'Z'"
            case "BLOB":
                return f"decode({value})"
            case _:
                return f"({value})::varchar"


def holds_long_decimals(kind: pa.DataType) -> bool:
    """Return whether values of a type are, or contain, decimals of more than 38 digits."""
    return bool(pa.types.is_decimal256(kind)) or any(map(holds_long_decimals, _kinds_within(kind)))


def _kinds_within(kind: pa.DataType) -> list[pa.DataType]:
    if pa.types.is_map(kind):
        return _kinds_of_map(kind)
    return [kind.field(at).type for at in range(kind.num_fields)]


def _kinds_of_map(kind: pa.DataType) -> list[pa.DataType]:
    return [kind.key_type, kind.item_type]


def _field(value: str, first: str, at: int) -> tuple[str, str]:
    """Return expressions for a field of a struct, by its place: the engine does not distinguish case in names."""
    return f"struct_extract_at({value}, {at + 1})", f"struct_extract_at({first}, {at + 1})"


def _joined(texts: str) -> str:
    """Return an expression for the texts of a list that are not empty, joined."""
    there = f"list_filter(list_transform({texts}, lambda t: {trimmed('t')}), lambda t: t <> '')"
    return f"array_to_string({there}, ', ')"


def _joined_entries(pairs: str) -> str:
    """Return an expression for pairs of a name and a text, joined."""
    clean = f"list_transform({pairs}, lambda e: [{trimmed('e[1]')}, {trimmed('e[2]')}])"
    named = "case when e[1] <> '' then e[1] || ': ' || e[2] else e[2] end"
    return f"array_to_string(list_transform(list_filter({clean}, lambda e: e[2] <> ''), lambda e: {named}), ', ')"
