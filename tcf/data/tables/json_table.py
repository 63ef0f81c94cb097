"""JSON lines, plain or gzip, as blocks of columns of strings, parsed by several threads in order."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pa_json

from tcf.common.errors import DataError
from tcf.common.threads import prefetch
from tcf.data.tables.bad_rows import BadRows
from tcf.data.tables.records import BLOCK_BYTES, RawBlock, TextForm, newlines, parsed_blocks, raw_blocks
from tcf.data.tables.source_file import Source, stamp_of
from tcf.data.tables.table import TableBlock, Unit, empty_block

__all__ = ["JsonTable"]

_FORM = TextForm(quoting=False)
_FIRST_BYTES = 1 << 20
_SHOWN = 80
_BRACE = ord("{")


class JsonTable:
    """A file with one JSON object on each line.

    Numbers become strings as in the file; whole numbers have no decimal point. Lists of strings are joined by a space.
    Missing values, nulls and objects become empty strings. Unusable lines are rejected as `bad_json`, `bad_utf8` or
    `nul_byte`.

    Args:
        path: the file.
        numbers: columns that hold whole numbers; other columns are read fast if they hold strings.
        decimals: columns that hold numbers with decimal places.
        block_bytes: bytes to parse at once.

    Attributes:
        columns: the keys of the first object; other keys can be requested too.

    Raises:
        DataError: the file cannot be read or is empty, or its first line is not a JSON object.
    """

    unit: Unit = "line"

    def __init__(
        self,
        path: Path,
        numbers: frozenset[str] = frozenset(),
        block_bytes: int = BLOCK_BYTES,
        *,
        decimals: frozenset[str] = frozenset(),
    ) -> None:
        self.path, self._block_bytes = path, block_bytes
        self._types = dict.fromkeys(numbers, pa.int64()) | dict.fromkeys(decimals, pa.float64())
        self._stamp = stamp_of(path)
        with Source(path, self._stamp) as source:
            first = next(raw_blocks(source, _FORM, _FIRST_BYTES)).data.partition(b"\n")[0]
        found = _object(bytes(first))
        if found is None:
            shown = first[:_SHOWN].decode("utf-8", "backslashreplace")
            raise DataError(f"{path}:1: expected one JSON object a line, found {shown!r}; convert the file")
        self.columns = tuple(found)
        self._sha256: str | None = None

    @property
    def sha256(self) -> str:
        """Sha256 of the file on disk, in hexadecimal, available once all blocks have been read."""
        if self._sha256 is None:
            raise ValueError(f"{self.path}: the checksum is available once all blocks have been read")
        return self._sha256

    def blocks(self, columns: Sequence[str], bad: BadRows) -> Iterator[TableBlock]:
        """Yield the rows in blocks; see `TableFile`. A column that no object has is empty."""

        def parse(raw: RawBlock) -> _ParsedLines:
            return _parse_by_arrow(raw.data, columns, self._types) or _parse_by_line(raw.data, columns)

        line, blank, found = 1, np.zeros(0, np.int64), False
        with Source(self.path, self._stamp) as source:
            with closing(prefetch(raw_blocks(source, _FORM, self._block_bytes), 1)) as raw:
                for parsed in parsed_blocks(parse, raw):
                    blank = self._reject(parsed, line, blank, bad)
                    if len(parsed.lines):
                        yield TableBlock(self.path, "line", parsed.lines + line, parsed.columns)
                        found = True
                    line += parsed.n_lines
            self._sha256 = source.finish()
        if not found:
            yield empty_block(self.path, "line", columns)

    def _reject(
        self, parsed: "_ParsedLines", line: int, blank: npt.NDArray[np.int64], bad: BadRows
    ) -> npt.NDArray[np.int64]:
        """Reject unusable lines; return the blank lines that may still prove to be at the end of the file."""
        for reason, expected in (("bad_json", "one JSON object a line"), ("bad_utf8", "UTF-8"), ("nul_byte", "text")):
            wrong = [(at + line, text) for at, kind, text in parsed.wrong if kind == reason]
            if reason == "bad_json" and parsed.n_filled:
                wrong = [(int(at), "a blank line") for at in blank] + wrong
            lines = np.array([at for at, _ in wrong], np.int64)
            texts = [text for _, text in wrong]
            bad.reject(reason, self.path, lines, expected, lambda at, texts=texts: texts[at], so_far=True)  # type: ignore[misc]
        trailing = np.arange(parsed.n_filled, parsed.n_lines) + line
        return trailing if parsed.n_filled else np.append(blank, trailing)


@dataclass(frozen=True)
class _ParsedLines:
    """The rows of a block.

    Attributes:
        columns: (n_rows,) each.
        lines: (n_rows,) number of lines before each row in the block.
        wrong: for each unusable line, the number of lines before it, the reason and the line as shown in messages.
        n_lines: lines in the block.
        n_filled: lines up to the last one that is not blank.
    """

    columns: "Mapping[str, pa.LargeStringArray]"
    lines: npt.NDArray[np.int64]
    wrong: Sequence[tuple[int, str, str]]
    n_lines: int
    n_filled: int


def _parse_by_arrow(
    data: bytes | bytearray, columns: Sequence[str], known: "Mapping[str, pa.DataType]"
) -> _ParsedLines | None:
    """Parse a block with Arrow; return None if a line is unusable or a value has an unexpected type."""
    n_lines = data.count(b"\n")
    if not _all_objects(data) or b"\\u0000" in data or b"\0" in data:
        return None
    types = {name: known.get(name, pa.large_string()) for name in columns}
    read = pa_json.ReadOptions(use_threads=False, block_size=len(data) + 1)
    parse = pa_json.ParseOptions(explicit_schema=pa.schema(types), unexpected_field_behavior="ignore")
    try:
        table = pa_json.read_json(pa.py_buffer(data), read_options=read, parse_options=parse)
        arrays = {name: _plain(table[name]) for name in columns}
    except pa.ArrowInvalid:
        return None
    return _ParsedLines(arrays, np.arange(n_lines), (), n_lines, n_lines) if len(table) == n_lines else None


def _all_objects(data: bytes | bytearray) -> bool:
    """Return whether every line begins with `{`; Arrow accepts `null` as an object, and crashes if it comes first."""
    if not data:
        return False
    content = np.frombuffer(data, np.uint8)
    starts = np.append(0, newlines(data)[:-1] + 1)
    return bool((content[starts] == _BRACE).all())


def _plain(column: "pa.ChunkedArray") -> "pa.LargeStringArray":
    strings = column.cast(pa.large_string()).combine_chunks()
    strings.validate(full=True)
    return pc.utf8_trim_whitespace(pc.fill_null(strings, ""))


def _parse_by_line(data: bytes | bytearray, columns: Sequence[str]) -> _ParsedLines:
    """Parse a block line by line, which shows what is wrong with each line."""
    lines = bytes(data).split(b"\n")[:-1]
    values: dict[str, list[str]] = {name: [] for name in columns}
    kept, wrong, n_filled = list[int](), list[tuple[int, str, str]](), 0
    filled = [at for at, line in enumerate(lines) if line.strip()]
    n_filled = filled[-1] + 1 if filled else 0
    for at, line in enumerate(lines[:n_filled]):
        found = _object(line)
        row = None if found is None else [_as_text(found.get(name)) for name in columns]
        reason = _reason_to_reject(line, row)
        if row is None or reason is not None:
            shown = line[:_SHOWN].decode("utf-8", "backslashreplace")
            wrong.append((at, reason or "bad_json", repr(shown) if line.strip() else "a blank line"))
            continue
        kept.append(at)
        for name, value in zip(columns, row, strict=True):
            values[name].append(value)
    arrays = {name: pa.array(strings, pa.large_string()) for name, strings in values.items()}
    return _ParsedLines(arrays, np.array(kept, np.int64), wrong, len(lines), n_filled)


def _object(line: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _reason_to_reject(line: bytes, row: Sequence[str] | None) -> str | None:
    try:
        line.decode()
        "".join(row or ()).encode()
    except UnicodeError:
        return "bad_utf8"
    if row is None:
        return "bad_json"
    return "nul_byte" if any("\0" in value for value in row) else None


def _as_text(value: Any) -> str:
    match value:
        case str():
            return value.strip()
        case bool() | None | dict():
            return ""
        case float() if value.is_integer():
            return str(int(value))
        case int() | float():
            return str(value)
        case _:
            return " ".join(text for text in map(_as_text, value) if text)
