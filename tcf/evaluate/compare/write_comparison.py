"""A comparison as a file: all of it as JSON, or the differences of all pairs as a table."""

import json
from pathlib import Path

import pyarrow.csv
import pyarrow.parquet as pq

from tcf.common.output.output_file import format_by_suffix, output_file
from tcf.evaluate.compare.comparison import Comparison

__all__ = ["FORMATS", "write_comparison"]

FORMATS = ("json", "parquet", "csv")


def write_comparison(comparison: Comparison, out: Path) -> None:
    """Write a comparison.

    Args:
        comparison: what to write.
        out: a file that ends in `.json` (everything), or in `.parquet` or `.csv` (the differences); `-` for CSV on
            standard output.

    Raises:
        ConfigError: it has another suffix.
        RunError: something is there that tcf did not write, or it cannot be written.
    """
    format = format_by_suffix(out, FORMATS)
    table = comparison.table("differences")
    with output_file(out) as staging:
        match format:
            case "json":
                staging.write_text(json.dumps(comparison.as_json(), indent=2, ensure_ascii=False) + "\n", "utf-8")
            case "parquet":
                pq.write_table(table.replace_schema_metadata({"tcf.comparison": comparison.about["split"]}), staging)
            case _:
                pyarrow.csv.write_csv(table, staging)
