"""Small files that unpack to more than there is room for are refused in seconds, and leave nothing behind."""

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tcf.common.errors import DataError, RunError
from tcf.data.tables import engine as engine_module
from tcf.data.tables.bad_rows import BadRows
from tcf.data.tables.engine import Engine
from tcf.data.tables.json_table import JsonTable
from tcf.data.tables.parquet_table import ParquetTable


def test_a_dictionary_that_unpacks_to_more_than_a_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "_MOST", 256 << 20)
    monkeypatch.setattr(engine_module, "_SCRATCH", 64 << 20)
    rows = 200_000  # of 10 kB each
    texts = pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), pa.array(["x" * 10_000]))
    file = tmp_path / "bomb.parquet"
    pq.write_table(pa.table({"a": texts}), file, row_group_size=rows)
    assert file.stat().st_size < 20_000
    refusal = r"expected rows of at most 6\d MiB, 100 times the bytes .*found more"
    with Engine(tmp_path / "scratch") as engine, pytest.raises(RunError, match=refusal):
        ParquetTable(file).load(engine, ("a",), BadRows("error"))
    assert not (tmp_path / "scratch").exists()


def nested(kind: pa.DataType, value: Any, depth: int) -> tuple[pa.DataType, Any]:
    for _ in range(depth):
        kind, value = pa.list_(kind), [value]
    return kind, value


@pytest.mark.parametrize("depth", [7, 20])
def test_lists_within_lists_of_parquet(tmp_path: Path, depth: int) -> None:
    kind, value = nested(pa.int8(), 1, depth)
    pq.write_table(pa.table({"a": pa.array([value], kind)}), tmp_path / "a.parquet")
    start = time.perf_counter()
    with Engine(tmp_path / "scratch") as engine, pytest.raises(DataError, match="nested at most 5 times in column a"):
        ParquetTable(tmp_path / "a.parquet").load(engine, ("a",), BadRows("error"))
    assert time.perf_counter() - start < 5


@pytest.mark.parametrize("text", ["[" * 10**5 + "1" + "]" * 10**5, '{"a":' * 10**5 + "1" + "}" * 10**5])
def test_json_nested_a_hundred_thousand_times(tmp_path: Path, text: str) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text(f'{{"a": 1}}\n{{"a": {text}}}\n')
    start = time.perf_counter()
    with Engine(tmp_path / "scratch") as engine, pytest.raises(DataError, match=r"a\.jsonl: expected values nested at"):
        JsonTable(file).load(engine, ("a",), BadRows("error"))
    assert time.perf_counter() - start < 10


def test_json_with_whole_numbers_of_any_length(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text(f'{{"a": {"9" * 6000}, "b": 1}}\n{json.dumps({"a": [[[1]]], "b": 2})}\n')
    with Engine(tmp_path / "scratch") as engine:
        table = JsonTable(file)
        assert table.columns == ("a", "b")
        table.load(engine, ("a", "b"), BadRows("error"))
