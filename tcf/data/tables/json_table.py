"""JSON lines, plain or gzip, read by DuckDB as lines of text."""

import json
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

from tcf.common.errors import DataError
from tcf.common.parsing import parse_json
from tcf.data.tables.bad_rows import BadRows
from tcf.data.tables.engine import Engine, literal
from tcf.data.tables.inspect_text import inspect_text
from tcf.data.tables.nested.json_text import write_out
from tcf.data.tables.read_csv import CsvScan
from tcf.data.tables.table import RawTable, trimmed, without_marks
from tcf.data.tables.text_form import BAD_UTF8, BLANK, NO_DELIMITER, NUL, TextForm
from tcf.data.tables.text_lines import kept_lines

__all__ = ["OBJECTS", "JsonTable"]

_FORM = TextForm(NO_DELIMITER, quoting=False, header=("line",))
_SHOWN = 80
_AROUND_BAD_BYTE = f"regexp_extract(line, '.{{0,{_SHOWN}}}{BAD_UTF8}.{{0,{_SHOWN}}}')"
OBJECTS = 2000
"""Number of objects at the beginning whose keys are the columns."""

_NULL, _SCALAR, _LIST, _NESTED = range(4)  # kinds of JSON values
_HALF_PAIR = r"\\u[dD][89a-fA-F][0-9a-fA-F]{2}"


class JsonTable:
    """A file with one JSON object on each line.

    Numbers become strings as in the file; whole numbers below 10^38 have no decimal point. Lists and objects are
    written out (see `nested`). Missing values and nulls become empty strings. Unusable lines are rejected as
    `bad_json`, `bad_utf8` or `nul_byte`.

    Args:
        path: the file.
        encoding: text encoding, by a name that Python's codecs know.

    Attributes:
        columns: the keys of the first objects, and later ones that were looked for.

    Raises:
        DataError: the file cannot be read or is empty, or its first line is not a JSON object.
    """

    def __init__(self, path: Path, encoding: str = "utf-8") -> None:
        self.path, self._form = path, replace(_FORM, encoding=encoding)
        self._facts = inspect_text(path, self._form)
        begin, self._facts.begin = self._facts.begin, b""  # there may be thousands of files
        first, *others = begin.split(b"\n")[:OBJECTS]
        if (keys := _keys(first)) is None:
            shown = first[:_SHOWN].decode("utf-8", "backslashreplace")
            raise DataError(f"{path}:1: expected one JSON object a line, found {shown!r}; convert the file")
        self.columns = tuple(dict.fromkeys([*keys, *(key for line in others for key in _keys(line) or ())]))

    def look_for(self, names: Sequence[str]) -> None:
        """Add those of some keys to the columns that only objects after the first ones have.

        Raises:
            DataError: the file cannot be read.
        """
        wanted = {name: _written(name) for name in names if name not in self.columns}
        for block in kept_lines(self.path, self._form) if wanted else ():
            found = [name for name, ways in wanted.items() if _has_key(block, name, ways)]
            self.columns += tuple(found)
            wanted = {name: ways for name, ways in wanted.items() if name not in found}
            if not wanted:
                break

    def load(self, engine: Engine, columns: Sequence[str], bad: BadRows) -> RawTable:
        """Read the rows; see `TableFile`. A column that no object has is empty."""
        names = {column: f"c{at}" for at, column in enumerate(columns)}
        kinds = {name: f"k{at}" for at, name in enumerate(names.values())}
        pointers = ", ".join(literal(_pointer(column)) for column in columns)
        with CsvScan(engine, self.path, self._form, self._facts, 1, 0) as scan:
            line = without_marks("c0") if scan.is_copy else "c0"
            steps = (
                f"{line} as line, c0 = '{BLANK}' as blank",
                f"line, blank, {_wrong('line', has_bad_bytes=self._facts.has_bad_bytes)} as wrong",
                f"case when blank then 'a blank line' when wrong = 'bad_utf8' then {_AROUND_BAD_BYTE} "
                f"when wrong like 'bad%' then line[:{_SHOWN}] end as shown, wrong, "
                f"case wrong when '' then json_extract(line, [{pointers}]) "
                f"when 'half' then json_extract({_without_halves('line')}, [{pointers}]) end as v",
                ", ".join(f"v[{at}] as {name}" for at, name in enumerate(names.values(), 1)) + ", wrong, shown",
                ", ".join(f"{v}, {_kind(v)} as {k}" for v, k in kinds.items()) + ", wrong, shown",
                ", ".join(f"{_as_text(v, k)} as {v}, {k} = {_NESTED} as {k}" for v, k in kinds.items())
                + ", wrong, shown",
            )
            values = {name: trimmed(name) for name in kinds} | {name: name for name in kinds.values()}
            table, malformed = scan.read({**values, "wrong": "wrong", "shown": "shown"}, steps)
            line_of = scan.lines(malformed)
        try:
            write_out(engine, table, list(kinds), list(kinds.values()))
        except DataError as error:
            raise DataError(f"{self.path}: {error}") from None
        rows = RawTable.of_file(engine, table, self.path, "line", names, line_of, self._facts.sha256)
        rows.reject("wrong = 'bad_json'", "bad_json", "one JSON object a line", bad, "shown")
        rows.reject("wrong = 'bad_utf8'", "bad_utf8", "UTF-8", bad, "shown")
        rows.reject_values(
            lambda text: f"wrong = 'half' and regexp_matches({text}, '{BAD_UTF8}')", "bad_utf8", "UTF-8", bad
        )
        rows.reject_values(lambda text: f"contains({text}, chr(0))", "nul_byte", "text", bad)
        return rows


