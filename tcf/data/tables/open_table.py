"""Raw files with named columns, opened by format: delimited text, Parquet or JSON lines."""

from pathlib import Path
from typing import Literal, assert_never

from tcf.data.tables.json_table import OBJECTS, JsonTable
from tcf.data.tables.parquet_table import ParquetTable
from tcf.data.tables.table import TableFile
from tcf.data.tables.text_form import TextForm
from tcf.data.tables.text_table import TextTable

__all__ = ["FileFormat", "default_form", "format_of", "open_table", "scope_of_columns"]

FileFormat = Literal["parquet", "json", "text"]

_PARQUET, _JSON, _TABS = (".parquet", ".pq"), (".jsonl", ".ndjson", ".json"), (".tsv", ".tab")


def open_table(path: Path, form: TextForm | None = None) -> TableFile:
    """Open a raw file; its suffix gives the format: Parquet, JSON lines, or else delimited text.

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
    """Return the format that the suffix of a file gives."""
    suffix = _suffix(path)
    return "parquet" if suffix in _PARQUET else "json" if suffix in _JSON else "text"


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
