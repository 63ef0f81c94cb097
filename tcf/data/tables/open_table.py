"""Raw files with named columns, opened by format: delimited text, Parquet or JSON lines."""

from pathlib import Path

from tcf.data.tables.csv_table import TextTable
from tcf.data.tables.json_table import JsonTable
from tcf.data.tables.parquet_table import ParquetTable
from tcf.data.tables.records import TextForm
from tcf.data.tables.table import TableFile

__all__ = ["open_table"]

_PARQUET, _JSON, _TABS = (".parquet", ".pq"), (".jsonl", ".ndjson", ".json"), (".tsv", ".tab")


def open_table(
    path: Path,
    form: TextForm | None = None,
    numbers: frozenset[str] = frozenset(),
    *,
    decimals: frozenset[str] = frozenset(),
) -> TableFile:
    """Open a raw file; its suffix gives the format: Parquet, JSON lines, or else delimited text.

    Args:
        path: the file; text and JSON lines may be gzip, with or without the suffix `.gz`.
        form: format of the text; by default CSV with quotes, or tab-separated with quotes for `.tsv`.
        numbers: columns of JSON lines that hold whole numbers.
        decimals: columns of JSON lines that hold numbers with decimal places.

    Raises:
        DataError: the file cannot be read, is empty or damaged, or has no header.
    """
    suffix = Path(path.name.removesuffix(".gz")).suffix.casefold()
    if form is None and suffix in _PARQUET:
        return ParquetTable(path)
    if form is None and suffix in _JSON:
        return JsonTable(path, numbers, decimals=decimals)
    return TextTable(path, form or TextForm(delimiter="\t" if suffix in _TABS else ","))
