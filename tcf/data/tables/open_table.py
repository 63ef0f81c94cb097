"""Raw files with named columns, opened by format: delimited text, Parquet or JSON lines."""

import os
from pathlib import Path
from typing import Literal, assert_never

from tcf.data.tables.json_table import OBJECTS, JsonTable
from tcf.data.tables.parquet_table import ParquetTable
from tcf.data.tables.table import TableFile
from tcf.data.tables.text_form import TextForm
from tcf.data.tables.text_table import TextTable

__all__ = ["FileFormat", "default_form", "format_of", "open_table", "scope_of_columns"]

FileFormat = Literal["parquet", "json", "text"]

_MAGIC = b"PAR1"  # begins and ends a Parquet file
_PARQUET, _JSON, _TABS = (".parquet", ".pq"), (".jsonl", ".ndjson", ".json"), (".tsv", ".tab")


def open_table(path: Path, form: TextForm | None = None) -> TableFile:
    """Open a raw file; its suffix gives the format: Parquet, JSON lines, or else delimited text (`format_of`).

    Args:
        path: the file; text and JSON lines may be gzip or Zstandard, with or without the suffix `.gz` or `.zst`.
        form: format of the text; None for that of the suffix. Of JSON lines, it gives the encoding.

    Raises:
        DataError: the file cannot be read, is empty or damaged, or has no header.
    """
    match format_of(path):
        case "parquet":
            return ParquetTable(path)
        case "json":
            return JsonTable(path) if form is None else JsonTable(path, form.encoding)
        case "text":
            return TextTable(path, form or default_form(path))
        case unknown:
            assert_never(unknown)


def format_of(path: Path) -> FileFormat:
    """Return the format that the suffix of a file gives; Parquet is known by its bytes too (Hive's `000000_0`)."""
    suffix = _suffix(path)
    if suffix in _PARQUET or _is_parquet(path):
        return "parquet"
    return "json" if suffix in _JSON else "text"


def _is_parquet(path: Path) -> bool:
    try:
        with path.open("rb") as stream:
            if stream.read(len(_MAGIC)) != _MAGIC:
                return False
            stream.seek(-len(_MAGIC), os.SEEK_END)
            return stream.read() == _MAGIC
    except OSError:
        return False  # whoever reads the file says why that is not possible


def scope_of_columns(path: Path) -> str:
    """Return which rows show the columns of a file, for messages, if these are not all columns there may be."""
    if format_of(path) != "json":
        return ""
    return f"the keys of its first {OBJECTS:,} objects, or first 1 MB; the others were searched as well"


def default_form(path: Path) -> TextForm:
    """Return the format that the suffix of a text file gives: tab-separated without quotes for `.tsv`, else CSV."""
    return TextForm("\t", quoting=False) if _suffix(path) in _TABS else TextForm(",")


def _suffix(path: Path) -> str:
    name = path.name.casefold()
    return Path(name.removesuffix(".gz").removesuffix(".zst")).suffix
