"""Raw files with named columns, opened by format: delimited text, Parquet or JSON lines."""

from pathlib import Path

from tcf.data.tables.json_table import JsonTable
from tcf.data.tables.parquet_table import ParquetTable
from tcf.data.tables.table import TableFile
from tcf.data.tables.text_form import TextForm
from tcf.data.tables.text_table import TextTable

__all__ = ["open_table"]

_PARQUET, _JSON, _TABS = (".parquet", ".pq"), (".jsonl", ".ndjson", ".json"), (".tsv", ".tab")


def open_table(path: Path, form: TextForm | None = None) -> TableFile:
    """Open a raw file; its suffix gives the format: Parquet, JSON lines, or else delimited text.

    Args:
        path: the file; text and JSON lines may be gzip or Zstandard, with or without the suffix `.gz` or `.zst`.
        form: format of the text; by default CSV with quotes, or tab-separated without quotes for `.tsv`.

    Raises:
        DataError: the file cannot be read, is empty or damaged, or has no header.
    """
    name = path.name.casefold()
    suffix = Path(name.removesuffix(".gz").removesuffix(".zst")).suffix
    if form is None and suffix in _PARQUET:
        return ParquetTable(path)
    if form is None and suffix in _JSON:
        return JsonTable(path)
    return TextTable(path, form or (TextForm("\t", quoting=False) if suffix in _TABS else TextForm()))