def _written(key: str) -> set[bytes]:
    """Return the usual ways to write a key."""
    ways = (json.dumps(key), json.dumps(key, ensure_ascii=False))
    return {way.encode() for way in (*ways, *(way.replace("/", r"\/") for way in ways))}


def _has_key(lines: bytes, key: str, ways: Collection[bytes]) -> bool:
    """Return whether an object has a key, given the ways to write it; a value, or a key within one, is not enough."""
    if not any(way in lines for way in ways):
        return False
    return any(key in (_keys(line) or ()) for line in lines.split(b"\n") if any(way in line for way in ways))


def _keys(line: bytes) -> list[str] | None:
    """Return the keys of an object; None if the line is none."""
    try:
        found = parse_json(line, numbers_as_text=True)
    except ValueError:
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


def _kind(value: str) -> str:
    """Return an expression in SQL for what a JSON value is: null, another scalar, a list of scalars, or nested."""
    text = f"{value}::varchar"
    within = f"contains(({text})[2:], '[') or contains({text}, '{{')"
    return (
        f"case when {value} is null then {_NULL} when ({text})[1] not in ('[', '{{') then {_SCALAR} "
        f"when {within} then {_NESTED} else {_LIST} end::utinyint"
    )


def _as_text(value: str, kind: str) -> str:
    """Return an expression in SQL for a JSON value as text, given the names of both; nested values stay JSON."""
    texts = f"list_transform((case when {kind} = {_LIST} then {value} else '[]' end)::json[], lambda x: {_scalar('x')})"
    texts = f"list_filter(list_transform({texts}, lambda x: {trimmed('x')}), lambda x: x <> '')"
    return (
        f"case {kind} when {_SCALAR} then {_scalar(value)} when {_LIST} then array_to_string({texts}, ', ') "
        f"when {_NESTED} then {value}::varchar else '' end"
    )


def _scalar(value: str) -> str:
    number = f"try_cast({value} as double)"
    return (
        f"case when ({value}::varchar)[1] = '\"' then {value} ->> '$' "
        f"when {value}::varchar in ('true', 'false') then {value}::varchar "
        f"when not regexp_matches({value}::varchar, '^-?[0-9]') then '' "
        f"when regexp_full_match({value}::varchar, '0|-?[1-9][0-9]*') then {value}::varchar "
        f"when floor({number}) = {number} then coalesce(try_cast({number} as hugeint)::varchar, {number}::varchar) "
        f"else {number}::varchar end"
    )
