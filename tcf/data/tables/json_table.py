"""JSON lines, plain or gzip, read by DuckDB as lines of text."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tcf.common.errors import DataError
from tcf.data.tables.bad_rows import BadRows
from tcf.data.tables.engine import Engine, literal
from tcf.data.tables.inspect_text import inspect_text
from tcf.data.tables.read_csv import CsvScan
from tcf.data.tables.table import RawTable, trimmed, without_marks
from tcf.data.tables.text_form import BAD_UTF8, BLANK, NO_DELIMITER, NUL, TextForm

__all__ = ["JsonTable"]

_FORM = TextForm(NO_DELIMITER, quoting=False, header=("line",))
_SHOWN = 80
_OBJECTS = 2000  # whose keys are the columns
_HALF_PAIR = r"\\u[dD][89a-fA-F][0-9a-fA-F]{2}"


class JsonTable:
    """A file with one JSON object on each line.

    Numbers become strings as in the file; whole numbers below 10^38 have no decimal point. Lists of strings are joined
    by a space. Missing values, nulls, truth values and objects become empty strings. Unusable lines are rejected as
    `bad_json`, `bad_utf8` or `nul_byte`.

    Args:
        path: the file.
        encoding: text encoding, by a name that Python's codecs know.

    Attributes:
        columns: the keys of the first objects; other keys can be requested too.

    Raises:
        DataError: the file cannot be read or is empty, or its first line is not a JSON object.
    """

    def __init__(self, path: Path, encoding: str = "utf-8") -> None:
        self.path, self._form = path, replace(_FORM, encoding=encoding)
        self._facts = inspect_text(path, self._form)
        begin, self._facts.begin = self._facts.begin, b""  # there may be thousands of files
        first, *others = begin.split(b"\n")[:_OBJECTS]
        if (keys := _keys(first)) is None:
            shown = first[:_SHOWN].decode("utf-8", "backslashreplace")
            raise DataError(f"{path}:1: expected one JSON object a line, found {shown!r}; convert the file")
        self.columns = tuple(dict.fromkeys([*keys, *(key for line in others for key in _keys(line) or ())]))

    def load(self, engine: Engine, columns: Sequence[str], bad: BadRows) -> RawTable:
        """Read the rows; see `TableFile`. A column that no object has is empty."""
        names = {column: f"c{at}" for at, column in enumerate(columns)}
        pointers = ", ".join(literal(_pointer(column)) for column in columns)
        with CsvScan(engine, self.path, self._form, self._facts, 1, 0) as scan:
            line = without_marks("c0") if scan.is_copy else "c0"
            steps = (
                f"{line} as line, c0 = '{BLANK}' as blank",
                f"line, blank, {_wrong('line', has_bad_bytes=self._facts.has_bad_bytes)} as wrong",
                f"case when blank then 'a blank line' when wrong like 'bad%' then line[:{_SHOWN}] end as shown, wrong, "
                f"case wrong when '' then json_extract(line, [{pointers}]) "
                f"when 'half' then json_extract({_without_halves('line')}, [{pointers}]) end as v",
                ", ".join(f"v[{at}] as {name}" for at, name in enumerate(names.values(), 1)) + ", wrong, shown",
                ", ".join(f"{_as_text(name)} as {name}" for name in names.values()) + ", wrong, shown",
            )
            values = {name: trimmed(name) for name in names.values()}
            table, malformed = scan.read({**values, "wrong": "wrong", "shown": "shown"}, steps)
            line_of = scan.lines(malformed)
        rows = RawTable.of_file(engine, table, self.path, "line", names, line_of, self._facts.sha256)
        rows.reject("wrong = 'bad_json'", "bad_json", "one JSON object a line", bad, "shown")
        rows.reject("wrong = 'bad_utf8'", "bad_utf8", "UTF-8", bad, "shown")
        rows.reject_values(
            lambda text: f"wrong = 'half' and regexp_matches({text}, '{BAD_UTF8}')", "bad_utf8", "UTF-8", bad
        )
        rows.reject_values(lambda text: f"contains({text}, chr(0))", "nul_byte", "text", bad)
        return rows


def _keys(line: bytes) -> list[str] | None:
    """Return the keys of an object; None if the line is none."""
    try:
        found: Any = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return list(found) if isinstance(found, dict) else None


def _pointer(key: str) -> str:
    """Return the JSON pointer (RFC 6901) to a value of an object."""
    return "/" + key.replace("~", "~0").replace("/", "~1")


def _wrong(line: str, *, has_bad_bytes: bool) -> str:
    """Return an expression in SQL for why a line cannot be used; `half` if it may be, and empty if it can."""
    bad_bytes = (
        f"when regexp_matches({line}, '{BAD_UTF8}') then 'bad_utf8' when contains({line}, '{NUL}') then 'bad_json' "
    )
    return (
        f"case {bad_bytes if has_bad_bytes else ''}when ltrim({line}, ' \t')[1] <> '{{' then 'bad_json' "
        f"when json_valid({line}) then '' when json_valid({_without_halves(line)}) then 'half' else 'bad_json' end"
    )


def _without_halves(line: str) -> str:
    """Return an expression in SQL for a line in which surrogates are replaced, half a pair of which is no text."""
    return f"regexp_replace({line}, '{_HALF_PAIR}', '{BAD_UTF8[1]}', 'g')"


def _as_text(value: str, within: str = "xy") -> str:
    """Return an expression in SQL for a JSON value as text, given its name and names for values of lists in lists."""
    if within:
        name = within[0]
        texts = f"list_transform({_list(value)}::json[], lambda {name}: {_as_text(name, within[1:])})"
        texts = f"list_filter(list_transform({texts}, lambda {name}: {trimmed(name)}), lambda {name}: {name} <> '')"
    else:
        texts = f"{_list(value)}::varchar[]"
    listed = f"array_to_string({texts}, ' ')"
    return f"case when {value} is null then '' when ({value}::varchar)[1] = '[' then {listed} {_scalar_cases(value)}"


def _list(value: str) -> str:
    """Return an expression in SQL for a JSON value that is a list, or an empty list."""
    return f"(case when ({value}::varchar)[1] = '[' then {value} else '[]' end)"


def _scalar_cases(value: str) -> str:
    number = f"try_cast({value} as double)"
    return (
        f"when ({value}::varchar)[1] = '\"' then {value} ->> '$' "
        f"when not regexp_matches({value}::varchar, '^-?[0-9]') then '' "
        f"when regexp_full_match({value}::varchar, '0|-?[1-9][0-9]*') then {value}::varchar "
        f"when floor({number}) = {number} then coalesce(try_cast({number} as hugeint)::varchar, {number}::varchar) "
        f"else {number}::varchar end"
    )
